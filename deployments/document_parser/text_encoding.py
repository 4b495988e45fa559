"""Decodes text files whose encoding nobody has written down."""

import codecs
import re

from deployments.errors import InvalidFile

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    # Before UTF-16, whose mark is the beginning of this one.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE_BYTES = 64 * 1024
"""From which an encoding is guessed."""
_MIN_ZEROS = 0.3
"""Share of zeros among every second byte, from which on a text without a mark is UTF-16. Latin text has nearly 1."""
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
"""Those that mean nothing in a text, unlike tabs and form feeds."""
_MAX_CONTROL_CHARACTERS = 0.01
"""Share of them in a text, which may have a stray one. Compressed data has .1."""


def decode(content: bytes, declared: str | None = None) -> str:
    """Return the text of a file: by its byte order mark, the declared encoding, as UTF-8, or by a guess.

    Line ends become `\\n`, and stray control characters are left out. Raises InvalidFile if the content
    is no text.
    """
    text = _decode(content, declared)
    if not _is_readable(text[:_SAMPLE_BYTES]):
        raise InvalidFile("The file is not text: it is full of control characters.")
    return _CONTROL_CHARACTERS.sub("", text).replace("\r\n", "\n").replace("\r", "\n")


def is_text(sample: bytes) -> bool:
    """Return whether the beginning of a file can be text. It may end within a character."""
    if not sample:
        return False
    encoding = marked_encoding(sample) or _zero_bytes_encoding(sample)
    if encoding is None:
        # Every byte stands for something in one of the 8-bit encodings.
        return _is_readable(sample.decode("latin-1"))
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError:
        return False
    return _is_readable(text)


def decode_sample(sample: bytes) -> str:
    """Return the beginning of a text file, of which only the ASCII characters need to be right."""
    encoding = marked_encoding(sample) or _zero_bytes_encoding(sample) or "latin-1"
    return sample.decode(encoding, "replace").removeprefix("\ufeff").removeprefix("ï»¿")


def marked_encoding(content: bytes) -> str | None:
    """Return the encoding by the byte order mark; None if there is no mark."""
    return next((encoding for mark, encoding in _MARKS if content.startswith(mark)), None)


def _is_readable(text: str) -> bool:
    return len(_CONTROL_CHARACTERS.findall(text)) <= _MAX_CONTROL_CHARACTERS * len(text)


def _decode(content: bytes, declared: str | None) -> str:
    if encoding := marked_encoding(content):
        return content.decode(encoding, "replace").removeprefix("\ufeff")
    for encoding in (declared, "utf-8", _zero_bytes_encoding(content[:_SAMPLE_BYTES])):
        if encoding:
            try:
                return content.decode(encoding)
            except (UnicodeDecodeError, LookupError):
                pass  # It is another encoding.
    return content.decode(_guess(content), "replace")


def _zero_bytes_encoding(sample: bytes) -> str | None:
    """Return the kind of UTF-16 that has zeros at these places; None if it is none."""
    half = max(1, len(sample) // 2)
    high, low = sample[::2].count(0) / half, sample[1::2].count(0) / half
    if low >= _MIN_ZEROS > high:
        return "utf-16-le"
    return "utf-16-be" if high >= _MIN_ZEROS > low else None


def _guess(content: bytes) -> str:
    # Imported here, because the ingress imports this module too, and never guesses.
    from charset_normalizer import from_bytes

    # Of the beginning, the middle and the end, because a text may begin with ASCII only.
    starts = {0, max(0, len(content) // 2), max(0, len(content) - _SAMPLE_BYTES)}
    best = from_bytes(b"\n".join(content[start : start + _SAMPLE_BYTES] for start in sorted(starts))).best()
    return best.encoding if best else "cp1252"
