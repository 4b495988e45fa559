"""The keys of an encrypted library, made from one secret in the environment, `PRISM_ENCRYPTION_KEY`.

The secret is no key itself, because people choose it. scrypt (RFC 7914) makes 32 bytes of it and of a random salt, with
N = 2^15, r = 8, p = 3, one of the settings that OWASP's Password Storage Cheat Sheet recommends (32 MiB). HKDF-Expand
with SHA-256 (RFC 5869) makes the keys for each purpose of these. The salt is in the library's folder, in
`encryption.json`, with a check value by which a wrong secret is noticed. Who has the folder can test guesses of the
secret against that value, at the price of one scrypt each.

A folder is encrypted as a whole or not at all: it is made so with its first file, and never converted.
"""

import hmac
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from pydantic import SecretStr

from deployments.errors import ModelNotLoaded
from deployments.library.sync import replace_file

KEY_FILE = "encryption.json"
KEY_BYTES = 32

_VARIABLE = "PRISM_ENCRYPTION_KEY"
_SALT_BYTES = 16
_FORMAT = 1
"""Of the key file; another one may derive the keys in another way."""
_PLAIN_HEADER = b"SQLite format 3\0"
"""How a database begins that is not encrypted; an encrypted one begins with random bytes."""


@dataclass(frozen=True)
class Keys:
    """One key for each purpose, KEY_BYTES long."""

    database: bytes = field(repr=False)
    originals: bytes = field(repr=False)
    """For their content."""
    names: bytes = field(repr=False)
    """For the names under which they are stored."""


def open_keys(folder: Path, database: Path, secret: SecretStr | None) -> Keys | None:
    """Return the keys of the library in a folder, or of one that is made there; None for one that is not encrypted.

    Raises ModelNotLoaded, with what to do, if the secret is not that of the library, or is missing, or the library is
    not encrypted.
    """
    path = folder / KEY_FILE
    header = _header(database)
    if not path.exists():
        if secret is None:
            return None
        if header == _PLAIN_HEADER:
            raise ModelNotLoaded(
                f"The library in {folder} is not encrypted, so it cannot be opened with {_VARIABLE}. Remove that "
                "variable, or choose another folder (DATA_DIR) and add the files there."
            )
        if header:
            raise ModelNotLoaded(
                f"{path} is missing, without which the library in {folder} cannot be decrypted. Restore it from a copy "
                "of the folder."
            )
        return _make(path, secret)
    if header == _PLAIN_HEADER:
        raise ModelNotLoaded(
            f"The database in {folder} is not encrypted, although {path} says so: parts of two libraries are mixed. "
            "Restore the folder from a copy."
        )
    if secret is None:
        raise ModelNotLoaded(
            f"The library in {folder} is encrypted. Set {_VARIABLE}, in the environment or in .env, to the key that it "
            "was made with, or choose another folder (DATA_DIR)."
        )
    return _read(path, secret)


def _header(database: Path) -> bytes:
    """Return how the database begins; empty if there is none, or nothing in it yet."""
    try:
        with database.open("rb") as file:
            return file.read(len(_PLAIN_HEADER))
    except FileNotFoundError:
        return b""


def _make(path: Path, secret: SecretStr) -> Keys:
    """Make the key file; it is on the disk before anything is encrypted with its keys."""
    salt = os.urandom(_SALT_BYTES)
    master = _derive(secret, salt)
    content = {"format": _FORMAT, "salt": salt.hex(), "check": _expand(master, "check").hex()}
    replace_file(path, json.dumps(content).encode())
    return _keys(master)


def _read(path: Path, secret: SecretStr) -> Keys:
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        if content["format"] != _FORMAT:
            raise ModelNotLoaded(
                f"The library in {path.parent} was encrypted by a newer version of this program. Start that version, "
                "or choose another folder."
            )
        salt, check = bytes.fromhex(content["salt"]), bytes.fromhex(content["check"])
    except (ValueError, KeyError, TypeError):
        raise ModelNotLoaded(
            f"{path} is damaged, without which the library in {path.parent} cannot be decrypted. Restore it from a "
            "copy of the folder."
        ) from None
    master = _derive(secret, salt)
    if not hmac.compare_digest(_expand(master, "check"), check):
        raise ModelNotLoaded(
            f"The library in {path.parent} was encrypted with another key than {_VARIABLE} has now. Set it to the key "
            "that the library was made with, or choose another folder (DATA_DIR)."
        )
    return _keys(master)


def _derive(secret: SecretStr, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=KEY_BYTES, n=2**15, r=8, p=3).derive(secret.get_secret_value().encode())


def _expand(master: bytes, purpose: str) -> bytes:
    return HKDFExpand(SHA256(), KEY_BYTES, f"prism library {purpose}".encode()).derive(master)


def _keys(master: bytes) -> Keys:
    return Keys(_expand(master, "database"), _expand(master, "originals"), _expand(master, "names"))
