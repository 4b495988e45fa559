"""Lists: whether a claim joins words of different items, such as the name of one and the office of another."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from deployments.answerer.check.claim import Claim
from deployments.answerer.check.evidence import Evidence
from deployments.answerer.check.matching import is_in
from deployments.answerer.passages import Sentence
from deployments.answerer.words import Word, words_of

_CAPITAL = r"[^\W\d_a-zß-öø-ÿ]"
_NAME = rf"\b{_CAPITAL}[\w'’.-]*(?:\s+(?:(?:de|da|van|von|of)\s+)?{_CAPITAL}[\w'’.-]*)*"
_SMALL = r"\b[a-zß-öø-ÿ][\w'’-]*"
_DETERMINER = r"(?:the|an?|his|her|its|their)"
_OFFICE = rf"(?:{_DETERMINER}\s+)?{_SMALL}(?:\s+{_SMALL}){{0,4}}"
_ITEM_END = r"(?=\s*(?:[,;.)\n]|$)|\s+and\b)"

_ITEMS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?P<name>{_NAME})\s*\((?P<office>{_OFFICE})\)",
        rf"(?P<name>{_NAME})\s+as\s+(?P<office>{_OFFICE}?){_ITEM_END}",
        rf"(?P<name>{_NAME}),\s+(?P<office>{_DETERMINER}\s+{_SMALL}(?:\s+{_SMALL}){{0,4}}?){_ITEM_END}",
        rf"(?:^|(?<=[;,\n])\s*)(?P<office>\w+(?:\s+\w+){{0,3}})\s*:\s*(?P<name>{_NAME}){_ITEM_END}",
        rf"(?P<office>{_SMALL}(?:\s+{_SMALL})?)\s+(?P<name>{_NAME}){_ITEM_END}",
    )
)
"""Forms of an item of a list: "Anna Holt (chair)", "Anna Holt as chair", "Anna Holt, the chair", "chair: Anna Holt",
"chair Anna Holt"."""
_WITHOUT_VERB = re.compile(
    rf"(?:,\s*(?:and\s+|but\s+|while\s+)?|;\s*|\band\s+)(?P<name>{_NAME})\s+(?P<object>(?!the\s+(?:next|following|same|previous)\b){_DETERMINER}\s+{_SMALL}(?:\s+{_SMALL}){{0,3}}){_ITEM_END}"
)
"""An item whose verb stands in the first one only: "and Tom Baker the sales team"."""


@dataclass(frozen=True)
class _Item:
    name: frozenset[str]
    """Stems."""
    office: tuple[Word, ...]


def joins_items(claim: Claim, evidence: Evidence) -> bool:
    """Return whether the claim joins what stands in different items of a list of the evidence."""
    return any(_joins_name_and_office(claim, _items(form, evidence.text)) for form in _ITEMS) or any(
        _takes_object_of_other_item(claim, sentence, evidence) for sentence in evidence.sentences
    )


def _items(form: re.Pattern[str], text: str) -> list[_Item]:
    """Return the items of a form, with the words that only one of them has; none of fewer than two items."""
    found = []
    for match in form.finditer(text):
        names, offices = words_of(match["name"]), words_of(match["office"])
        # An office does not end with a preposition, as in "based in New York".
        if names and offices and offices[-1].end == len(match["office"]) and offices[-1].number is None:
            found.append(({word.stem for word in names}, offices))
    items = []
    for index, (own_name, own_office) in enumerate(found):
        others = found[:index] + found[index + 1 :]
        name = own_name.difference(*(other for other, _ in others))
        office = tuple(word for word in own_office if not any(is_in(word, other) for _, other in others))
        if name and office:
            items.append(_Item(frozenset(name), office))
    return items if len(items) > 1 else []


def _joins_name_and_office(claim: Claim, items: Sequence[_Item]) -> bool:
    """Return whether the claim has the name of one item and the office of another one, but not both of either."""
    stems = {word.stem for word in claim.words}
    has_name = [bool(item.name & stems) for item in items]
    has_office = [any(is_in(word, claim.words) for word in item.office) for item in items]
    only_name = any(name and not office for name, office in zip(has_name, has_office, strict=True))
    only_office = any(office and not name for name, office in zip(has_name, has_office, strict=True))
    return only_name and only_office


def _takes_object_of_other_item(claim: Claim, sentence: Sentence, evidence: Evidence) -> bool:
    """Return whether words of the claim stand only in an item without a verb, whose name the claim does not have: "Lena
    Krause leads the sales team" for "Lena Krause leads the design team and Tom Baker the sales team"."""
    for match in _WITHOUT_VERB.finditer(sentence.text):
        inside = [word for word in sentence.words if match.start("object") <= word.start < match.end("object")]
        names = [word for word in sentence.words if match.start("name") <= word.start < match.end("name")]
        elsewhere = [word for word in evidence.words if word not in inside]
        if any(is_in(name, claim.words) for name in names):
            continue
        if any(is_in(word, inside) and not is_in(word, elsewhere) for word in claim.words):
            return True
    return False
