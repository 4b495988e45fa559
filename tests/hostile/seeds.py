"""Small valid inputs of each supported format, which the fuzzer mutates."""

import base64
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from deployments.transcriber.audio import SAMPLE_RATE
from tests.deployments.images.heif_files import mirror_property, picture_file, rotation_property, tiled_file
from tests.deployments.images.images import bmp, noise
from tests.deployments.transcriber.sounds import (
    SoundTrack,
    encode,
    encode_tracks,
    encode_video,
    id3_tag,
    sweep,
    wav,
    with_unknown_cluster_sizes,
)
from tests.videos import numbered_pictures, write_video

BOUNDARY = "cut"


def images() -> dict[str, bytes]:
    picture = noise(40, 32)
    smooth = Image.effect_noise((40, 32), 20).convert("RGB").resize((64, 48))
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [noise(40, 32, seed) for seed in (2, 3)]}
    pixels = np.dstack([np.asarray(smooth), np.full((48, 64), 200, np.uint8)])
    made = {
        "jpeg": _image(smooth, "JPEG", exif=exif),
        "jpeg progressive": _image(smooth, "JPEG", progressive=True, optimize=True),
        "jpeg grey": _image(smooth.convert("L"), "JPEG"),
        "jpeg cmyk": _image(smooth.convert("CMYK"), "JPEG"),
        "jpeg with restart markers": _image(smooth, "JPEG", restart_marker_rows=1),
        "png": _image(smooth, "PNG", exif=exif),
        "png palette": _image(smooth.quantize(16), "PNG", transparency=3),
        "png rgba": _image(Image.fromarray(pixels), "PNG"),
        "png 16 bit": _image(Image.fromarray(np.asarray(smooth.convert("L")).astype(np.uint16) * 200), "PNG"),
        "png 1 bit": _image(smooth.convert("1"), "PNG"),
        "png animated": _image(picture, "PNG", **frames),
        "webp": _image(smooth, "WEBP", exif=exif),
        "webp lossless": _image(Image.fromarray(pixels), "WEBP", lossless=True),
        "webp alpha": _image(Image.fromarray(pixels), "WEBP"),
        "webp animated": _image(picture, "WEBP", **frames),
        "bmp": _image(picture, "BMP"),
        "bmp palette": _image(picture.quantize(200), "BMP"),
        "bmp 1 bit": _image(picture.convert("1"), "BMP"),
        "bmp v5": bmp(pixels, 124),
        "bmp rle8": rle_bmp(),
        "gif": _image(picture, "GIF"),
        "gif animated": _image(picture, "GIF", **frames, transparency=0),
        "gif interlaced": _image(smooth, "GIF", interlace=1),
        "tiff": _image(smooth, "TIFF"),
        "tiff lzw": _image(smooth, "TIFF", compression="tiff_lzw", **frames),
        "tiff deflate": _image(Image.fromarray(pixels), "TIFF", compression="tiff_adobe_deflate", big_tiff=True),
        "tiff jpeg": _image(smooth, "TIFF", compression="jpeg"),
        "tiff fax": _image(smooth.convert("1"), "TIFF", compression="group4"),
        "tiff palette": _image(picture.quantize(200), "TIFF", compression="packbits"),
        "heic": picture_file(smooth, "hvc1", rotation_property(1), pix_fmt="yuv420p"),
        "heic tiles": tiled_file(smooth, "hvc1", mirror_property(1), side_px=32),
        "heic 10 bit": picture_file(smooth, "hvc1", pix_fmt="yuv420p10le"),
        "avif": _image(smooth, "AVIF"),
        "avif alpha": _image(Image.fromarray(pixels), "AVIF"),
        "avif animated": _image(picture, "AVIF", **frames),
        "avif tiles": tiled_file(smooth.resize((128, 128)), "av01", rotation_property(1)),
    }
    return made


def rle_bmp() -> bytes:
    """Return a BMP in run-length encoding, which Pillow reads but does not write."""
    rows = b"".join(bytes([8, row, 0, 5, 1, 2, 3, 4, 5, 0, 3, 7, 0, 0]) for row in range(16)) + b"\x00\x01"
    header = bytearray(bmp(np.zeros((16, 16, 4), np.uint8), 56)[:54])
    header[14], header[28], header[30] = 40, 8, 1
    header[10:14] = (54 + 1024).to_bytes(4, "little")
    header[34:38] = len(rows).to_bytes(4, "little")
    return bytes(header) + bytes(range(256)) * 4 + rows


def sounds() -> dict[str, bytes]:
    sound, stereo = sweep(0.6), np.stack([sweep(0.6), -sweep(0.6)])
    video = encode_video(sweep(1.0), container="matroska", codec="libopus", is_streamed=True).tobytes()
    made = {
        "wav": wav(sound),
        "wav stereo 24 bit": encode(stereo, 44_100, "wav", "pcm_s24le"),
        "wav float": encode(sound[None], SAMPLE_RATE, "wav", "pcm_f32le"),
        "wav adpcm": encode(sound[None], SAMPLE_RATE, "wav", "adpcm_ms"),
        "wav mu-law": encode(sound[None], 8_000, "wav", "pcm_mulaw"),
        "mp3": encode(sound[None], SAMPLE_RATE, "mp3", "libmp3lame", bit_rate=32_000),
        "m4a": encode(sound[None], SAMPLE_RATE, "ipod", "aac"),
        "m4a alac": encode(stereo, SAMPLE_RATE, "ipod", "alac"),
        "m4a fragmented": encode(
            sound[None], SAMPLE_RATE, "mp4", "aac", container_options={"movflags": "frag_keyframe+empty_moov"}
        ),
        "flac": encode(stereo, SAMPLE_RATE, "flac", "flac"),
        "ogg vorbis": encode(stereo, SAMPLE_RATE, "ogg", "vorbis", {"strict": "-2"}),
        "ogg opus": encode(sound[None], 48_000, "ogg", "libopus"),
        "ogg flac": encode(sound[None], SAMPLE_RATE, "ogg", "flac"),
        "two tracks": encode_tracks(SoundTrack(sweep(0.4)), SoundTrack(sweep(0.4)), num_pictures=4),
        "mp4 with pictures": encode_video(sound),
    }
    made |= {
        "aac": encode(sound[None], SAMPLE_RATE, "adts", "aac"),
        "aiff": encode(stereo, SAMPLE_RATE, "aiff", "pcm_s16be"),
        "aiff compressed": encode(sound[None], SAMPLE_RATE, "aiff", "adpcm_ima_qt"),
        "amr": encode(sweep(0.6, 8_000)[None], 8_000, "amr", "libopencore_amrnb", bit_rate=12_200),
        "wma": encode(sound[None], SAMPLE_RATE, "asf", "wmav2", bit_rate=32_000),
        "ts of sound": encode(stereo, SAMPLE_RATE, "mpegts", "mp2"),
        "webm live": with_unknown_cluster_sizes(
            encode(sound[None], 48_000, "webm", "libopus", container_options={"live": "1"}, is_streamed=True)
        ),
        "flv": encode(sweep(0.6, 22_050)[None], 22_050, "flv", "libmp3lame"),
    }
    made_bytes = {name: media.tobytes() for name, media in made.items()}
    return {**made_bytes, "mp3 with ID3": id3_tag(300) + made_bytes["mp3"], "webm": video}


def videos() -> dict[str, bytes]:
    pictures = list(numbered_pictures(12, 64, 48))
    fragmented = {"movflags": "frag_keyframe+empty_moov"}
    return {
        "mp4 h264": write_video(pictures, codec_options={"g": "5", "bf": "2"}, audio_s=0.4),
        "mp4 hevc": write_video(pictures, codec="libx265"),
        "mp4 mpeg4": write_video(pictures, codec="mpeg4"),
        "mp4 fragmented": write_video(pictures, container_options=fragmented),
        "mp4 av1": write_video(pictures, codec="libsvtav1", codec_options={"preset": "12"}),
        "mov mjpeg": write_video(pictures, container="mov", codec="mjpeg", pix_fmt="yuvj420p"),
        "mov prores": write_video(pictures[:4], container="mov", codec="prores", pix_fmt="yuv422p10le"),
        "mov rotated": write_video(pictures, container="mov", rotation=90, cover=False),
        "mov png": write_video(pictures[:4], container="mov", codec="png", pix_fmt="rgb24"),
        "avi mpeg4": write_video(pictures, container="avi", codec="mpeg4", audio_s=0.4),
        "avi h264": write_video(pictures, container="avi", codec_options={"bf": "2"}),
        "mkv h264": write_video(pictures, container="matroska", codec_options={"g": "5"}, audio_s=0.4),
        "mkv vp8": write_video(pictures, container="webm", codec="libvpx"),
        "mkv vp9": write_video(pictures, container="webm", codec="libvpx-vp9"),
        "webm live": write_video(pictures, container="webm", codec="libvpx", container_options={"live": "1"}),
        "3gp h263": write_video(numbered_pictures(12, 176, 144), container="3gp", codec="h263"),
        "ts h264": write_video(pictures, container="mpegts", codec_options={"g": "5", "bf": "2"}, audio_s=0.4),
        "mpg mpeg2": write_video(pictures, container="vob", codec="mpeg2video", codec_options={"bf": "2"}, audio_s=0.4),
        "wmv wmv2": write_video(pictures, container="asf", codec="wmv2", audio_s=0.4),
        "flv flv1": write_video(pictures, container="flv", codec="flv"),
        "flv h264": write_video(pictures, container="flv", codec_options={"g": "5", "bf": "2"}),
        "mkv ffv1": write_video(pictures[:4], container="matroska", codec="ffv1"),
    }


def forms() -> dict[str, bytes]:
    picture = _image(noise(8, 8), "PNG")
    file = ('name="image"; filename="a.png"\r\nContent-Type: image/png', picture)
    return {
        "one file": form(file),
        "with options": form(file, ('name="prompt"', b"What is it?"), ('name="options"', b'{"max_length": 20}')),
        "with a preamble": b"This is a form.\r\n" + form(('name="max_length"', b"20"), file),
    }


def documents() -> dict[str, bytes]:
    picture = base64.b64encode(_image(noise(8, 8), "PNG")).decode()
    file = {"type": "image", "data": "data:image/png;base64," + picture, "max_length": 5}
    documents: Mapping[str, Any] = {
        "one file": {"image": picture, "prompt": 'Wh\u00e4t \U0001f600 "is" it?'},
        "with options": {"image": picture, "options": {"max_length": 20, "prompt": None}},
        "batch": {"files": [file, file], "parallel": True},
    }
    return {name: json.dumps(document, indent=1).encode() for name, document in documents.items()}


def form(*parts: tuple[str, bytes]) -> bytes:
    """Return a form; each part is given by its Content-Disposition after `form-data; `, and its content."""
    start = f"--{BOUNDARY}\r\nContent-Disposition: form-data; "
    lines = [b"%s%s\r\n\r\n%s\r\n" % (start.encode(), about.encode(), content) for about, content in parts]
    return b"".join(lines) + b"--%s--\r\n" % BOUNDARY.encode()


def _image(image: Image.Image, image_format: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, image_format, **options)
    return content.getvalue()
