"""The answer without a language model: the sentences that answer best, quoted."""

from collections.abc import Sequence

from deployments.answerer.orders import without_citation_marks
from deployments.answerer.passages import is_question
from deployments.answerer.ranking import RankedSentence
from deployments.answerer.types import AnswerSentence, Quote
from deployments.answerer.words import count_words, fold
from deployments.sentences import clause_starts

MAX_SENTENCES = 3
MAX_WORDS = 80
MAX_SCORE_BELOW_BEST = 6.0
"""A sentence is quoted only if its score is at most this much lower than the best one's."""
MIN_PLAIN_PART = 0.8
"""The least part of a sentence's characters that are letters, digits or white space; code has less."""


def extract(ranked: Sequence[RankedSentence]) -> list[AnswerSentence]:
    """Return at most MAX_SENTENCES of the sentences with at most MAX_WORDS words together, in the order given."""
    quoted: list[AnswerSentence] = []
    seen: set[str] = set()
    room = MAX_WORDS
    best_score = max((one.score for one in ranked), default=0.0)
    for one in ranked:
        if quoted and one.score < best_score - MAX_SCORE_BELOW_BEST:
            break
        sentence = one.sentence
        if fold(sentence.text) in seen or is_question(sentence.text) or not _is_prose(sentence.text):
            continue
        text = sentence.text if quoted else _beginning(sentence.text, room)
        num_words = count_words(text)
        if num_words > room:
            continue
        quote = Quote(sentence.chunk_id, sentence.start, sentence.start + len(text))
        quoted.append(AnswerSentence(without_citation_marks(text), (quote,), supported=True))
        seen.add(fold(sentence.text))
        room -= num_words
        if len(quoted) == MAX_SENTENCES:
            break
    return quoted


def _beginning(text: str, max_words: int) -> str:
    """Return a sentence up to the last clause or else the last word that ends within so many words."""
    if count_words(text) <= max_words:
        return text
    cuts = [text[:cut].rstrip() for cut in clause_starts(text)]
    fitting = [cut for cut in cuts if 0 < count_words(cut) <= max_words]
    if fitting:
        return fitting[-1]
    words = text.split()
    return text[: text.index(words[max_words], sum(map(len, words[:max_words])))].rstrip()


def _is_prose(text: str) -> bool:
    """Return whether a text has no more punctuation than sentences and tables have."""
    return sum(character.isalnum() or character.isspace() for character in text) >= MIN_PLAIN_PART * len(text)
