"""Units of size."""

MEGABYTE = 1024 * 1024
"""Bytes."""
