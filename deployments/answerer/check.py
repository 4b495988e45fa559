"""Checks whether passages say what a sentence says, and finds the very words that do.

A sentence is supported if one sentence of a passage, or two that follow one another, have

- every number of it, in whatever way it is written, with the same unit, and beside the same word ("4 wins and 12
  losses" does not back "12 wins");
- every name of it; one that the question has may also stand elsewhere in the passage or in the file's title, unless the
  backing sentence is about another name;
- nearly all its other words, in each clause, by their stems or as synonyms;
- the same negations, no word that excludes one of its words, and the same order of names around a verb.

What the question already says (`question`) need not be repeated word for word in the same sentence; what is new must
be. The check reads words and does not reason: a sentence that is true but said in other words fails it.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Literal

from deployments.answerer.orders import without_citation_marks
from deployments.answerer.passages import Sentence, sentences_of
from deployments.answerer.question import Question
from deployments.answerer.ranking import title_stems
from deployments.answerer.synonyms import OPPOSITES, same_meaning
from deployments.answerer.types import AnswerSentence, Quote
from deployments.answerer.words import MONTHS, Number, Word, analyse, fold, stem
from deployments.library.types import SearchHit

Problem = Literal["", "number", "name", "words", "negation", "opposite", "order"]

MIN_WORDS_FOUND = 0.6
"""Part of all words, those of the question included; these may stand in the sentences before and after."""
MIN_WORDS_IN_WINDOW = 0.5
"""Part of all words that must be in the quote itself."""
LIGHT_WORDS = frozenset(
    map(
        stem,
        """accord also approximate approximately become consider estimate exact exactly feature have include
        involve know make mention note particular particularly passage refer report respective respectively say serve
        specific specifically state take text total use various""".split(),
    )
)
"""Words that say so little that they need not be found."""
MAX_QUOTES = 3
MAX_CONTRADICTIONS = 2
MIN_FRAME_FOUND = 0.8
"""Part of the words of a sentence, without what may differ, that a contradicting sentence must have."""

_MIN_FRAME_WORDS = 2
_SCOPE_WORDS = 2
"""A negation denies so many of the words that follow it."""
_NEGATION_DISTANCE = 6
"""In words, function words included, from a negation to what it denies."""
_SUBJECT_DISTANCE = 2
"""From a name to the verb after it."""
_COUNTED_DISTANCE = 3
"""From a number to what it counts."""
_DATE_DISTANCE = 6
"""From a verb to its date."""

_STRONG_BREAK = re.compile(r"[,;:()—–]|\b(?:but|while|whereas|although)\b", re.I)
_FRAME = re.compile(
    r"^\s*(?:according to|based on|as (?:stated|mentioned|described) in|in|from)\s+(?:the|these|"
    r"this)\s+(?:\w+\s+){0,2}?"
    r"(?:passages?|texts?|documents?|information|excerpts?|articles?|context)(?:\s+(?:provided|given|above))?\s*,?\s*",
    re.I,
)
_LEADING_PHRASE = re.compile(
    r"^\W*(?:in|on|at|by|during|after|before|since|from|until|under|with|for|as|of|when|while|although)\b[^,]*,", re.I
)
_BY = re.compile(r"\bby\b", re.I)
_CLAUSE_CHANGE = re.compile(r"[;:.!?]\s|,\s*(?:and|but|while|whereas|who|which|although|though|because)\b", re.I)
"""Between clauses."""
_RELATIVE = re.compile(r"(\w+)\s+(?:who|which|that)\s+$")
"""What a relative clause, whose verb follows, is about."""
_SUBJECT_CHANGE = re.compile(
    r"[;:.!?]\s|,\s*(?:who|which)\b|,\s*(?:and|but|while|whereas|although|though|because)\s+(?:the|an?|his|her|its|their|[A-Z])\b"
)
"""Between clauses with subjects of their own."""
_NOT_DENIED = re.compile(r"\W*(?:only|until|just|merely|least|\d)", re.I)


@dataclass(frozen=True)
class Verdict:
    sentence: str
    supported: bool
    quotes: tuple[Quote, ...]
    """The best first, at most one in a chunk. For an unsupported sentence the nearest one, or none."""
    problem: Problem
    """What the nearest quote lacks."""
    windows: tuple["Window", ...] = ()
    """The quotes as words."""


@dataclass(frozen=True)
class Window:
    """One sentence of a chunk, or two that follow one another."""

    sentences: tuple[Sentence, ...]
    before: tuple[Sentence, ...]
    after: tuple[Sentence, ...]
    hit: SearchHit

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
        """Of the window and of the sentences beside it."""
        beside = (*self.before[-1:], *self.after[:1])
        return (*self.words, *(word for sentence in beside for word in sentence.words))

    @cached_property
    def earlier(self) -> frozenset[str]:
        """Stems of the sentences before it and of the title: what "he" and "the film" can mean."""
        before = {word.stem for sentence in self.before for word in sentence.words}
        return frozenset(before | title_stems(self.hit.chunk))

    @cached_property
    def subjects(self) -> tuple[tuple[Word, ...], ...]:
        """The names with which each sentence begins."""
        return tuple(_subject_names(sentence, self.hit.chunk.text) for sentence in self.sentences)


def windows_of(hit: SearchHit) -> Iterator[Window]:
    """Yield the single sentences of a hit, then the pairs of sentences that belong together."""
    sentences = sentences_of(hit.chunk)
    for length in (1, 2):
        for start in range(len(sentences) - length + 1):
            chosen = sentences[start : start + length]
            if not any(sentence.is_order for sentence in chosen):
                yield Window(chosen, sentences[:start], sentences[start + length :], hit)


def check(sentence: str, hits: Sequence[SearchHit], question: Question | None = None) -> Verdict:
    """Find what backs a sentence."""
    claim = _Claim.of(sentence, question)
    if not claim.words:
        return Verdict(sentence, False, (), "words")
    found: list[tuple[float, int, Window]] = []
    nearest: tuple[float, Window, Problem] | None = None
    for rank, hit in enumerate(hits):
        best: tuple[float, Window] | None = None
        for window in windows_of(hit):
            if best is not None and len(window.sentences) > 1:
                break  # a single sentence backs it already
            closeness = claim.closeness(window)
            problem = claim.problem(window) if closeness > 0 else "words"
            if not problem and (best is None or closeness > best[0]):
                best = closeness, window
            if problem and (nearest is None or closeness > nearest[0]):
                nearest = closeness, window, problem
        if best is not None:
            found.append((best[0], -rank, best[1]))
    if found:
        found.sort(key=lambda one: one[:2], reverse=True)
        backing = tuple(window for _, _, window in found[:MAX_QUOTES])
        return Verdict(sentence, True, tuple(window.quote for window in backing), "", backing)
    if nearest is None or nearest[0] <= 0:
        return Verdict(sentence, False, (), "words")
    return Verdict(sentence, False, (nearest[1].quote,), nearest[2], (nearest[1],))


def contradictions(
    verdict: Verdict, hits: Sequence[SearchHit], question: Question | None = None
) -> list[AnswerSentence]:
    """Return sentences of other files that say the same of another number, or with another name, than what backs a
    sentence: each quoted as it stands."""
    if not verdict.supported:
        return []
    backing = verdict.windows[0]
    frame = _Claim.of(verdict.sentence, question)
    quoted = [quote.chunk_id for quote in verdict.quotes]
    found = []
    for hit in hits:
        if hit.chunk.file_id == backing.hit.chunk.file_id or hit.chunk.chunk_id in quoted:
            continue
        differing = [window for window in windows_of(hit) if len(window.sentences) == 1 and frame.differs_from(window)]
        if differing:
            best = max(differing, key=frame.closeness)
            found.append(AnswerSentence(without_citation_marks(best.text), (best.quote,), supported=True))
    return found[:MAX_CONTRADICTIONS]


@dataclass(frozen=True)
class _Claim:
    """A sentence to be checked."""

    text: str
    words: tuple[Word, ...]
    """Without negations."""
    negations: tuple[Word, ...]
    given: frozenset[str]
    """Stems of the question."""
    written_small: frozenset[str]
    """Words that the question writes with a small first letter."""

    @staticmethod
    def of(sentence: str, question: Question | None) -> "_Claim":
        text = _FRAME.sub("", sentence)
        words = analyse(text)
        given = frozenset(word.stem for word in question.words) if question is not None else frozenset()
        return _Claim(
            text,
            tuple(word for word in words if not word.is_negation),
            tuple(word for word in words if word.is_negation),
            given,
            frozenset(word.text for word in question.words if word.text[0].islower())
            if question is not None
            else frozenset(),
        )

    def closeness(self, window: Window) -> float:
        """Return the part of the words that the window has; of two equal windows the shorter one is closer."""
        matched = sum(is_in(word, window.words) for word in self.words)
        return matched / len(self.words) - 0.001 * len(window.words) if matched else 0.0

    def problem(self, window: Window) -> Problem:
        """Return what keeps a window from backing the sentence; empty if nothing does."""
        if len(window.sentences) > 1 and not self._needs_both(window):
            return "words"
        if not self._numbers_agree(window):
            return "number"
        if not self._names_agree(window):
            return "name"
        if not self._words_agree(window):
            return "words"
        if not self._negations_agree(window):
            return "negation"
        if any(is_opposed(word, window) for word in self.words):
            return "opposite"
        if self._is_reversed(window):
            return "order"
        return ""

    def differs_from(self, window: Window) -> bool:
        """Return whether a sentence says the same as this one but for a number, or for one name."""
        numbers = [word for word in self.words if word.number is not None and not self._is_given(word)]
        names = [word for word in self.words if self._is_name(word, window) and not self._is_given(word)]
        rest = [word for word in self.words if word not in numbers and word not in names]
        if len(rest) < _MIN_FRAME_WORDS or sum(is_in(word, window.words) for word in rest) < MIN_FRAME_FOUND * len(
            rest
        ):
            return False
        if numbers:
            other = [word for word in window.words if word.number is not None and not self._is_given(word)]
            comparable = [word for word in other if any(_are_comparable(word, number) for number in numbers)]
            return bool(comparable) and not any(is_in(word, numbers) for word in comparable)
        others = [word for word in window.words if word.is_name and not is_in(word, self.words) and not word.is_first]
        return bool(names) and bool(others) and not any(is_in(word, window.words) for word in names)

    def _needs_both(self, window: Window) -> bool:
        """Return whether the second of two sentences has more than names of what the first one lacks. A pronoun means a
        name before it, not one behind it; and if the first has all words, it does not back them by itself."""
        first = window.sentences[0]
        lacking = [word for word in self.words if not is_in(word, first.words, first.text)]
        return any(not self._is_name(word, window) for word in lacking)

    def _is_given(self, word: Word) -> bool:
        return word.stem in self.given

    def _numbers_agree(self, window: Window) -> bool:
        for index, word in enumerate(self.words):
            if word.number is None:
                continue
            where = window.nearby_words if self._is_given(word) else window.words
            if not is_in(word, where):
                return False
            if any(test(index, self.words, window) for test in _NUMBER_TESTS):
                return False
        return True

    def _names_agree(self, window: Window) -> bool:
        names = [word for word in self.words if self._is_name(word, window)]
        if any(not self._is_full_name_near(*pair, window) for pair in pairwise(names)):
            return False
        missing = [word for word in names if not is_in(word, window.words, window.text)]
        if not missing:
            return not self._is_split(window, names)
        if any(not self._is_given(word) or word.stem not in window.earlier for word in missing):
            return False
        return all(not subject or any(is_in(word, subject) for word in names) for subject in window.subjects)

    def _is_name(self, word: Word, window: Window) -> bool:
        """Return whether a word is a name. At the start of a sentence every word has a capital letter; there it is a
        name unless the passage or the question also writes it small."""
        if not word.is_name or word.number is not None:
            return False
        small = fold(word.text)
        return (
            not word.is_first
            or word.stem not in LIGHT_WORDS
            and not re.search(rf"\b{re.escape(small)}\b", window.hit.chunk.text)
        )

    def _is_full_name_near(self, first: Word, second: Word, window: Window) -> bool:
        """Return whether two names that follow one another, such as those of "Bronx River", also do so in the passage,
        if they are there at all."""
        if (
            self.text[first.end : second.start].strip()
            or not is_in(first, window.words)
            or not is_in(second, window.words)
        ):
            return True
        names = [word for sentence in window.sentences for word in sentence.words]
        return any(
            is_in(first, (one,)) and is_in(second, (other,)) and other.position - one.position == 1
            for one, other in pairwise(names)
        )

    def _is_split(self, window: Window, names: Sequence[Word]) -> bool:
        """Return whether of two sentences the first has the names and the second is about somebody else."""
        if len(window.sentences) < 2 or not names:
            return False
        subject = window.subjects[1]
        return bool(subject) and not any(is_in(word, subject) for word in names)

    def _words_agree(self, window: Window) -> bool:
        ordinary = [word for word in self.words if word.number is None and not self._is_name(word, window)]
        new = [word for word in ordinary if not self._is_given(word) and word.stem not in LIGHT_WORDS]
        if not all(is_in(word, window.words) for word in new):
            return False
        given = [word for word in ordinary if self._is_given(word) and word.stem not in LIGHT_WORDS]
        missing = [word for word in given if not is_in(word, window.nearby_words) and word.stem not in window.earlier]
        if missing:
            return False
        found = sum(
            is_in(word, window.nearby_words if self._is_given(word) else window.words, window.text)
            or self._is_given(word)
            and word.stem in window.earlier
            and word.is_name
            for word in self.words
        )
        in_window = sum(is_in(word, window.words, window.text) for word in self.words)
        return found >= MIN_WORDS_FOUND * len(self.words) and in_window >= MIN_WORDS_IN_WINDOW * len(self.words)

    def _negations_agree(self, window: Window) -> bool:
        denied_here = _denied(self.text, (*self.words, *self.negations))
        denied_there = [word for sentence in window.sentences for word in _denied(sentence.text, sentence.words)]
        for word in denied_here:
            if is_in(word, window.words) and not is_in(word, denied_there):
                return False
        for word in denied_there:
            if is_in(word, self.words) and not is_in(word, denied_here):
                return False
        return True

    def _is_reversed(self, window: Window) -> bool:
        """Return whether the words go together in another way there."""
        return any(
            self._has_other_subject(verb, window) or self._has_subject_and_object_reversed(verb, window)
            for verb in self.words
            if not verb.is_name and verb.number is None
        ) or any(self._is_torn_apart(*pair, window) for pair in pairwise(self.words))

    def _has_other_subject(self, verb: Word, window: Window) -> bool:
        """Return whether a name stands right before a word here, and another one there."""
        before = [word for word in self.words if word.position < verb.position]
        if not before or not before[-1].is_name or verb.position - before[-1].position > _SUBJECT_DISTANCE:
            return False
        if _is_abbreviated(before[-1].text, window.text):
            return False
        others = []
        for sentence in window.sentences:
            for place, word in enumerate(sentence.words):
                if word.is_name or not same_meaning(verb.stem, word.stem):
                    continue
                previous = sentence.words[place - 1] if place else None
                is_subject = (
                    previous is not None
                    and previous.is_name
                    and word.position - previous.position <= _SUBJECT_DISTANCE
                    and "," not in sentence.text[previous.end : word.start]
                )
                antecedent = _RELATIVE.search(sentence.text[: word.start])
                if antecedent is not None and previous is not None and previous.text == antecedent[1]:
                    is_subject = True
                others.append(previous if is_subject else None)
        return bool(others) and all(other is not None and not is_in(other, self.words) for other in others)

    def _has_subject_and_object_reversed(self, verb: Word, window: Window) -> bool:
        """Return whether names are before and after a word here, and the other way round there: "A defeated B" and
        "B defeated A", but not "B was defeated by A"."""
        subject = _nearest_name([word for word in reversed(self.words) if word.position < verb.position])
        object_ = _nearest_name([word for word in self.words if word.position > verb.position])
        if subject is None or object_ is None:
            return False
        for sentence in window.sentences:
            for other in sentence.words:
                if other.is_name or not same_meaning(verb.stem, other.stem):
                    continue
                left = [word for word in sentence.words if word.position < other.position]
                right = [word for word in sentence.words if word.position > other.position]
                is_reversed = (
                    is_in(subject, right)
                    and is_in(object_, left)
                    and not is_in(subject, left)
                    and not is_in(object_, right)
                )
                same_voice = bool(_BY.search(self.text, verb.end)) == bool(_BY.search(sentence.text, other.end))
                if is_reversed and same_voice:
                    return True
        return False

    def _is_torn_apart(self, first: Word, second: Word, window: Window) -> bool:
        """Return whether two words that follow one another here stand there in the other order and in clauses with
        subjects of their own."""
        num_given = self._is_given(first) + self._is_given(second)
        if _CLAUSE_CHANGE.search(self.text, first.end, second.start) or num_given == 2:
            return False
        border = _SUBJECT_CHANGE if num_given else _CLAUSE_CHANGE
        places_of_first = [word.start for word in self._placed(window) if is_in(first, (word,))]
        places_of_second = [word.start for word in self._placed(window) if is_in(second, (word,))]
        if not places_of_first or not places_of_second:
            return False
        return all(
            there_second < there_first and bool(border.search(window.text, there_second, there_first))
            for there_first in places_of_first
            for there_second in places_of_second
        )

    @staticmethod
    def _placed(window: Window) -> list[Word]:
        """Return the words of a window, with places in its text."""
        first = window.sentences[0].start
        return [
            replace(word, start=word.start + sentence.start - first, end=word.end + sentence.start - first)
            for sentence in window.sentences
            for word in sentence.words
        ]


def _nearest_name(words: Iterable[Word]) -> Word | None:
    return next((word for word in words if word.is_name), None)


def is_opposed(word: Word, window: Window) -> bool:
    """Return whether a window lacks a word and has one that excludes it."""
    opposites = OPPOSITES.get(word.stem, frozenset())
    return bool(opposites) and not is_in(word, window.words) and any(other.stem in opposites for other in window.words)


def is_in(word: Word, words: Iterable[Word], text: str = "") -> bool:
    """Return whether a word is among others: the same number, name, stem, or a synonym. `text` is where the others
    stand, for the words of an abbreviation."""
    if word.number is not None:
        return _is_number_in(word.number, words)
    if word.is_name and text and _is_abbreviated(word.text, text):
        return True
    if word.is_name and not word.is_first:
        return any(word.stem == other.stem for other in words)
    return any(other.number is None and same_meaning(word.stem, other.stem) for other in words)


def _is_number_in(number: Number, words: Iterable[Word]) -> bool:
    """Return whether a number is among words, with its unit if it has one."""
    words = tuple(words)
    same = [word.number for word in words if word.number is not None and number.agrees_with(word.number)]
    if not number.unit or any(other.unit for other in same):
        return bool(same)
    return bool(same) and any(word.stem == stem(number.unit) for word in words)


def _is_abbreviated(name: str, text: str) -> bool:
    """Return whether an abbreviation's words stand in a text: "UN" for "United Nations"."""
    letters = name.replace(".", "")
    if not 2 <= len(letters) <= 6 or not letters.isupper():
        return False
    pattern = r"\W+(?:of\W+|the\W+|and\W+)*".join(rf"{letter}\w+" for letter in letters)
    return bool(re.search(rf"\b{pattern}", text))


def _subject_names(sentence: Sentence, text: str) -> tuple[Word, ...]:
    """Return the names with which a sentence of a text begins, after a phrase such as "In 1990,". Its first word is a
    name if the text never writes it small."""
    leading = _LEADING_PHRASE.match(sentence.text)
    start = leading.end() if leading else 0
    names: list[Word] = []
    position: int | None = None
    for word in sentence.words:
        if word.start < start:
            continue
        if not word.is_name or word.number is not None:
            break
        # "Released in 1990" begins with no name, and only "the" or "a" may come before one.
        if position is None and word.start - start > len(" The "):
            break
        if position is not None and word.position > position + 2:
            break
        names.append(word)
        position = word.position
    if len(names) == 1 and names[0].is_first and re.search(rf"\b{re.escape(names[0].text.lower())}\b", text):
        return ()
    return tuple(names)


def _denied(text: str, words: Iterable[Word]) -> list[Word]:
    """Return the words that a negation denies."""
    in_order = sorted(words, key=lambda word: word.start)
    denied: list[Word] = []
    for index, negation in enumerate(in_order):
        if not negation.is_negation or _NOT_DENIED.match(text, negation.end):
            continue
        following = [word for word in in_order[index + 1 :] if not word.is_negation]
        stop = _STRONG_BREAK.search(text, negation.end)
        for word in following[:_SCOPE_WORDS]:
            is_near = word.position - negation.position <= _NEGATION_DISTANCE
            if is_near and (stop is None or word.start < stop.start()):
                denied.append(word)
    return denied


def _counts_something_else(index: int, words: Sequence[Word], window: Window) -> bool:
    """Return whether what the number counts has another number there."""
    number = words[index]
    counted = _following(words, index, _COUNTED_DISTANCE)
    if counted is None or counted.number is not None or counted.is_name:
        return False
    others: list[Word] = []
    for sentence in window.sentences:
        for place, word in enumerate(sentence.words):
            if word.number is None and word.stem == counted.stem:
                before = [
                    other
                    for other in sentence.words[max(0, place - 2) : place]
                    if other.number is not None and word.position - other.position <= _COUNTED_DISTANCE
                ]
                others += before[-1:]
    return bool(others) and not any(is_in(number, (other,)) for other in others)


def _is_date_of_something_else(index: int, words: Sequence[Word], window: Window) -> bool:
    """Return whether the verb before a date has another date there."""
    number = words[index]
    if not _is_date(words, index) or index == 0:
        return False
    verbs = [word for word in words[:index] if word.number is None and not word.is_name and word.stem not in MONTHS]
    if not verbs or number.position - verbs[-1].position > _DATE_DISTANCE:
        return False
    verb = verbs[-1]
    dates: list[Word] = []
    for sentence in window.sentences:
        for place, word in enumerate(sentence.words):
            if word.number is None and same_meaning(verb.stem, word.stem):
                stop = _STRONG_BREAK.search(sentence.text, word.end)
                following = [
                    other
                    for position, other in enumerate(sentence.words[place + 1 :], place + 1)
                    if _is_date(sentence.words, position)
                    and other.position - word.position <= _DATE_DISTANCE
                    and (stop is None or other.start < stop.start())
                    and _is_day(sentence.words, position) == _is_day(words, index)
                ]
                dates += following[:1]
    return bool(dates) and not any(is_in(number, (date,)) for date in dates)


def _is_behind_another_number(index: int, words: Sequence[Word], window: Window) -> bool:
    """Return whether between a number and a word beside it there is a third number there, which is not here."""
    number = words[index]
    for neighbour in (*words[max(0, index - 1) : index], *words[index + 1 : index + 2]):
        if neighbour.number is not None or neighbour.stem in MONTHS:
            continue
        nearest: tuple[int, bool] | None = None
        for sentence in window.sentences:
            here = [place for place, word in enumerate(sentence.words) if is_in(number, (word,))]
            there = [place for place, word in enumerate(sentence.words) if is_in(neighbour, (word,))]
            for one in here:
                for other in there:
                    between = sentence.words[min(one, other) + 1 : max(one, other)]
                    is_foreign = any(
                        word.number is not None and not is_in(word, words) and not _is_date(between, place)
                        for place, word in enumerate(between)
                    )
                    if nearest is None or abs(one - other) < nearest[0]:
                        nearest = abs(one - other), is_foreign
        if nearest is not None and nearest[1] and not _is_date(words, index):
            return True
    return False


def _are_comparable(word: Word, other: Word) -> bool:
    """Return whether two numbers can be values of the same thing: the same unit, both years or neither."""
    if word.number is None or other.number is None or word.number.unit != other.number.unit:
        return False
    return (1000 <= word.number.value <= 2100) == (1000 <= other.number.value <= 2100)


def _is_date(words: Sequence[Word], index: int) -> bool:
    number = words[index].number
    if number is None or number.unit:
        return False
    return 1000 <= number.value <= 2100 or _is_day(words, index)


def _is_day(words: Sequence[Word], index: int) -> bool:
    """Return whether a number stands beside the name of a month."""
    number = words[index].number
    beside = [*words[max(0, index - 1) : index], *words[index + 1 : index + 2]]
    return number is not None and number.value <= 31 and any(word.stem in MONTHS for word in beside)


def _following(words: Sequence[Word], index: int, distance: int) -> Word | None:
    if index + 1 == len(words) or words[index + 1].position - words[index].position > distance:
        return None
    return words[index + 1]


_NUMBER_TESTS = (_counts_something_else, _is_date_of_something_else, _is_behind_another_number)
