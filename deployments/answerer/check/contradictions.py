"""Sentences of other files that contradict a backed one, so that both can be shown."""

from collections.abc import Sequence

from deployments.answerer.check.claim import Claim
from deployments.answerer.check.evidence import Evidence, evidence_in
from deployments.answerer.check.matching import is_in
from deployments.answerer.check.numbers import are_comparable
from deployments.answerer.check.verdict import Verdict
from deployments.answerer.orders import without_citation_marks
from deployments.answerer.question import Question
from deployments.answerer.types import AnswerSentence
from deployments.library.types import SearchHit

MAX_CONTRADICTIONS = 2
MIN_COMMON_WORDS = 0.8
"""Part of the words of a sentence, but for new numbers and names, that a contradicting one must have."""
_MIN_WORDS = 2
"""With fewer words besides new numbers and names, a sentence cannot be compared."""


def contradictions(
    verdict: Verdict, hits: Sequence[SearchHit], question: Question | None = None
) -> list[AnswerSentence]:
    """Return sentences of other files that say the same as a backed one of another number, or with another name: each
    quoted as it stands."""
    if not verdict.supported:
        return []
    claim = Claim.of(verdict.sentence, question)
    quoted_file = verdict.evidence[0].hit.chunk.file_id
    quoted_chunks = [quote.chunk_id for quote in verdict.quotes]
    found = []
    for hit in hits:
        if hit.chunk.file_id == quoted_file or hit.chunk.chunk_id in quoted_chunks:
            continue
        differing = [evidence for evidence in evidence_in(hit, 1) if _differ_in_one_thing(claim, evidence)]
        if differing:
            nearest = max(differing, key=claim.closeness)
            found.append(AnswerSentence(without_citation_marks(nearest.text), (nearest.quote,), supported=True))
    return found[:MAX_CONTRADICTIONS]


def _differ_in_one_thing(claim: Claim, evidence: Evidence) -> bool:
    """Return whether evidence says the same as the claim but for new numbers, or else for new names."""
    numbers = [word for word in claim.words if word.number is not None and not claim.is_given(word)]
    names = [word for word in claim.names(evidence) if not claim.is_given(word)]
    rest = [word for word in claim.words if word not in numbers and word not in names]
    num_common = sum(is_in(word, evidence.words) for word in rest)
    if len(rest) < _MIN_WORDS or num_common < MIN_COMMON_WORDS * len(rest):
        return False
    if numbers:
        others = [word for word in evidence.words if word.number is not None and not claim.is_given(word)]
        comparable = [word for word in others if any(are_comparable(word, number) for number in numbers)]
        return bool(comparable) and not any(is_in(word, numbers) for word in comparable)
    other_names = [
        word for word in evidence.words if word.is_name and not word.is_first and not is_in(word, claim.words)
    ]
    return bool(names) and bool(other_names) and not any(is_in(word, evidence.words) for word in names)
