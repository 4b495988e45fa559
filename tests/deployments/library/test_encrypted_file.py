"""Encrypted files: read in parts, and every change noticed."""

from io import BufferedReader, BytesIO
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.library.encrypted_file import FRAME_BYTES, EncryptedFile, NotAuthentic, write_encrypted

KEY = bytes(range(32))
NAME = "a" * 64
HEADER = 24
STORED_FRAME = FRAME_BYTES + 16

CONTENT = bytes(i * i % 251 for i in range(3 * FRAME_BYTES + 1000))


def encrypted(content: bytes, key: bytes = KEY, name: str = NAME) -> bytes:
    file = BytesIO()
    write_encrypted(file, memoryview(content), key, name)
    return file.getvalue()


def opened(stored: bytes, key: bytes = KEY, name: str = NAME) -> EncryptedFile:
    return EncryptedFile(BufferedReader(cast("BufferedReader", BytesIO(stored))), key, name)


def decrypted(stored: bytes, key: bytes = KEY, name: str = NAME) -> bytes:
    file = opened(stored, key, name)
    content = bytes(file.read(0, file.num_bytes))
    assert content == b"".join(map(bytes, file.blocks()))
    return content


@pytest.mark.parametrize(
    "size", [0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 2 * FRAME_BYTES, 3 * FRAME_BYTES + 1000]
)
def test_content_of_every_size_comes_back(size: int) -> None:
    stored = encrypted(CONTENT[:size])
    assert decrypted(stored) == CONTENT[:size]
    assert len(stored) == HEADER + size + 16 * max(1, -(-size // FRAME_BYTES))
    assert CONTENT[:64] not in stored


def test_the_same_content_is_never_stored_the_same() -> None:
    assert encrypted(CONTENT)[HEADER:] != encrypted(CONTENT)[HEADER:]


@given(
    size=st.sampled_from([0, 10, FRAME_BYTES, 2 * FRAME_BYTES, len(CONTENT)]),
    start=st.integers(0, len(CONTENT) + 10),
    length=st.integers(0, len(CONTENT) + 10),
)
def test_parts_are_those_of_the_content(size: int, start: int, length: int) -> None:
    assert opened(encrypted(CONTENT[:size])).read(start, start + length) == CONTENT[:size][start : start + length]


def test_a_part_needs_its_frames_only() -> None:
    stored = bytearray(encrypted(CONTENT))
    stored[HEADER] ^= 1  # frame 0
    stored[-1] ^= 1  # the last frame
    file = opened(bytes(stored))
    assert file.read(FRAME_BYTES, 3 * FRAME_BYTES) == CONTENT[FRAME_BYTES : 3 * FRAME_BYTES]
    for start, end in ((0, 1), (FRAME_BYTES - 1, FRAME_BYTES + 1), (3 * FRAME_BYTES, 3 * FRAME_BYTES + 1)):
        with pytest.raises(NotAuthentic):
            file.read(start, end)


@pytest.mark.parametrize("size", [0, 100])
def test_every_changed_bit_is_noticed(size: int) -> None:
    stored = encrypted(CONTENT[:size])
    for position in range(len(stored)):
        changed = bytearray(stored)
        changed[position] ^= 1 << position % 8
        with pytest.raises(NotAuthentic):
            decrypted(bytes(changed))


def frames(stored: bytes) -> list[bytes]:
    body = stored[HEADER:]
    return [body[i : i + STORED_FRAME] for i in range(0, len(body), STORED_FRAME)]


def test_frames_in_another_order_or_of_another_file_are_noticed() -> None:
    stored = encrypted(CONTENT)
    first, second, third, last = frames(stored)
    other = frames(encrypted(CONTENT))
    for changed in (
        [second, first, third, last],
        [first, first, third, last],
        [first, third, last],
        [first, other[1], third, last],
        [first, second, third, last, last],
    ):
        with pytest.raises(NotAuthentic):
            decrypted(stored[:HEADER] + b"".join(changed))


@pytest.mark.parametrize("left", [1, 2, 3])
def test_a_file_cut_off_between_frames_is_noticed_where_it_ends(left: int) -> None:
    stored = encrypted(CONTENT)[: HEADER + left * STORED_FRAME]
    with pytest.raises(NotAuthentic):
        decrypted(stored)
    file = opened(stored)
    for start, end in ((left * FRAME_BYTES - 1, left * FRAME_BYTES), (3 * FRAME_BYTES, len(CONTENT)), (10**9, 10**9)):
        with pytest.raises(NotAuthentic):
            file.read(start, end)


@pytest.mark.parametrize("size", [0, 100, FRAME_BYTES + 1])
def test_a_file_cut_off_anywhere_is_noticed(size: int) -> None:
    stored = encrypted(CONTENT[:size])
    for length in [*range(100), HEADER + STORED_FRAME, *range(len(stored) - 20, len(stored))]:
        if 0 <= length < len(stored):
            with pytest.raises(NotAuthentic):
                decrypted(stored[:length])
    for more in (b"x", bytes(16), bytes(STORED_FRAME)):
        with pytest.raises(NotAuthentic):
            decrypted(stored + more)


def test_another_key_or_name_does_not_open_it() -> None:
    stored = encrypted(CONTENT)
    with pytest.raises(NotAuthentic):
        decrypted(stored, key=bytes(32))
    with pytest.raises(NotAuthentic):
        decrypted(stored, name="b" * 64)


def test_it_is_the_format_of_the_docstring() -> None:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    stored = encrypted(CONTENT)
    assert stored[:8] == b"PRISMFE1"
    cipher = AESGCM(HKDF(SHA256(), 32, stored[8:24], b"PRISMFE1" + NAME.encode()).derive(KEY))
    content = b""
    for number, frame in enumerate(frames(stored)):
        content += cipher.decrypt(number.to_bytes(11, "big") + bytes([number == 3]), frame, None)
    assert content == CONTENT
