"""Decodes the image files that users send: image_files.py leaves out what concerns no pixel, decoding.py decodes."""

from deployments.units import MEGABYTE


def decoding_memory_bytes(max_pixels: int) -> int:
    """Return what decoding an image of `max_pixels`, and scaling it down, may allocate.

    A WEBP needs most: its decoder holds the picture twice, Pillow twice, in 4 bytes per pixel.
    """
    return 16 * max_pixels + 256 * MEGABYTE
