"""When there is no answer: the hits are not about the question, or the model says that it does not know."""

import re
from collections.abc import Sequence

from deployments.answerer.passages import sentences_of
from deployments.answerer.question import ASKED_WORDS, Question
from deployments.answerer.ranking import covered, inverse_frequencies, title_stems
from deployments.answerer.words import stem, stems
from deployments.library.types import SearchHit

MIN_RELEVANCE = 0.58
"""On SQuAD's training set, with 11 articles in the library: of questions about them, .95 are above it (half of 1561
questions, those that did not set it); of questions about three other articles .93 are below it, of questions about
medical articles (COVID-QA) .97."""

_COVERED_WEIGHT = 0.22
_NAMES_WEIGHT = 0.06
"""Relative to the similarity's; a logistic regression on the other half of the same questions."""

_ASKED_STEMS = frozenset(map(stem, ASKED_WORDS))

_NOT_FOUND = re.compile(
    r"\b(?:passages?|texts?|documents?|information|context|sources?|excerpts?|it|they|there)\b[^.]{0,40}?"
    r"\b(?:do(?:es)? not|don't|doesn't|did not|didn't|cannot|can't|is not|isn't|are not|aren't|is no|are no|no)\b[^.]{0,40}?"
    r"\b(?:mention\w*|say|says|state[sd]?|specif\w+|provide\w*|contain\w*|include[sd]?|give[ns]?|information|answer\w*|"
    r"indicate[sd]?|detail\w*|name[sd]?|found|describe[sd]?|discuss\w*|refer\w*)\b"
    r"|\b(?:not|n't) (?:explicitly |directly |specifically )?(?:mentioned|stated|specified|provided|given|found|answered|"
    r"named|described|available|clear)\b[^.]{0,25}\b(?:passages?|texts?|documents?|information|context|sources?)\b"
    r"|\b(?:i|we) (?:do not|don't|cannot|can't|could not|couldn't) (?:know|find|answer|determine|say)\b"
    r"|\bno (?:information|mention|answer|details?)\b"
    r"|^\W*(?:unknown|not (?:stated|mentioned|specified|found|provided|given|available|answered)|none|n/a|i'm sorry)\b",
    re.I,
)


def relevance(question: Question, hits: Sequence[SearchHit]) -> float:
    """Return how much the best hits are about a question, from 0 to 1.28: the greatest similarity, the greatest part of
    the question's words that one hit has, and that of its names."""
    if not hits:
        return 0.0
    asked = [word for word in question.words if word.stem not in _ASKED_STEMS] or list(question.words)
    of_sentences = [stems(sentence.words) for hit in hits for sentence in sentences_of(hit.chunk)]
    weights = inverse_frequencies(dict.fromkeys(word.stem for word in asked), of_sentences)
    of_hits = [
        {stem for sentence in sentences_of(hit.chunk) for stem in stems(sentence.words)} | title_stems(hit.chunk)
        for hit in hits
    ]
    names = [word for word in asked if word.is_name and not word.is_first]
    names_found = max(sum(word.stem in found for word in names) / len(names) for found in of_hits) if names else 1.0
    return (
        max(hit.similarity for hit in hits)
        + _COVERED_WEIGHT * max(covered(weights, found) for found in of_hits)
        + _NAMES_WEIGHT * names_found
    )


def is_relevant(question: Question, hits: Sequence[SearchHit]) -> bool:
    return relevance(question, hits) >= MIN_RELEVANCE


def says_not_found(sentence: str) -> bool:
    """Return whether a sentence of a model says that the passages do not answer: "The passage does not mention it"."""
    return bool(_NOT_FOUND.search(sentence))
