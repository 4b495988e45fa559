"""The verdict on a sentence: do the passages say it, and in which words?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from deployments.answerer.check.attachment import belongs_to_another_word
from deployments.answerer.check.claim import Claim
from deployments.answerer.check.conditions import drops_condition
from deployments.answerer.check.evidence import Evidence, evidence_in
from deployments.answerer.check.lists import joins_items
from deployments.answerer.check.modality import is_fact_only_in_claim
from deployments.answerer.check.names import lacks_name
from deployments.answerer.check.negation import denies_otherwise
from deployments.answerer.check.numbers import lacks_number
from deployments.answerer.check.qualifiers import is_qualified_otherwise
from deployments.answerer.check.roles import reverses_roles
from deployments.answerer.check.subject import is_about_something_else
from deployments.answerer.check.wording import lacks_words, says_opposite, second_sentence_adds_only_names
from deployments.answerer.question import Question
from deployments.answerer.types import Quote
from deployments.library.types import SearchHit

Problem = Literal[
    "",
    "words",
    "number",
    "name",
    "negation",
    "qualifier",
    "no fact",
    "condition",
    "attachment",
    "list",
    "opposite",
    "roles",
    "subject",
]
"""What keeps evidence from backing a claim; empty if nothing does."""

MAX_QUOTES = 3

_TESTS: tuple[tuple[Problem, Callable[[Claim, Evidence], bool]], ...] = (
    ("words", second_sentence_adds_only_names),
    ("number", lacks_number),
    ("name", lacks_name),
    ("words", lacks_words),
    ("negation", denies_otherwise),
    ("qualifier", is_qualified_otherwise),
    ("no fact", is_fact_only_in_claim),
    ("condition", drops_condition),
    ("attachment", belongs_to_another_word),
    ("list", joins_items),
    ("opposite", says_opposite),
    ("roles", reverses_roles),
    ("subject", is_about_something_else),
)
"""In this order: a test may be wrong about evidence in which an earlier one finds a problem."""


@dataclass(frozen=True)
class Verdict:
    sentence: str
    problem: Problem
    """Of the nearest evidence, if nothing backs the sentence."""
    evidence: tuple[Evidence, ...]
    """What backs it: the best first, at most one in a chunk and MAX_QUOTES in all. For an unsupported sentence the
    nearest evidence, or none."""

    @property
    def supported(self) -> bool:
        return not self.problem

    @property
    def quotes(self) -> tuple[Quote, ...]:
        return tuple(evidence.quote for evidence in self.evidence)


@dataclass(frozen=True)
class _Candidate:
    evidence: Evidence
    closeness: float
    problem: Problem


def check(sentence: str, hits: Sequence[SearchHit], question: Question | None = None) -> Verdict:
    """Find what backs a sentence: one sentence of a hit, or two that follow one another where no single one does."""
    claim = Claim.of(sentence, question)
    if not claim.words:
        return Verdict(sentence, "words", ())
    if claim.contradicts_itself:
        return Verdict(sentence, "negation", ())
    backing: list[_Candidate] = []
    others: list[_Candidate] = []
    for hit in hits:
        for length in (1, 2):
            candidates = [_candidate(claim, evidence) for evidence in evidence_in(hit, length)]
            without_problem = [one for one in candidates if not one.problem]
            if without_problem:
                backing.append(max(without_problem, key=_closeness))
                break
            others += candidates
    if backing:
        backing.sort(key=_closeness, reverse=True)
        return Verdict(sentence, "", tuple(one.evidence for one in backing[:MAX_QUOTES]))
    nearest = max(others, key=_closeness, default=None)
    if nearest is None or nearest.closeness <= 0:
        return Verdict(sentence, "words", ())
    return Verdict(sentence, nearest.problem, (nearest.evidence,))


def _candidate(claim: Claim, evidence: Evidence) -> _Candidate:
    closeness = claim.closeness(evidence)
    if closeness <= 0:
        return _Candidate(evidence, closeness, "words")
    problem: Problem = next((problem for problem, finds_it in _TESTS if finds_it(claim, evidence)), "")
    return _Candidate(evidence, closeness, problem)


def _closeness(candidate: _Candidate) -> float:
    return candidate.closeness
