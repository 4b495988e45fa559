"""What answers a prompt: a language model in this process, or a server on this machine."""

from collections.abc import Iterator
from typing import Protocol

from deployments.cancellation import Cancellation


class LanguageModel(Protocol):
    """Deterministic: it always takes the most probable token."""

    @property
    def name(self) -> str:
        """As answers and health name it."""

    @property
    def prompt_tokens_per_s(self) -> float:
        """Prefill speed of this model on this machine, measured; bounds the passages."""

    def count_tokens(self, text: str) -> int: ...

    def complete(self, system: str, prompt: str, max_tokens: int, cancellation: Cancellation) -> Iterator[str]:
        """Yield the text of the reply piece by piece.

        When it is cancelled or late it stops within one token and raises what `cancellation.check` raises.
        """
