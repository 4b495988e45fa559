"""Random questions about scenes, in many wordings, each with its correct answer."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

from recipes.moondream_mini.captions_and_answers import (
    UNKNOWN_ANSWER,
    Attribute,
    Subject,
    article,
    attribute_answer,
    check_answer,
    content_answer,
    count_answer,
    normal_caption,
    presence_answer,
)
from recipes.moondream_mini.wordings import (
    ATTRIBUTE_CHECKS,
    CARRIER_PHRASES,
    CLAUSES,
    CLOSINGS,
    COLOUR_SYNONYMS,
    FILLER_WORDS,
    FORM_SYNONYMS,
    HELD_OUT_THINGS,
    HELD_OUT_WORDINGS,
    OPENINGS,
    PLACE_WORDINGS,
    SIZE_SYNONYMS,
    SYLLABLES,
    THINGS,
    TRAINING_WORDINGS,
)
from recipes.moondream_mini.world import COLOURS, FORMS, PLACES, SIZES, Place, Scene, Shape

KINDS = ("describe", "colour", "form", "place", "size", "count", "presence", "content", "check", "unknown")
KIND_WEIGHTS = (8, 14, 14, 14, 7, 12, 18, 9, 11, 4)

_ATTRIBUTES: tuple[Attribute, ...] = ("form", "colour", "place", "size")

CLAUSE_PROBABILITY = 0.3
"""Probability of an indirect question, such as "Tell me where the circle is."."""
ATTRIBUTE_CHECK_PROBABILITY = 0.4
"""Probability that a check names its attribute: "Is the colour of the circle red?" instead of "Is the circle red?"."""
FILLER_WORDS_PROBABILITY = 0.3
PLACE_PROBABILITY = 0.3
"""Probability that a subject is identified by its place."""
SYNONYM_PROBABILITY = 0.15
INVENTED_THING_PROBABILITY = 0.5
"""Probability that a thing that is not a shape has an invented name."""
SHAPE_LIKE_PROBABILITY = 0.4
"""Probability that an invented name ends like the name of a shape."""
NEAR_MISS_PROBABILITY = 0.35
"""Probability that a subject differs from a shape in the scene by one attribute."""


@dataclass(frozen=True)
class Question:
    kind: str
    text: str
    answer: str


def random_question(scene: Scene, rng: random.Random, *, is_held_out: bool = False) -> Question:
    """Return a question about the scene. With `is_held_out`, its wording is one that training never uses."""
    [kind] = rng.choices(KINDS, KIND_WEIGHTS)
    if is_held_out:
        wording = rng.choice(HELD_OUT_WORDINGS[kind])
    elif rng.random() < CLAUSE_PROBABILITY:
        wording = rng.choice(CARRIER_PHRASES).format(rng.choice(CLAUSES[kind]))
    else:
        wording = rng.choice(TRAINING_WORDINGS[kind])
    subject = _random_subject(scene, rng, kind)
    fields = {
        "noun": _noun(subject, rng, plural=False),
        "nouns": _noun(subject, rng, plural=True),
        "where": rng.choice(PLACE_WORDINGS[subject.place]) if subject.place else "",
        "colour": subject.colour or "",
    }
    if "{colour}" in wording:
        subject = Subject(colour=subject.colour or rng.choice(COLOURS))
        fields["colour"] = str(subject.colour)
    elif kind == "form" and "{where}" in wording:
        subject = Subject(place=subject.place or _random_place(scene, rng))
        fields["where"] = rng.choice(PLACE_WORDINGS[_required_place(subject)])
    elif kind == "form" and subject.place:
        subject = Subject(colour=subject.colour or rng.choice(COLOURS), size=subject.size)
        fields["noun"] = _noun(subject, rng, plural=False)
    fields["a_noun"] = article(fields["noun"])
    if kind == "describe":
        answer = normal_caption(scene)
    elif kind == "count":
        answer = count_answer(scene, subject)
    elif kind == "presence":
        answer = presence_answer(scene, subject)
    elif kind == "content":
        answer = content_answer(scene, _required_place(subject))
    elif kind == "check":
        asked: Attribute = rng.choice([name for name in _ATTRIBUTES if _can_be_checked(subject, name)])
        if not is_held_out and rng.random() < ATTRIBUTE_CHECK_PROBABILITY:
            wording = rng.choice(ATTRIBUTE_CHECKS[asked])
        if asked == "form" and not subject.place:
            subject = Subject(colour=_random_claim(scene, Subject(), rng).colour)
            fields["noun"] = _noun(subject, rng, plural=False)
        claimed = _random_claim(scene, subject, rng)
        value = str(getattr(claimed, asked))
        wordings = {"form": (article(value),), "place": PLACE_WORDINGS[claimed.place]}
        fields["value"] = rng.choice(wordings.get(asked, (value,)))
        answer = check_answer(scene, subject, asked, value)
    elif kind == "unknown":
        fields["thing"] = rng.choice(HELD_OUT_THINGS) if is_held_out else _random_thing(rng)
        answer = UNKNOWN_ANSWER
    else:
        answer = attribute_answer(scene, subject, kind)  # type: ignore[arg-type]
    text = wording.format(**fields)
    return Question(kind, text if is_held_out else _with_informal_style(text, rng), answer)


def _random_subject(scene: Scene, rng: random.Random, kind: str) -> Subject:
    """Return a subject that fits the kind of question. About a third match no shape, often by a single attribute."""
    if kind == "content":
        return Subject(place=_random_place(scene, rng))
    shape = rng.choice(scene.shapes) if scene.shapes and rng.random() < 0.7 else _random_shape(rng)
    if kind == "describe" or (kind == "count" and rng.random() < 0.3):
        return Subject()
    asked = {"colour": "colour", "form": "form", "place": "place", "size": "size"}.get(kind)
    names = [name for name in ("form", "colour", "size") if name != asked]
    if kind == "form":
        return Subject(place=shape.place) if rng.random() < 0.5 else _subject(shape, rng, ["colour", "size"])
    if kind == "check":
        if rng.random() < PLACE_PROBABILITY:
            return Subject(place=shape.place)
        if rng.random() < PLACE_PROBABILITY:
            name = rng.choice(("place", "size", "colour"))
            return replace(Subject(form=shape.form), **{name: getattr(shape, name)})
        return Subject(form=shape.form)
    subject = _subject(shape, rng, names)
    if kind in ("colour", "size", "presence") and rng.random() < PLACE_PROBABILITY:
        names.append("place")
        subject = replace(subject, place=shape.place, form=subject.form if rng.random() < 0.5 else None)
    if rng.random() < NEAR_MISS_PROBABILITY and scene.shapes:
        other = _random_shape(rng)
        name = rng.choice([name for name in names if getattr(subject, name)])
        subject = replace(subject, **{name: getattr(other, name)})
    return subject


def _can_be_checked(subject: Subject, name: Attribute) -> bool:
    """Return whether a question can ask about this attribute: the subject must not name it already.

    A subject of a form only can still be asked for its form, because the caller then names it by a colour instead.
    """
    return getattr(subject, name) is None or (name == "form" and subject == Subject(form=subject.form))


def _subject(shape: Shape, rng: random.Random, names: list[str]) -> Subject:
    """Return a subject with a random selection of these attributes of the shape: most often its form."""
    chosen = [name for name in names if rng.random() < {"form": 0.9, "colour": 0.5, "size": 0.2}[name]] or names[:1]
    return Subject(**{name: getattr(shape, name) for name in chosen})


def _random_shape(rng: random.Random) -> Shape:
    return Shape(rng.choice(FORMS), rng.choice(COLOURS), rng.choice(SIZES), rng.choice(PLACES))


def _random_place(scene: Scene, rng: random.Random) -> Place:
    return rng.choice(scene.shapes).place if scene.shapes and rng.random() < 0.7 else rng.choice(PLACES)


def _required_place(subject: Subject) -> Place:
    assert subject.place
    return subject.place


def _random_thing(rng: random.Random) -> str:
    if rng.random() < INVENTED_THING_PROBABILITY:
        word = "".join(rng.choices(SYLLABLES, k=rng.randint(1, 3)))
        # "Guitar" ends like "star": the model must not go by the end of a word.
        return article(word + rng.choice(FORMS)[rng.randint(1, 2) :] if rng.random() < SHAPE_LIKE_PROBABILITY else word)
    return rng.choice(THINGS)


def _random_claim(scene: Scene, subject: Subject, rng: random.Random) -> Shape:
    """Return a shape whose attribute a question claims for the subject; about half of the claims are true."""
    shapes = subject.select_from(scene)
    return rng.choice(shapes) if shapes and rng.random() < 0.5 else _random_shape(rng)


def _noun(subject: Subject, rng: random.Random, *, plural: bool) -> str:
    def synonym(word: str | None, others: Mapping[str, tuple[str, ...]]) -> str | None:
        choices = others.get(word or "", ())
        return rng.choice(choices) if choices and rng.random() < SYNONYM_PROBABILITY else word

    noun = subject.noun(
        plural,
        form=synonym(subject.form or "shape", FORM_SYNONYMS),
        size=synonym(subject.size, SIZE_SYNONYMS),
        colour=synonym(subject.colour, COLOUR_SYNONYMS),
    )
    return f"{noun} {rng.choice(PLACE_WORDINGS[subject.place])}" if subject.place else noun


def _with_informal_style(text: str, rng: random.Random) -> str:
    """Return the question as people type it: with filler words, and careless case and punctuation."""
    if rng.random() < FILLER_WORDS_PROBABILITY:
        words = text.split()
        for _ in range(rng.randint(1, 3)):
            words.insert(rng.choice((0, 0, 1, len(words))), rng.choice(FILLER_WORDS))
        text = " ".join(words)
    if rng.random() < 0.15:
        text = f"{rng.choice(OPENINGS)} {text[0].lower()}{text[1:]}"
    if rng.random() < 0.15:
        text = f"{text.rstrip('?.')} {rng.choice(CLOSINGS)}{'?' if text.endswith('?') else ''}"
    if rng.random() < 0.15:
        text = text.rstrip("?.")
    return text.lower() if rng.random() < 0.15 else text[0].upper() + text[1:]
