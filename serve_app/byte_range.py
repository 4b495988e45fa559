"""The `Range` header of a request for a part of a file: RFC 9110, section 14."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from deployments.errors import RangeNotSatisfiable


@dataclass(frozen=True)
class ByteRange:
    start: int
    end: int
    """Exclusive."""


def parse_range(headers: Mapping[str, str], num_bytes: int, etag: str) -> ByteRange | None:
    """Return the part that a request wants, or None if it wants the whole file.

    A header that cannot be understood, several ranges at once, and `If-Range` with another version's ETag get the whole
    file, as the RFC allows. Raises RangeNotSatisfiable.
    """
    value = headers.get("range", "")
    if headers.get("if-range", etag) != etag:
        return None
    match = re.fullmatch(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", value, re.ASCII | re.IGNORECASE)
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        length = min(int(match[2]), num_bytes)
        start, end = num_bytes - length, num_bytes
    else:
        start, end = int(match[1]), min(int(match[2]) + 1, num_bytes) if match[2] else num_bytes
        if match[2] and int(match[2]) < int(match[1]):
            return None
    if start >= end:
        raise RangeNotSatisfiable(f"The file has {num_bytes} bytes; {value} is not in it.")
    return ByteRange(start, end)
