"""Decrypts the pages of a library's database and of its log without SQLCipher, for the tests.

The format is that of SQLCipher 4 (https://www.zetetic.net/sqlcipher/design) with a raw key: a page ends with the IV (16
bytes) and an HMAC-SHA512 of the encrypted part, the IV and the page's number; the HMAC's key is made of the page key
and the salt, each byte of it xor 0x3a, by two rounds of PBKDF2.
"""

import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from pydantic import SecretStr

from deployments.library.encryption import Keys, open_keys

PAGE = 4096
_IV, _HMAC = 16, 64
_WAL_HEADER, _FRAME_HEADER = 32, 24


def keys_of(folder: Path, secret: str) -> Keys:
    keys = open_keys(folder, folder / "library.db", SecretStr(secret))
    assert keys is not None
    return keys


def decrypted_pages(folder: Path, secret: str) -> Iterator[bytes]:
    """Yield the content of every page that is in the database's file or its log, those that are free included."""
    key = keys_of(folder, secret).database
    database = (folder / "library.db").read_bytes()
    salt = database[:16]
    for number in range(1, len(database) // PAGE + 1):
        yield _decrypted(database[(number - 1) * PAGE : number * PAGE], number, key, salt)
    log = folder / "library.db-wal"
    frames = log.read_bytes()[_WAL_HEADER:] if log.exists() else b""
    for start in range(0, len(frames), _FRAME_HEADER + PAGE):
        frame = frames[start : start + _FRAME_HEADER + PAGE]
        yield _decrypted(frame[_FRAME_HEADER:], int.from_bytes(frame[:4], "big"), key, salt)


def _decrypted(page: bytes, number: int, key: bytes, salt: bytes) -> bytes:
    start = len(salt) if number == 1 else 0
    end = PAGE - _IV - _HMAC
    encrypted, iv, tag = page[start:end], page[end : end + _IV], page[end + _IV :]
    hmac_key = hashlib.pbkdf2_hmac("sha512", key, bytes(byte ^ 0x3A for byte in salt), 2, 32)
    assert hmac.digest(hmac_key, encrypted + iv + number.to_bytes(4, "little"), "sha512") == tag
    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    return decryptor.update(encrypted) + decryptor.finalize()
