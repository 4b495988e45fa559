"""Names: whether evidence is about everybody and everything that a claim names."""

from collections.abc import Sequence
from itertools import pairwise

from deployments.answerer.check.claim import Claim
from deployments.answerer.check.evidence import Evidence
from deployments.answerer.check.matching import is_in
from deployments.answerer.words import Word

_FULL_NAME_DISTANCE = 2
"""In words: a name may have another one in the middle."""


def lacks_name(claim: Claim, evidence: Evidence) -> bool:
    """Return whether evidence lacks a name of the claim, or is about another one.

    A name that the question has may stand before the evidence, unless a sentence of the evidence begins with another
    name.
    """
    names = claim.names(evidence)
    if any(_is_full_name_missing(claim, *pair, evidence) for pair in pairwise(names)):
        return True
    if any(_count(name, names) > max(1, _count(name, evidence.nearby_words)) for name in names):
        return True  # "Anna criticized Anna"
    missing = [name for name in names if not is_in(name, evidence.words, evidence.text)]
    if not missing:
        return _is_second_sentence_about_another(names, evidence)
    if any(not claim.is_given(name) or name.stem not in evidence.earlier_stems for name in missing):
        return True
    return any(subject and not _have_common_name(names, subject) for subject in evidence.subject_names)


def _is_full_name_missing(claim: Claim, first: Word, second: Word, evidence: Evidence) -> bool:
    """Return whether two names that are one name in the claim, such as "Bronx River", are both in the evidence, but
    nowhere one behind the other; or whether the evidence has one of them, and what is before it has them nowhere
    together: "Orr" and "Lawrence Toppman" do not make a "Lawrence Orr"."""
    if claim.text[first.end : second.start].strip():
        return False
    num_found = is_in(first, evidence.words) + is_in(second, evidence.words)
    if num_found == 2:
        return not any(_are_together(first, second, sentence.words, 1) for sentence in evidence.sentences)
    return num_found == 1 and not (
        {first.stem, second.stem} <= evidence.title_stems
        or any(
            _are_together(first, second, sentence.words, _FULL_NAME_DISTANCE)
            for sentence in (*evidence.before, *evidence.sentences)
        )
    )


def _are_together(first: Word, second: Word, words: Sequence[Word], distance: int) -> bool:
    """Return whether the second of two names is somewhere at most so many words behind the first."""
    starts = [word.position for word in words if is_in(first, (word,))]
    return any(0 < word.position - start <= distance for word in words if is_in(second, (word,)) for start in starts)


def _is_second_sentence_about_another(names: Sequence[Word], evidence: Evidence) -> bool:
    """Return whether the second of two sentences begins with a name that is not among `names`."""
    if len(evidence.sentences) < 2 or not names:
        return False
    subject = evidence.subject_names[1]
    return bool(subject) and not _have_common_name(names, subject)


def _have_common_name(names: Sequence[Word], others: Sequence[Word]) -> bool:
    return any(is_in(name, others) for name in names)


def _count(word: Word, words: Sequence[Word]) -> int:
    return sum(word.stem == other.stem for other in words)
