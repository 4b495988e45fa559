"""Answers a question from the hits of a search: chooses passages, asks the model, checks each sentence of its reply.

In order:

1. If the hits are not about the question, there is no answer (`nothing_relevant`).
2. The model gets the best sentences of the hits and the plain question.
3. Each sentence of its reply is checked as soon as it is complete, and yielded with what backs it.
4. If nothing backs any of them, the answer is extractive if the hits are so similar to the question that they probably
   have the answer, or if a sentence has what the reply says and all words of the question; that sentence then comes
   first. Otherwise there is no answer (`nothing_supported`).
5. After backed sentences, quoted ones follow: those of other files that say something else, then those that answer
   best, at most 3 of them and 80 words in all. They have what a small model misses.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import cast

from deployments.answerer.abstention import (
    MIN_RELEVANCE,
    MIN_RELEVANCE_TO_ASK,
    addresses,
    is_confident,
    is_relevant,
    says_not_found,
)
from deployments.answerer.agreement import find_agreeing, is_answer
from deployments.answerer.check.contradictions import contradictions
from deployments.answerer.check.verdict import Verdict, check
from deployments.answerer.extractive import MAX_SENTENCES, MAX_WORDS, extract
from deployments.answerer.language_model import LanguageModel
from deployments.answerer.orders import without_citation_marks
from deployments.answerer.passages import choose_passages
from deployments.answerer.prompt import SYSTEM, build_prompt
from deployments.answerer.question import Question, parse_question
from deployments.answerer.ranking import RankedSentence, rank_sentences
from deployments.answerer.types import EXTRACTIVE, AnswerEnd, AnswerPart, AnswerSentence
from deployments.answerer.words import count_words
from deployments.cancellation import Cancellation
from deployments.errors import DeadlineExceeded
from deployments.library.types import SearchHit
from deployments.sentences import sentence_ranges

NO_MODEL = "No language model is configured (answerer.model), so the answer quotes the passages."
NO_TIME = "There was no time left for the language model, so the answer quotes the passages."
NOT_BACKED = "Nothing in the passages backs the language model's reply, so the answer quotes them."
CUT_SHORT = "The time ran out before the language model had finished."
SOURCES_DISAGREE = "The sources disagree."

_MIN_PASSAGE_TOKENS = 120
"""The model is not asked if there is no time to read so many; a slow one gets so many, although it exceeds
`max_prompt_s`."""
_PROMPT_TOKENS = 80
"""About the tokens of a prompt without its passages: system message, question, titles."""


@dataclass(frozen=True)
class AnswerLimits:
    """What bounds the time of an answer."""

    max_passage_tokens: int = 600
    """Of passages in the prompt, at most."""
    max_prompt_s: float = 10.0
    """Seconds. A model that would read for longer, by its measured speed, gets fewer passages."""
    max_answer_tokens: int = 96
    """Of the model's reply, at most."""


def answer(
    question: str,
    hits: Sequence[SearchHit],
    model: LanguageModel | None,
    limits: AnswerLimits,
    cancellation: Cancellation,
) -> Iterator[AnswerPart]:
    """Yield the sentences of an answer, each as soon as it is checked, then one AnswerEnd.

    Sentences that nothing backs are yielded, too (`supported` is false); the caller decides whether to show them.
    Without a model, or when the time runs out before a backed sentence, the answer is extractive: quoted sentences,
    which take less than 0.1 s. So the deadline of `cancellation` should be that much before the request's. Raises
    WorkCancelled when the caller is gone, and what the model raises, but never DeadlineExceeded.
    """
    asked = parse_question(question)
    name = EXTRACTIVE if model is None else model.name
    ranked = rank_sentences(asked, hits)
    minimum = MIN_RELEVANCE if model is None else MIN_RELEVANCE_TO_ASK
    if not ranked or not is_relevant(asked, hits, minimum):
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
    replies: list[str] = []
    note = ""
    has_no_answer = False
    try:
        for text in _reply_sentences(question, hits, ranked, model, limits, cancellation):
            sentence, verdict = _checked(text, hits, question)
            yield sentence
            replies.append(text)
            has_no_answer = has_no_answer or says_not_found(text)
            if sentence.supported:
                shown.append((sentence, verdict))
    except DeadlineExceeded:
        if not shown:
            if is_relevant(question, hits):
                yield from extract(ranked)
                yield AnswerEnd(EXTRACTIVE, note=NO_TIME)
            else:
                yield AnswerEnd(EXTRACTIVE, no_answer="nothing_relevant", note=NO_TIME)
            return
        note = CUT_SHORT
    if not shown:
        agreeing = find_agreeing(question, " ".join(replies), ranked)
        is_answered = is_confident(question, hits, ranked[0]) or (
            agreeing is not None and is_answer(question, agreeing)
        )
        if has_no_answer or not is_answered:
            yield AnswerEnd(model.name, no_answer="nothing_supported")
            return
        yield from extract(ranked if agreeing is None else [agreeing, *(one for one in ranked if one is not agreeing)])
        yield AnswerEnd(EXTRACTIVE, note=NOT_BACKED)
        return
    others = [other for _, verdict in shown for other in contradictions(verdict, hits, question)]
    if others:
        note = f"{note} {SOURCES_DISAGREE}".lstrip()
    yield from _following_quotes([sentence for sentence, _ in shown], others, ranked)
    yield AnswerEnd(model.name, note=note)


def _checked(text: str, hits: Sequence[SearchHit], question: Question) -> tuple[AnswerSentence, Verdict]:
    """Return a sentence of the model's reply with what backs it, and the verdict on it."""
    text = without_citation_marks(text)
    verdict = check(text, hits, question)
    supported = (
        verdict.supported
        and not says_not_found(text)
        and any(addresses(question, text, evidence) for evidence in verdict.evidence)
    )
    return AnswerSentence(text, verdict.quotes, supported), verdict


def _following_quotes(
    shown: Sequence[AnswerSentence], others: Sequence[AnswerSentence], ranked: Sequence[RankedSentence]
) -> Iterator[AnswerSentence]:
    """Yield the quoted sentences that follow those of the model (`shown`): all that say something else (`others`), then
    the best ones, as far as MAX_SENTENCES and MAX_WORDS allow."""
    room = MAX_WORDS - sum(count_words(sentence.text) for sentence in shown)
    num_left = MAX_SENTENCES
    quoted = {sentence.text for sentence in shown}
    for quote in (*others, *extract(ranked)):
        num_words = count_words(quote.text)
        fits = num_left > 0 and num_words <= room
        if quote.text not in quoted and (quote in others or fits):
            yield quote
            quoted.add(quote.text)
            room -= num_words
            num_left -= 1


def _reply_sentences(
    question: Question,
    hits: Sequence[SearchHit],
    ranked: Sequence[RankedSentence],
    model: LanguageModel,
    limits: AnswerLimits,
    cancellation: Cancellation,
) -> Iterator[str]:
    """Yield the sentences of the model's reply, up to MAX_WORDS words. Raises DeadlineExceeded, at once if there is too
    little time to ask."""
    speed = model.prompt_tokens_per_s
    affordable = int(speed * limits.max_prompt_s) - _PROMPT_TOKENS
    max_tokens = max(_MIN_PASSAGE_TOKENS, min(limits.max_passage_tokens, affordable))
    if (_MIN_PASSAGE_TOKENS + _PROMPT_TOKENS) / speed > cancellation.deadline - time.time():
        raise DeadlineExceeded("it had no time for the language model")
    max_tokens = min(max_tokens, int(speed * (cancellation.deadline - time.time())) - _PROMPT_TOKENS)
    passages = choose_passages([one.sentence for one in ranked], hits, max_tokens, model.count_tokens)
    pieces = model.complete(SYSTEM, build_prompt(question.text, passages), limits.max_answer_tokens, cancellation)
    num_words = 0
    for sentence in _sentences_in(pieces):
        num_words += count_words(sentence)
        if num_words > MAX_WORDS:
            return
        yield sentence


def _sentences_in(pieces: Iterator[str]) -> Iterator[str]:
    """Yield the sentences of a text that arrives in pieces, each once the next has a whole word: "am 31. Dez" may go on
    to a date. At the end, `pieces` is closed, which stops the model."""
    text = ""
    with closing(cast(Generator[str, None, None], pieces)):
        for piece in pieces:
            text += piece
            *complete, last = list(sentence_ranges(text)) or [(0, 0)]
            if len(text[last[0] :].split(maxsplit=1)) < 2 and not text[-1:].isspace():
                continue
            for start, end in complete:
                yield text[start:end]
            if complete:
                text = text[last[0] :]
    for start, end in sentence_ranges(text):
        yield text[start:end]
