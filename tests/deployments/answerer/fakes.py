"""Hits and models for the tests of answering."""

from collections.abc import Callable, Iterator

from deployments.cancellation import Cancellation
from deployments.library.types import ChunkRecord, SearchHit

FAR_FUTURE = 4e9
"""A deadline, in epoch seconds, that does not come."""


def hit(
    text: str,
    *,
    file_id: int = 1,
    number: int = 0,
    similarity: float = 0.6,
    filename: str = "notes.txt",
    score: float = 0.6,
) -> SearchHit:
    chunk = ChunkRecord(
        f"chunk-{file_id}-{number}", file_id, filename, "document", number, text, {"type": "document"}, []
    )
    return SearchHit(chunk, similarity, score)


class ScriptedModel:
    """Says what a function returns for the prompt, word by word; counts a token for each word."""

    name = "scripted"

    def __init__(self, reply: str | Callable[[str], str], prompt_tokens_per_s: float = 40.0) -> None:
        self._reply = reply
        self.prompt_tokens_per_s = prompt_tokens_per_s
        self.prompts: list[str] = []
        self.num_pieces = 0
        self.is_closed = False

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def complete(self, system: str, prompt: str, max_tokens: int, cancellation: Cancellation) -> Iterator[str]:
        self.prompts.append(prompt)
        reply = self._reply if isinstance(self._reply, str) else self._reply(prompt)
        try:
            for word in reply.split(" ")[:max_tokens]:
                cancellation.check("it was still writing")
                self.num_pieces += 1
                yield word + " "
        finally:
            self.is_closed = True
