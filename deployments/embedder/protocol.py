"""What the rest of the graph may call on the embedder."""

from typing import Protocol

from deployments.embedder.types import Vectors


class EmbedderService(Protocol):
    """`deadline` is in epoch seconds. Raises ModelNotLoaded with the progress while there is no model, and
    DeadlineExceeded. Texts longer than the model's window of 256 word pieces are cut."""

    async def embed_query(self, text: str, *, deadline: float) -> Vectors:
        """Return the vector of a query, shape (1, VECTOR_DIM), before any passages that are waiting."""

    async def embed_passages(self, texts: list[str], *, deadline: float) -> Vectors:
        """Return the vectors of passages, at low priority."""

    async def count_tokens(self, texts: list[str], *, deadline: float) -> list[int]:
        """Return the number of word pieces of each text, without the two special tokens, uncut."""
