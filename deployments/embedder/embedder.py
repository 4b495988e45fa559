"""Texts -> vectors, with the tokenizer and the encoder of one checkpoint."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from deployments.cancellation import Cancellation
from deployments.commands import RESTORE_ADVICE
from deployments.embedder.bert import BertEncoder, load_bert
from deployments.embedder.types import VECTOR_DIM, Vectors
from deployments.errors import ModelNotLoaded
from deployments.lru_cache import LRUCache
from deployments.malloc import trim_freed_memory

MAX_TOKENS = 256
"""The model's window in word pieces, two of them special, by the `max_seq_length` that all-MiniLM-L6-v2 was published
with. The rest of a longer text is cut off."""
MAX_BATCH_TOKENS = 512
"""Tokens that are encoded together: more are no faster, and a cancelled call would end later."""
TOKENIZER_BATCH = 256
"""Texts that are tokenized between two looks at the cancellation."""


class Embedder:
    """Embeds texts. Several threads may call it at once."""

    def __init__(self, encoder: BertEncoder, tokenizer: Tokenizer, *, query_cache_bytes: int) -> None:
        self._encoder = encoder
        self._tokenizer = tokenizer
        self._cls, self._sep = (_special_token_id(tokenizer, token) for token in ("[CLS]", "[SEP]"))
        self._query_vectors: LRUCache[Vectors] = LRUCache(query_cache_bytes)

    @property
    def weight_bytes(self) -> int:
        return self._encoder.weight_bytes

    def cached_query(self, text: str) -> Vectors | None:
        """Return the vector of a recent query."""
        return self._query_vectors.get(text)

    def embed_query(self, text: str, cancellation: Cancellation) -> Vectors:
        """Return the vector of a query, shape (1, VECTOR_DIM)."""
        vectors = self._embed([text], cancellation)
        vectors.setflags(write=False)  # all callers share the cached one
        self._query_vectors.put(text, vectors, vectors.nbytes + len(text.encode()))
        return vectors

    def embed_passages(self, texts: Sequence[str], cancellation: Cancellation) -> Vectors:
        """Return the vectors of passages, shape (num_texts, VECTOR_DIM)."""
        try:
            return self._embed(texts, cancellation)
        finally:
            self._encoder.word_embeddings.forget()
            trim_freed_memory()

    def count_tokens(self, texts: Sequence[str], cancellation: Cancellation) -> list[int]:
        """Return the number of word pieces of each text, uncut and without the two special tokens."""
        return [len(token_ids) for token_ids in self._tokenize(texts, cancellation)]

    def _embed(self, texts: Sequence[str], cancellation: Cancellation) -> Vectors:
        vectors = np.empty((len(texts), VECTOR_DIM), np.float32)
        done = 0

        def check_cancelled() -> None:
            cancellation.check(f"{done} of {len(texts)} texts were embedded")

        max_tokens = min(MAX_TOKENS, self._encoder.config.max_position_embeddings) - 2
        tokenized = self._tokenize(texts, cancellation)
        for batch in _batches([self._cls, *token_ids[:max_tokens], self._sep] for token_ids in tokenized):
            vectors[done : done + len(batch)] = self._encoder.encode(batch, check_cancelled)
            done += len(batch)
        return vectors

    def _tokenize(self, texts: Sequence[str], cancellation: Cancellation) -> Iterator[list[int]]:
        for first in range(0, len(texts), TOKENIZER_BATCH):
            cancellation.check(f"{first} of {len(texts)} texts were tokenized")
            batch = list(texts[first : first + TOKENIZER_BATCH])
            for encoding in self._tokenizer.encode_batch_fast(batch, add_special_tokens=False):
                yield encoding.ids


def load_embedder(folder: Path, *, query_cache_bytes: int) -> Embedder:
    """Load `config.json`, `model.safetensors` and `tokenizer.json` of a folder; raises ModelNotLoaded."""
    encoder = load_bert(folder / "config.json", folder / "model.safetensors")
    return Embedder(encoder, _read_tokenizer(folder / "tokenizer.json"), query_cache_bytes=query_cache_bytes)


def _read_tokenizer(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the only class that tokenizers raises
        raise ModelNotLoaded(f"{path} cannot be read as a tokenizer ({error}). {RESTORE_ADVICE}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _special_token_id(tokenizer: Tokenizer, token: str) -> int:
    token_id = tokenizer.token_to_id(token)
    if token_id is None:
        raise ModelNotLoaded(f"tokenizer.json has no token {token}: it is not the tokenizer of a BERT encoder.")
    return token_id


def _batches(texts: Iterator[list[int]]) -> Iterator[list[list[int]]]:
    """Yield the texts in order, in batches of at most MAX_BATCH_TOKENS tokens."""
    batch: list[list[int]] = []
    num_tokens = 0
    for text in texts:
        if batch and num_tokens + len(text) > MAX_BATCH_TOKENS:
            yield batch
            batch, num_tokens = [], 0
        batch.append(text)
        num_tokens += len(text)
    if batch:
        yield batch
