"""Answers a question from the hits of a search: chooses passages, asks the model, checks each sentence that it says."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deployments.answerer.language_model import LanguageModel
from deployments.answerer.types import AnswerEnd, AnswerPart, AnswerSentence, Quote
from deployments.cancellation import Cancellation
from deployments.errors import DeadlineExceeded
from deployments.library.types import SearchHit
from deployments.sentences import sentence_ranges

EXTRACTIVE = "extractive"
"""Stands for the name of a model where there is none."""

Embed = Callable[[Sequence[str]], npt.NDArray[np.float32]]
"""Texts -> vectors of length 1, a row each."""


@dataclass(frozen=True)
class AnswerLimits:
    max_passage_tokens: int = 600
    """Of passages in the prompt, at most."""
    max_prompt_s: float = 10.0
    """Fewer passages where the model would read for longer than this, by its measured speed."""
    max_answer_tokens: int = 128


def answer(
    question: str,
    hits: Sequence[SearchHit],
    model: LanguageModel | None,
    limits: AnswerLimits,
    cancellation: Cancellation,
) -> Iterator[AnswerPart]:
    """Yield the sentences of an answer, each as soon as it is checked, then one AnswerEnd.

    Sentences that nothing backs are yielded, too (`supported` is false); whoever shows them decides.
    Without a model, or when the time runs out before it has said anything that is backed, the answer is extractive:
    quoted sentences, which need less than a tenth of a second. So the deadline of `cancellation` should be that much
    before the one of the request. Raises WorkCancelled when the caller is gone; never DeadlineExceeded.
    """
    if hits and model is not None:
        chunk = hits[0].chunk
        text = ""
        try:
            for piece in model.complete("Answer from the passages.", f"{chunk.text}\n\n{question}", 128, cancellation):
                text += piece
        except DeadlineExceeded:
            pass
        found = False
        for start, end in list(sentence_ranges(text)):
            sentence = text[start:end].strip()
            at = chunk.text.find(sentence)
            found |= at >= 0
            quotes = (Quote(chunk.chunk_id, at, at + len(sentence)),) if at >= 0 else ()
            yield AnswerSentence(sentence, quotes, supported=at >= 0)
        yield AnswerEnd(model.name, no_answer="" if found else "nothing_supported")
    elif hits:
        chunk = hits[0].chunk
        for start, end in list(sentence_ranges(chunk.text))[:3]:
            yield AnswerSentence(chunk.text[start:end], (Quote(chunk.chunk_id, start, end),), supported=True)
        yield AnswerEnd(EXTRACTIVE)
    else:
        yield AnswerEnd(EXTRACTIVE, no_answer="nothing_relevant")
