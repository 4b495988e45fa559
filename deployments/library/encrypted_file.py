"""Encrypted files that can be read in parts: authenticated frames of 64 KiB.

    offset  bytes
    0       8       "PRISMFE1": what the file is, and the version of this format
    8       16      salt, random
    24      65552   frame 0: 65536 bytes of content, encrypted, and the tag of 16 bytes
    65576   65552   frame 1, and so on; the last frame holds what is left, and is empty only in an empty file

This is the STREAM construction (Hoang, Reyhanitabar, Rogaway and Vizár, "Online Authenticated-Encryption and its
Nonce-Reuse Misuse-Resistance", CRYPTO 2015) with AES-256-GCM, in the form that age gave it
(https://age-encryption.org/v1, section "Payload"). The file's key is HKDF-SHA256 (RFC 5869) of the library's key, the
salt, and the file's name. The nonce of a frame is its number, 11 bytes big-endian, and one byte that is 1 for the last
frame and 0 for the others. So a frame is valid in its file, under that name, at its place only, and a file that lost
its end does not end in a last frame. No nonce occurs twice with a key, because a file is written once.
"""

import os
from collections.abc import Iterable, Iterator
from io import BufferedReader, BytesIO
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FRAME_BYTES = 64 * 1024
"""Of content in a frame."""

_MAGIC = b"PRISMFE1"
_SALT_BYTES = 16
_HEADER_BYTES = len(_MAGIC) + _SALT_BYTES
_TAG_BYTES = 16
_KEY_BYTES = 32


class NotAuthentic(Exception):
    """The file is not what was written with this key under this name: changed, cut off, or another file."""


def write_encrypted(file: BinaryIO, content: memoryview, key: bytes, name: str) -> None:
    """Write content encrypted; holds one frame in memory."""
    salt = os.urandom(_SALT_BYTES)
    cipher = _cipher(key, salt, name)
    file.write(_MAGIC + salt)
    frame = memoryview(bytearray(FRAME_BYTES + _TAG_BYTES))
    num_frames = _num_frames(len(content))
    for number in range(num_frames):
        part = content[number * FRAME_BYTES : (number + 1) * FRAME_BYTES]
        encrypted = frame[: len(part) + _TAG_BYTES]
        cipher.encrypt_into(_nonce(number, num_frames), part, None, encrypted)
        file.write(encrypted)


class EncryptedFile:
    """Reads an encrypted file, one frame at a time. Every method raises NotAuthentic, the constructor too."""

    def __init__(self, file: BufferedReader, key: bytes, name: str) -> None:
        self._file = file
        size = file.seek(0, os.SEEK_END) - _HEADER_BYTES
        file.seek(0)
        header = file.read(_HEADER_BYTES)
        # From the size alone; whether it ends there, the last frame says.
        self._num_frames = max(1, -(-size // (FRAME_BYTES + _TAG_BYTES)))
        self.num_bytes = size - self._num_frames * _TAG_BYTES
        """Of content."""
        if not header.startswith(_MAGIC) or self.num_bytes < 0 or self._num_frames != _num_frames(self.num_bytes):
            raise NotAuthentic
        self._cipher = _cipher(key, header[len(_MAGIC) :], name)

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from `start` to `end` (exclusive), fewer at the file's end."""
        end = min(end, self.num_bytes)
        start = min(start, end)
        # The last frame says whether the file really ends there.
        numbers = range(start // FRAME_BYTES, _num_frames(end)) if start < end else [self._num_frames - 1]
        content = BytesIO()  # several times as fast as joining copies of the frames
        for number, frame in zip(numbers, self._frames(numbers), strict=True):
            content.write(frame[max(0, start - number * FRAME_BYTES) : max(0, end - number * FRAME_BYTES)])
        return content.getvalue()

    def blocks(self) -> Iterator[memoryview]:
        """Yield the whole content in order; each block is valid until the next one."""
        return self._frames(range(self._num_frames))

    def _frames(self, numbers: Iterable[int]) -> Iterator[memoryview]:
        encrypted = memoryview(bytearray(FRAME_BYTES + _TAG_BYTES))
        content = memoryview(bytearray(FRAME_BYTES))
        for number in numbers:
            self._file.seek(_HEADER_BYTES + number * len(encrypted))
            num_read = self._file.readinto(encrypted)
            num_bytes = min(FRAME_BYTES, self.num_bytes - number * FRAME_BYTES)
            if num_read != num_bytes + _TAG_BYTES:
                raise NotAuthentic
            nonce = _nonce(number, self._num_frames)
            try:
                self._cipher.decrypt_into(nonce, encrypted[:num_read], None, content[:num_bytes])
            except InvalidTag:
                raise NotAuthentic from None
            yield content[:num_bytes]


def _cipher(key: bytes, salt: bytes, name: str) -> AESGCM:
    return AESGCM(HKDF(SHA256(), _KEY_BYTES, salt, _MAGIC + name.encode()).derive(key))


def _num_frames(num_bytes: int) -> int:
    return max(1, -(-num_bytes // FRAME_BYTES))


def _nonce(number: int, num_frames: int) -> bytes:
    return number.to_bytes(11, "big") + bytes([number == num_frames - 1])
