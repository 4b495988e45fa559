"""Requests and results of the answerer; these values cross process boundaries."""

from dataclasses import dataclass
from typing import Literal

EXTRACTIVE = "extractive"
"""Stands for the name of the language model in answers and health where there is none."""

NoAnswer = Literal["", "nothing_relevant", "nothing_supported"]
"""Why there is no answer: no passage is about the question, or no sentence of the answer is in the passages. Empty if
there is one."""


@dataclass(frozen=True)
class Quote:
    """Words of a passage that back a sentence."""

    chunk_id: str
    start: int
    """First character, in the text of the chunk."""
    end: int
    """Exclusive."""


@dataclass(frozen=True)
class AnswerSentence:
    """One sentence of an answer, checked."""

    text: str
    quotes: tuple[Quote, ...]
    """What backs it, the best first; more than one if several sources say it. For an unsupported sentence, the nearest
    passage or nothing."""
    supported: bool


@dataclass(frozen=True)
class AnswerEnd:
    """What follows the last sentence."""

    answered_by: str
    """Name of the language model, or EXTRACTIVE."""
    no_answer: NoAnswer = ""
    note: str = ""
    """For the user, such as that no language model is configured or that the time was too short for it."""


AnswerPart = AnswerSentence | AnswerEnd
