"""The sentences of a passage that may back a claim."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from deployments.answerer.passages import Sentence, is_question, sentences_of
from deployments.answerer.ranking import title_stems
from deployments.answerer.types import Quote
from deployments.answerer.words import Word
from deployments.library.types import SearchHit

_LEADING_PHRASE = re.compile(
    r"^\W*(?:in|on|at|by|during|after|before|since|from|until|under|with|for|as|of|when|while|although)\b[^,]*,", re.I
)
"""Such as "In 1990,"."""
_ARTICLE = re.compile(r"\W*(?:(?:the|an?|der|die|das|ein|eine|le|la|les|el|los|las)\s+)?", re.I)
_LONGEST_BEFORE_NAME = " The "
"""Before the name with which a sentence begins there is at most white space and an article."""
_NAME_DISTANCE = 2
"""In words, function words included, between the names of one subject: "Bank of England"."""


@dataclass(frozen=True)
class Evidence:
    """One sentence of a chunk, or two that follow one another, with what stands around them."""

    sentences: tuple[Sentence, ...]
    before: tuple[Sentence, ...]
    """The sentences of the chunk before them."""
    after: tuple[Sentence, ...]
    hit: SearchHit

    @staticmethod
    def of(hit: SearchHit, first: int, length: int = 1) -> "Evidence":
        """Return so many sentences of a hit, from the one with the number `first`."""
        sentences = sentences_of(hit.chunk)
        end = first + length
        return Evidence(sentences[first:end], sentences[:first], sentences[end:], hit)

    @property
    def quote(self) -> Quote:
        return Quote(self.sentences[0].chunk_id, self.sentences[0].start, self.sentences[-1].end)

    @property
    def text(self) -> str:
        return self.hit.chunk.text[self.sentences[0].start : self.sentences[-1].end]

    @cached_property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for sentence in self.sentences for word in sentence.words)

    @cached_property
    def nearby_words(self) -> tuple[Word, ...]:
        """Its words, and those of the sentences right before and after it."""
        beside = (*self.before[-1:], *self.after[:1])
        return (*self.words, *(word for sentence in beside for word in sentence.words))

    @cached_property
    def earlier_stems(self) -> frozenset[str]:
        """Stems of the sentences before it and of the title: what "he" and "the film" can mean."""
        return self.title_stems.union(word.stem for sentence in self.before for word in sentence.words)

    @cached_property
    def title_stems(self) -> frozenset[str]:
        """Stems of the file's name and of the headings above the chunk."""
        return frozenset(title_stems(self.hit.chunk))

    @cached_property
    def subject_names(self) -> tuple[tuple[Word, ...], ...]:
        """The names with which each sentence begins; none where it begins with another word."""
        return tuple(_subject_names(sentence, self.hit.chunk.text) for sentence in self.sentences)


def evidence_in(hit: SearchHit, length: int) -> Iterator[Evidence]:
    """Yield the sentences of a hit that can back a claim, singly (`length` 1) or each with the next one (2).

    An order to the model cannot, nor can a question: it says nothing; its answer behind it does.
    """
    for first in range(len(sentences_of(hit.chunk)) - length + 1):
        evidence = Evidence.of(hit, first, length)
        if not any(sentence.is_order for sentence in evidence.sentences) and not is_question(
            evidence.sentences[-1].text
        ):
            yield evidence


def is_written_small(word: Word, text: str) -> bool:
    """Return whether a text has a word with a small first letter, too, so that it is no name."""
    return bool(re.search(rf"\b{re.escape(word.text.lower())}\b", text))


def subject_words(sentence: Sentence) -> tuple[Word, ...]:
    """Return the words with which a sentence begins, after a phrase such as "In 1990," and an article: at most two that
    follow one another. None if it begins with a pronoun or with another function word."""
    start = _end_of_leading_phrase(sentence)
    words = [word for word in sentence.words if word.start >= start]
    if not words or not _ARTICLE.fullmatch(sentence.text, start, words[0].start):
        return ()
    if len(words) > 1 and words[1].position == words[0].position + 1:
        return tuple(words[:2])
    return tuple(words[:1])


def _subject_names(sentence: Sentence, chunk_text: str) -> tuple[Word, ...]:
    """Return the names with which a sentence begins, after a phrase such as "In 1990,". A single word at its very start
    is a name if the chunk never writes it small."""
    start = _end_of_leading_phrase(sentence)
    names: list[Word] = []
    for word in sentence.words:
        if word.start < start:
            continue
        if not word.is_name or word.number is not None:
            break
        # "Released in 1990" begins with no name.
        if not names and word.start - start > len(_LONGEST_BEFORE_NAME):
            break
        if names and word.position - names[-1].position > _NAME_DISTANCE:
            break
        names.append(word)
    if len(names) == 1 and names[0].is_first and is_written_small(names[0], chunk_text):
        return ()
    return tuple(names)


def _end_of_leading_phrase(sentence: Sentence) -> int:
    leading = _LEADING_PHRASE.match(sentence.text)
    return leading.end() if leading else 0
