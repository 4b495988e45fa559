"""Files of known content for the kills: each has a word that no other has."""

import numpy as np

from deployments.embedder.types import VECTOR_DIM, Vectors
from deployments.library.types import ChunkPart, NewChunk, NewFile
from deployments.media import Media, as_media

CHUNKS = 4
"""Of each file."""


def word_of(number: int) -> str:
    """Return the word that only this file has, without digits, which would be split off."""
    letters = []
    while number:
        number, letter = divmod(number, 20)
        letters.append("bcdfghjklmnpqrtvwxyz"[letter])
    return "zo" + "a".join(letters) + "ax"


def content_of(number: int) -> Media:
    """Return some kilobytes that differ from those of all other numbers."""
    return as_media(f"{number}:".encode() + np.random.default_rng(number).bytes(3000 + number % 20_000))


def new_file(number: int) -> NewFile:
    return NewFile(f"{number}.txt", f"folder/{number}.txt", "document", "text/plain", "text")


def chunks_of(number: int) -> list[NewChunk]:
    texts = [f"Sentence {i} of a file about {word_of(number)} and other things." for i in range(CHUNKS)]
    return [
        NewChunk(text, {"type": "document", "paragraph": i}, [ChunkPart(0, len(text), {"paragraph": i})])
        for i, text in enumerate(texts)
    ]


def vectors_of(number: int) -> Vectors:
    vectors = np.random.default_rng(number).standard_normal((CHUNKS, VECTOR_DIM)).astype(np.float32)
    normalized: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return normalized
