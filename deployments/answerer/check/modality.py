"""What is no fact: whether evidence says to be possible, tried, wanted or ended what a claim says as a fact."""

import re
from collections.abc import Iterator

from deployments.answerer.check.claim import Claim
from deployments.answerer.check.evidence import Evidence
from deployments.answerer.check.matching import is_in
from deployments.answerer.passages import Sentence
from deployments.answerer.synonyms import same_meaning
from deployments.answerer.words import Word, stem

_NOT_A_FACT = (
    r"(?-i:may)|might|could|can|should|must|allegedly|reportedly|almost|nearly|stop(?:s|ped)?|ceas(?:e|es|ed)|quits?|"
    r"(?:tr(?:y|ies|ied)|attempt(?:s|ed)?|want(?:s|ed)?|plan(?:s|ned)?|intend(?:s|ed)?|hop(?:e|es|ed)|threaten(?:s|ed)?|"
    r"promis(?:e|es|ed)|expected|supposed|used|ought|needs?)\s+to"
)
"""In English. "May" with a capital letter is the month."""
_BEFORE_VERB = re.compile(rf"\b(?:{_NOT_A_FACT})\s+(?:also\s+|be\s+|have\s+|been\s+|not\s+|well\s+)*$", re.I)
_ANYWHERE = re.compile(
    rf"\b(?:{_NOT_A_FACT}|possibl[ey]|perhaps|potential(?:ly)?|maybe|(?:un)?likely|able|capable|option(?:al)?)\b", re.I
)
_NOUN_ENDING = r"(?:ion|ment|al|ure)"
_NOUN_OF_VERB = re.compile(rf"{_NOUN_ENDING}$", re.I)
"""Such as "resignation" and "removal"."""
_WISHES = tuple(
    re.compile(pattern, re.I)
    for pattern in (
        r"\b(?P<verb>(?:recommend|propos|suggest|demand|request|urg|advis|insist|order|requir|ask|instruct|command)\w*)\s+"
        r"(?:\w+\s+){0,3}?that\s[^.;]*?\b(?:be|should|must)\s+(?=\w)",
        r"\b(?P<verb>(?:recommend|propos|suggest|advis|consider)\w*)\s+(?=\w+ing\b)",
        r"\b(?P<verb>(?:recommend|propos|suggest|demand|request)\w*|call(?:s|ed)\s+for)\s+"
        rf"(?:the|an?|his|her|its|their)\s+(?=\w+{_NOUN_ENDING}\b)",
        r"\b(?P<verb>(?:urg|ask|order|advis|instruct|command|request|invit|encourag|requir|propos|recommend)(?:es|ed|s)"
        r"|begs|begged|call(?:s|ed)\s+(?:up)?on)(?:\s+\w+){0,6}?\s+to\s+(?=\w)",
    )
)
"""A verb of wanting, up to the word for what is wanted: "recommended that the bridge be" (closed), "recommended"
(closing), "demanded the" (resignation), "asked the director to" (resign)."""


def is_fact_only_in_claim(claim: Claim, evidence: Evidence) -> bool:
    """Return whether the claim says as a fact what evidence says to be possible, tried, wanted or ended ("may reduce",
    "recommended that the bridge be closed")."""
    if _ANYWHERE.search(claim.text):
        return False
    return _is_never_a_fact(claim, evidence) or any(
        _is_only_wanted(claim, sentence, evidence) for sentence in evidence.sentences
    )


def _is_never_a_fact(claim: Claim, evidence: Evidence) -> bool:
    """Return whether "may" or the like stands before a word of the claim wherever evidence has it."""
    for word in claim.words:
        if word.is_name or word.number is not None:
            continue
        found = [
            _BEFORE_VERB.search(sentence.text[: other.start])
            for sentence in evidence.sentences
            for other in sentence.words
            if same_meaning(word.stem, other.stem)
        ]
        if found and all(found):
            return True
    return False


def _is_only_wanted(claim: Claim, sentence: Sentence, evidence: Evidence) -> bool:
    """Return whether a sentence has a verb of the claim only as what somebody wants, and the claim and the question
    have no word for wanting."""
    for wanting, wanted in _wishes(sentence):
        if wanting in claim.question_stems or any(same_meaning(word.stem, wanting) for word in claim.words):
            continue
        elsewhere = [word for word in evidence.words if word != wanted]
        for word in claim.words:
            is_verb = not word.is_name and word.number is None and not _is_same_noun(word, wanted)
            if is_verb and is_in(word, (wanted,)) and not is_in(word, elsewhere):
                return True
    return False


def _is_same_noun(word: Word, wanted: Word) -> bool:
    """Return whether both are "resignation", which does not say that somebody resigned."""
    return word.text.lower() == wanted.text.lower() and bool(_NOUN_OF_VERB.search(word.text))


def _wishes(sentence: Sentence) -> Iterator[tuple[str, Word]]:
    """Yield the stem of each verb of wanting in a sentence, and the word for what is wanted."""
    for form in _WISHES:
        for match in form.finditer(sentence.text):
            wanted = next((word for word in sentence.words if word.start >= match.end()), None)
            if wanted is not None:
                yield stem(match["verb"].split()[0]), wanted
