"""Captions of a scene, and the correct answers to questions about it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from recipes.moondream_mini.world import Colour, Form, Place, Scene, Shape, Size

NUMBERS = ("no", "one", "two", "three", "four")
NOTHING = "There is nothing in the picture."

Attribute = Literal["form", "colour", "size", "place"]


@dataclass(frozen=True)
class Subject:
    """The shapes that a question is about: those with all the given attributes. Without attributes, all shapes."""

    form: Form | None = None
    colour: Colour | None = None
    size: Size | None = None
    place: Place | None = None

    def matches(self, shape: Shape) -> bool:
        return all(value in (None, getattr(shape, name)) for name, value in vars(self).items())

    def select_from(self, scene: Scene) -> list[Shape]:
        return [shape for shape in scene.shapes if self.matches(shape)]

    def noun(
        self, plural: bool = False, form: str | None = None, size: str | None = None, colour: str | None = None
    ) -> str:
        """Return "small red circle" or "red shapes", without the place. The arguments replace words by synonyms."""
        form, size, colour = form or self.form or "shape", size or self.size, colour or self.colour
        words = [word for word in (size, colour, _plural(form) if plural else form) if word]
        return " ".join(words)


def place_phrase(place: Place) -> str:
    """Return "on the left", "in the middle", "at the top right"."""
    if place == "middle":
        return "in the middle"
    return f"on the {place}" if place in ("left", "right") else f"at the {place}"


def article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def enumeration(parts: Sequence[str]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def short_caption(scene: Scene) -> str:
    """Return "A large red circle and a small blue square."."""
    if not scene.shapes:
        return NOTHING
    return sentence(enumeration([article(f"{shape.size} {shape.colour} {shape.form}") for shape in scene.shapes]))


def normal_caption(scene: Scene) -> str:
    """Return "A large red circle on the left and a small blue square at the top."."""
    return sentence(_shapes_in_places(scene.shapes)) if scene.shapes else NOTHING


def long_caption(scene: Scene) -> str:
    """Return "There are two shapes: a large red circle on the left and a small blue square at the top."."""
    if not scene.shapes:
        return NOTHING
    return f"There {_count_phrase(len(scene.shapes), Subject())}: {_shapes_in_places(scene.shapes)}."


def summary(captions: Sequence[str]) -> str:
    """Return "The video shows: 1. A large red circle. 2. A small blue square." for captions in chronological order.

    The numbers make it possible to learn to copy many similar sentences: without them, the model loses its place in the
    list.
    """
    return " ".join(["The video shows:", *(f"{number}. {caption}" for number, caption in enumerate(captions, start=1))])


def attribute_answer(scene: Scene, subject: Subject, asked: Attribute) -> str:
    """Return "The circle is red.", "The circles are on the left and at the top." or "There is no circle."."""
    shapes = subject.select_from(scene)
    if not shapes:
        return _absence_sentence(subject)
    if asked == "form":
        return sentence(enumeration([article(shape.form) for shape in shapes]))
    values = [place_phrase(shape.place) if asked == "place" else str(getattr(shape, asked)) for shape in shapes]
    if asked != "place" and len(set(values)) == 1:
        values = values[:1]
    plural = len(shapes) > 1
    return f"The {_subject_phrase(subject, plural)} {'are' if plural else 'is'} {enumeration(values)}."


def count_answer(scene: Scene, subject: Subject) -> str:
    """Return "There are two red shapes."."""
    return f"There {_count_phrase(len(subject.select_from(scene)), subject)}."


def presence_answer(scene: Scene, subject: Subject) -> str:
    """Return "Yes, a large red circle on the left." or "No, there is no red circle."."""
    shapes = subject.select_from(scene)
    return f"Yes, {_shapes_in_places(shapes)}." if shapes else f"No, {_lower_first(_absence_sentence(subject))}"


def content_answer(scene: Scene, place: Place) -> str:
    """Return "A large red circle." or "There is nothing on the left."."""
    shapes = Subject(place=place).select_from(scene)
    if not shapes:
        return f"There is nothing {place_phrase(place)}."
    return sentence(article(f"{shapes[0].size} {shapes[0].colour} {shapes[0].form}"))


def check_answer(scene: Scene, subject: Subject, asked: Attribute, value: str) -> str:
    """Return the answer to "Is the circle red?": "Yes, the circle is red." or "No, the circle is blue."."""
    shapes = subject.select_from(scene)
    answer = _lower_first(attribute_answer(scene, subject, asked))
    is_true = bool(shapes) and all(getattr(shape, asked) == value for shape in shapes)
    return f"{'Yes' if is_true else 'No'}, {answer}"


UNKNOWN_ANSWER = "No, I can see only shapes."
"""To a question about something that is not a shape, such as "Is there a dog?"."""


def _shapes_in_places(shapes: Iterable[Shape]) -> str:
    return enumeration(
        [f"{article(f'{shape.size} {shape.colour} {shape.form}')} {place_phrase(shape.place)}" for shape in shapes]
    )


def _subject_phrase(subject: Subject, plural: bool) -> str:
    place = f" {place_phrase(subject.place)}" if subject.place else ""
    return subject.noun(plural) + place


def _absence_sentence(subject: Subject) -> str:
    return f"There is no {_subject_phrase(subject, plural=False)}."


def _count_phrase(count: int, subject: Subject) -> str:
    return f"{'is' if count == 1 else 'are'} {NUMBERS[count]} {_subject_phrase(subject, plural=count != 1)}"


def _plural(noun: str) -> str:
    return f"{noun}es" if noun == "cross" else f"{noun}s"


def _lower_first(text: str) -> str:
    return text[0].lower() + text[1:]
