"""Answers a question from the hits of a search: chooses passages, asks the model, checks each sentence that it says.

In order:

1. hits that are not about the question: no answer (`nothing_relevant`);
2. the model gets the best sentences of the hits and the plain question;
3. each sentence that it says is checked as soon as it is complete, and yielded with what backs it;
4. if nothing backs any of them, there is no answer (`nothing_supported`), unless the hits are so near to the question
   that the extractive answer probably has it;
5. otherwise quoted sentences follow: those of other files that say something else, then those that answer best, up to 3
   of them and 80 words in all. A small model often misses what the passages say; the quotes have it.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import cast

from deployments.answerer.abstention import addresses, is_confident, is_relevant, says_not_found
from deployments.answerer.check import Verdict, check, contradictions
from deployments.answerer.extractive import MAX_SENTENCES, MAX_WORDS, extract
from deployments.answerer.language_model import LanguageModel
from deployments.answerer.orders import without_citation_marks
from deployments.answerer.passages import choose_passages
from deployments.answerer.prompt import SYSTEM, build_prompt
from deployments.answerer.question import Question, parse_question
from deployments.answerer.ranking import RankedSentence, rank_sentences
from deployments.answerer.types import AnswerEnd, AnswerPart, AnswerSentence
from deployments.answerer.words import count_words
from deployments.cancellation import Cancellation
from deployments.errors import DeadlineExceeded
from deployments.library.types import SearchHit
from deployments.sentences import sentence_ranges

EXTRACTIVE = "extractive"
"""Stands for the name of a model where there is none."""

NO_MODEL = "No language model is configured; these sentences of the documents answer best."
NO_TIME = "There was no time for the language model; these sentences of the documents answer best."
NOT_BACKED = (
    "Nothing in the documents backs what the language model said; these sentences of the documents answer best."
)
CUT_SHORT = "The time ran out before the language model had finished."
SOURCES_DISAGREE = "The sources disagree."

_MIN_PASSAGE_TOKENS = 120
_PROMPT_TOKENS = 80
"""Of the prompt without passages: system message, question, titles."""


@dataclass(frozen=True)
class AnswerLimits:
    max_passage_tokens: int = 600
    """Of passages in the prompt, at most."""
    max_prompt_s: float = 10.0
    """Fewer passages where the model would read for longer than this, by its measured speed."""
    max_answer_tokens: int = 96


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
    asked = parse_question(question)
    name = EXTRACTIVE if model is None else model.name
    ranked = rank_sentences(asked, hits)
    if not ranked or not is_relevant(asked, hits):
        yield AnswerEnd(name, no_answer="nothing_relevant")
        return
    if model is None:
        yield from extract(ranked)
        yield AnswerEnd(EXTRACTIVE, note=NO_MODEL)
        return
    yield from _model_answer(asked, hits, ranked, model, limits, cancellation)


def _model_answer(
    question: Question,
    hits: Sequence[SearchHit],
    ranked: Sequence[RankedSentence],
    model: LanguageModel,
    limits: AnswerLimits,
    cancellation: Cancellation,
) -> Iterator[AnswerPart]:
    shown: list[tuple[AnswerSentence, Verdict]] = []
    note = ""
    says_nothing = False
    try:
        for text in _replies(question, hits, ranked, model, limits, cancellation):
            sentence, verdict = _checked(text, hits, question)
            yield sentence
            says_nothing = says_nothing or says_not_found(text)
            if sentence.supported:
                shown.append((sentence, verdict))
    except DeadlineExceeded:
        if not shown:
            yield from extract(ranked)
            yield AnswerEnd(EXTRACTIVE, note=NO_TIME)
            return
        note = CUT_SHORT
    if not shown:
        if says_nothing or not is_confident(question, hits, ranked[0].sentence):
            yield AnswerEnd(model.name, no_answer="nothing_supported")
            return
        yield from extract(ranked)
        yield AnswerEnd(EXTRACTIVE, note=NOT_BACKED)
        return
    others = [other for _, verdict in shown for other in contradictions(verdict, hits, question)]
    if others:
        note = f"{note} {SOURCES_DISAGREE}".lstrip()
    yield from _quotes([sentence for sentence, _ in shown], others, ranked)
    yield AnswerEnd(model.name, note=note)


def _checked(text: str, hits: Sequence[SearchHit], question: Question) -> tuple[AnswerSentence, Verdict]:
    text = without_citation_marks(text)
    verdict = check(text, hits, question)
    supported = (
        verdict.supported
        and not says_not_found(text)
        and any(addresses(question, text, one) for one in verdict.windows)
    )
    return AnswerSentence(text, verdict.quotes, supported), verdict


def _quotes(
    shown: Sequence[AnswerSentence], others: Sequence[AnswerSentence], ranked: Sequence[RankedSentence]
) -> Iterator[AnswerSentence]:
    """Yield sentences to quote after the model's."""
    room = MAX_WORDS - sum(count_words(sentence.text) for sentence in shown)
    sentences = MAX_SENTENCES
    quoted = {sentence.text for sentence in shown}
    for quote in (*others, *extract(ranked)):
        num_words = count_words(quote.text)
        is_needed = quote in others
        if quote.text not in quoted and (is_needed or sentences > 0 and num_words <= room):
            yield quote
            quoted.add(quote.text)
            room -= num_words
            sentences -= 1


def _replies(
    question: Question,
    hits: Sequence[SearchHit],
    ranked: Sequence[RankedSentence],
    model: LanguageModel,
    limits: AnswerLimits,
    cancellation: Cancellation,
) -> Iterator[str]:
    """Yield the sentences of the model's reply. Raises DeadlineExceeded."""
    speed = model.prompt_tokens_per_s
    affordable = int(speed * limits.max_prompt_s) - _PROMPT_TOKENS
    max_tokens = max(_MIN_PASSAGE_TOKENS, min(limits.max_passage_tokens, affordable))
    if (_MIN_PASSAGE_TOKENS + _PROMPT_TOKENS) / speed > cancellation.deadline - time.time():
        raise DeadlineExceeded("it had no time for the language model")
    max_tokens = min(max_tokens, int(speed * (cancellation.deadline - time.time())) - _PROMPT_TOKENS)
    passages = choose_passages([one.sentence for one in ranked], hits, max_tokens, model.count_tokens)
    pieces = model.complete(SYSTEM, build_prompt(question.text, passages), limits.max_answer_tokens, cancellation)
    num_words = 0
    for sentence in _sentences(pieces):
        num_words += count_words(sentence)
        if num_words > MAX_WORDS:
            return
        yield sentence


def _sentences(pieces: Iterator[str]) -> Iterator[str]:
    """Yield the sentences of a text that arrives in pieces, each once the next has begun. A generator is closed in the
    end, so that the model stops."""
    text = ""
    with closing(cast(Generator[str, None, None], pieces)):
        for piece in pieces:
            text += piece
            *complete, last = list(sentence_ranges(text)) or [(0, 0)]
            for start, end in complete:
                yield text[start:end]
            if complete:
                text = text[last[0] :]
    if text.strip():
        yield text.strip()
