"""When there is no answer: the hits are not about the question, or the model says that it does not know."""

import re
from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein

from deployments.answerer.check.evidence import Evidence
from deployments.answerer.check.matching import is_excluded_by, is_in
from deployments.answerer.passages import sentences_of
from deployments.answerer.question import ASKING_STEMS, Question
from deployments.answerer.ranking import RankedSentence, inverse_frequencies, part_found, title_stems
from deployments.answerer.words import Word, stems, words_of
from deployments.library.types import SearchHit

MIN_RELEVANCE = 0.58
"""The least `relevance` of hits that are about a question. Measured together with MIN_IN_ONE_SENTENCE, with 11 articles
of SQuAD's training set in the library: so much have .95 of 1561 questions about these articles, .05 of 400 about three
other ones, .02 of 300 about medicine (COVID-QA)."""
MIN_RELEVANCE_TO_ASK = 0.4
"""The least `relevance` at which a model is asked, whose answer is checked: short questions are less similar to short
notes. Of the questions about other articles and medicine that are between the two, 22 were asked, and 1 was answered.
"""

_WORDS_WEIGHT = 0.22
_NAMES_WEIGHT = 0.06
"""Of the question's words and names in `relevance`, where the similarity has weight 1; a logistic regression on the
other half of the same questions."""

MIN_IN_ONE_SENTENCE = 0.75
"""Hits are also about a question if one sentence has so many of its content words, as a part of them: the similarity
of long chunks is small. Of 700 questions about other articles .96 are not found with it."""
_MIN_CONTENT_WORDS = 2
"""A question with fewer content words cannot be recognized by them."""

MIN_CONFIDENCE = 0.45
"""The least similarity at which sentences are quoted although nothing backs what the model said."""
MISSING_NAME_COST = 0.27
"""Taken off the similarity if a name or number of the question is missing; a logistic regression on SQuAD 2.0's
training set (488 answerable and 346 unanswerable questions about two articles)."""

MIN_ADDRESSED = 0.5
"""Part of the question's content words that must be in an answer or near what backs it."""
_MIN_LETTERS = 5
"""Of a name that may be misspelt."""

_NOT_FOUND = re.compile(
    r"\b(?:passages?|texts?|documents?|information|context|sources?|excerpts?|it|they|there)\b[^.]{0,40}?"
    r"\b(?:do(?:es)? not|don't|doesn't|did not|didn't|cannot|can't|is not|isn't|are not|aren't|is no|are no|no)\b"
    r"[^.]{0,40}?"
    r"\b(?:mention\w*|say|says|state[sd]?|specif\w+|provide\w*|contain\w*|include[sd]?|give[ns]?|information|answer\w*|"
    r"indicate[sd]?|detail\w*|name[sd]?|found|describe[sd]?|discuss\w*|refer\w*)\b"
    r"|\b(?:not|n't) (?:explicitly |directly |specifically )?"
    r"(?:mentioned|stated|specified|provided|given|found|answered|named|described|available|clear)\b[^.]{0,25}"
    r"\b(?:passages?|texts?|documents?|information|context|sources?)\b"
    r"|\b(?:i|we) (?:do not|don't|cannot|can't|could not|couldn't) (?:know|find|answer|determine|say)\b"
    r"|\bno (?:information|mention|answer|details?)\b"
    r"|^\W*(?:unknown|not (?:stated|mentioned|specified|found|provided|given|available|answered)|none|n/a|i'm sorry)\b",
    re.I,
)
"""Sentences by which models say that the passages do not answer."""


def relevance(question: Question, hits: Sequence[SearchHit]) -> float:
    """Return how much the best hits are about a question, from 0 to 1.28.

    That is a weighted sum of the greatest similarity, of the greatest part of the question's words that one hit has, by
    their IDF, and of the greatest part of its names.
    """
    if not hits:
        return 0.0
    asked = [word for word in question.words if word.stem not in ASKING_STEMS] or list(question.words)
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
        + _WORDS_WEIGHT * max(part_found(weights, found) for found in of_hits)
        + _NAMES_WEIGHT * names_found
    )


def is_relevant(question: Question, hits: Sequence[SearchHit], minimum: float = MIN_RELEVANCE) -> bool:
    """Return whether the hits are about the question, or one sentence of them has nearly all its words."""
    return relevance(question, hits) >= minimum or _is_in_one_sentence(question, hits)


def _is_in_one_sentence(question: Question, hits: Sequence[SearchHit]) -> bool:
    asked = {word.stem for word in question.content_words}
    return len(asked) >= _MIN_CONTENT_WORDS and any(
        len(asked & stems(sentence.words)) >= MIN_IN_ONE_SENTENCE * len(asked)
        for hit in hits
        for sentence in sentences_of(hit.chunk)
    )


def is_confident(question: Question, hits: Sequence[SearchHit], best: RankedSentence) -> bool:
    """Return whether the best sentence probably answers, although nothing backs what the model said: the hits are very
    similar to the question, and no name or number of it is missing."""
    similarity = max(hit.similarity for hit in hits)
    evidence = Evidence.of(best.hit, best.sentence.number)
    if any(is_excluded_by(word, evidence.words) for word in question.content_words):
        return False
    return similarity - MISSING_NAME_COST * lacks_name_or_number(question, evidence) >= MIN_CONFIDENCE


def addresses(question: Question, sentence: str, evidence: Evidence) -> bool:
    """Return whether a backed sentence, with what backs it, is about what the question asks.

    Not so if the passage up to there lacks a name or a number of the question or says the opposite of one of its words,
    if less than MIN_ADDRESSED of its content words are in the sentence or near what backs it, if a number was asked
    for and the sentence has none of its own, or if the question denies something and the passage does not.
    """
    words = words_of(sentence)
    content_words = question.content_words
    if lacks_name_or_number(question, evidence) or any(is_excluded_by(word, evidence.words) for word in content_words):
        return False
    num_found = sum(is_in(word, words) or _is_near(word, evidence) for word in content_words)
    if num_found < MIN_ADDRESSED * len(content_words):
        return False
    asked = {word.stem for word in question.words}
    if question.expected == "number" and not any(word.number is not None and word.stem not in asked for word in words):
        return False
    return not question.is_negated or any(word.is_negation for word in (*words, *evidence.words))


def lacks_name_or_number(question: Question, evidence: Evidence) -> bool:
    """Return whether a name or a number of the question is neither near a sentence nor before it in its passage."""
    return any(
        not _is_near(word, evidence) for word in question.content_words if word.number is not None or _is_name(word)
    )


def _is_near(word: Word, evidence: Evidence) -> bool:
    """Return whether a word of the question is in evidence, beside it, or earlier in its passage; a name may be
    misspelt by a letter."""
    if is_in(word, evidence.nearby_words, evidence.text) or word.stem in evidence.earlier_stems:
        return True
    if not _is_name(word) or len(word.stem) < _MIN_LETTERS:
        return False
    nearby = evidence.earlier_stems.union(other.stem for other in evidence.nearby_words)
    return any(Levenshtein.distance(word.stem, other, score_cutoff=1) <= 1 for other in nearby)


def _is_name(word: Word) -> bool:
    """Return whether a word is a name. Abbreviations are not counted: passages may write them out."""
    return word.is_name and not word.is_first and not word.text.isupper()


def says_not_found(sentence: str) -> bool:
    """Return whether a sentence of a model says that the passages do not answer: "The passage does not mention it"."""
    return bool(_NOT_FOUND.search(sentence))
