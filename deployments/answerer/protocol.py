"""What the rest of the graph may call on the answerer."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from deployments.answerer.types import AnswerPart
from deployments.library.types import SearchHit


class AnswererService(Protocol):
    """`deadline` is in epoch seconds. Closing the generator stops the work."""

    def answer(self, question: str, hits: Sequence[SearchHit], *, deadline: float) -> AsyncGenerator[AnswerPart, None]:
        """Yield the sentences of an answer from the hits (the best first), each as soon as it is checked, then its end.

        Without a language model, or when there is no time for it before the deadline, the answer is extractive: the
        sentences of the passages that answer best, quoted.
        """
