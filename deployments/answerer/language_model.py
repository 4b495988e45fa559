"""The interface of language models: one in this process, or a server on this machine."""

from collections.abc import Iterator
from typing import Protocol

from deployments.cancellation import Cancellation

POLL_S = 0.02
"""How often a cancelled or late reply is noticed."""
SEED = 0
"""The most probable token is always taken; a fixed seed keeps replies equal where a server samples all the same."""
WARM_UP = "The library holds documents, pictures, recordings and videos, and each of its passages has a place. " * 6
"""A prompt of about 120 tokens, with which the speed of reading is measured when a model is loaded."""


class LanguageModel(Protocol):
    """Deterministic: it always takes the most probable token."""

    @property
    def name(self) -> str:
        """The name that answers and health show."""

    @property
    def prompt_tokens_per_s(self) -> float:
        """How fast this model reads a prompt on this machine, measured. Bounds the passages."""

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text, or an estimate where the model's tokenizer cannot be asked."""

    def complete(self, system: str, prompt: str, max_tokens: int, cancellation: Cancellation) -> Iterator[str]:
        """Yield the text of the reply piece by piece.

        When it is cancelled or late it stops within one token and raises what `cancellation.check` raises.
        """
