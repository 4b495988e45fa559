"""Questions about scenes in many wordings, each with its true answer; some wordings are kept for the examination."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

from recipes.moondream_mini.language import (
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
from recipes.moondream_mini.world import COLOURS, FORMS, PLACES, SIZES, Place, Scene, Shape

KINDS = ("describe", "colour", "form", "place", "size", "count", "presence", "content", "check", "unknown")
KIND_WEIGHTS = (8, 14, 14, 14, 7, 12, 16, 9, 9, 2)

TRAINING: dict[str, tuple[str, ...]] = {
    "describe": (
        "Describe this image",
        "Describe this image.",
        "What's in this image?",
        "What is in this image?",
        "What is in the picture?",
        "What's in the picture?",
        "What do you see?",
        "What can you see here?",
        "What is this?",
        "What does the image show?",
        "What is shown in this photo?",
        "Describe the scene",
        "Describe what you see in detail.",
        "Describe this picture in detail",
        "Tell me what is in the image.",
        "Caption this image.",
        "Give me a description of the picture.",
        "List everything in this image.",
        "What is happening in this frame?",
        "Describe this frame.",
        "Explain this image",
        "Write a caption",
        "Which shapes are there?",
        "What shapes do you see?",
        "What objects are in the image?",
        "Name all the shapes.",
    ),
    "colour": (
        "What colour is the {noun}?",
        "What color is the {noun}?",
        "Which colour is the {noun}?",
        "Which color does the {noun} have?",
        "What is the colour of the {noun}?",
        "What's the color of the {noun}?",
        "Tell me the colour of the {noun}.",
        "The {noun} has what color?",
        "What colour does the {noun} have?",
        "Name the color of the {noun}",
        "colour of the {noun}",
        "{noun} color?",
        "What colour are the {nouns}?",
        "What color are the {nouns}?",
        "Which colours do the {nouns} have?",
        "How is the {noun} coloured?",
    ),
    "form": (
        "What shape is the {noun}?",
        "What shape is {where}?",
        "Which shape is {where}?",
        "What form does the {noun} have?",
        "Which form is the {noun}?",
        "What is the shape {where}?",
        "Tell me what shape is {where}.",
        "What kind of shape is the {noun}?",
        "What kind of shape is {where}?",
        "What type of shape is the {noun}?",
        "Name the shape {where}.",
        "What is the {noun}?",
        "Which shape is {colour}?",
        "What shape is {colour}?",
        "Is the {noun} a circle, a square or something else?",
    ),
    "place": (
        "Where is the {noun}?",
        "Where's the {noun}?",
        "Where is the {noun} in the picture?",
        "Where are the {nouns}?",
        "In which place is the {noun}?",
        "Tell me where the {noun} is.",
        "Where can I find the {noun}?",
        "What is the position of the {noun}?",
        "In what part of the image is the {noun}?",
        "Where do you see the {noun}?",
        "position of the {noun}",
        "Locate the {noun}.",
        "Find the {noun}",
    ),
    "size": (
        "How big is the {noun}?",
        "How large is the {noun}?",
        "What size is the {noun}?",
        "What is the size of the {noun}?",
        "Is the {noun} large or small?",
        "Is the {noun} big or small?",
        "Tell me the size of the {noun}.",
        "Which size does the {noun} have?",
        "How large are the {nouns}?",
    ),
    "count": (
        "How many {nouns} are there?",
        "How many {nouns} do you see?",
        "How many {nouns} are in the picture?",
        "How many {nouns}?",
        "What is the number of {nouns}?",
        "Count the {nouns}.",
        "Tell me how many {nouns} there are.",
        "How many {nouns} can you see in this image?",
        "number of {nouns}",
        "How many {nouns} does the image show?",
    ),
    "presence": (
        "Is there {a_noun}?",
        "Is there {a_noun} in the picture?",
        "Is there {a_noun} in this image?",
        "Are there any {nouns}?",
        "Are there {nouns} in the image?",
        "Do you see {a_noun}?",
        "Can you see any {nouns}?",
        "Does the picture show {a_noun}?",
        "Does the image contain {a_noun}?",
        "Does this picture have {a_noun}?",
        "Can {a_noun} be seen?",
        "Is {a_noun} in the image?",
        "Is {a_noun} visible?",
        "Is there any {noun}?",
        "Do you see a {noun} here?",
    ),
    "content": (
        "What is {where}?",
        "What's {where}?",
        "What do you see {where}?",
        "What can be seen {where}?",
        "Is there anything {where}?",
        "Which object is {where}?",
        "What is there {where} of the picture?",
        "Describe what is {where}.",
        "Tell me what is {where}.",
        "What stands {where}?",
    ),
    "check": ("Is the {noun} {value}?", "Is it true that the {noun} is {value}?", "The {noun} is {value}, right?"),
    "unknown": (
        "Is there {thing}?",
        "Do you see {thing}?",
        "Is there {thing} in the picture?",
        "Can you see {thing}?",
        "Does the image contain {thing}?",
        "Is {thing} visible?",
        "Does this picture show {thing}?",
    ),
}
CLAUSES: dict[str, tuple[str, ...]] = {
    "describe": ("what you see", "what is in the image", "what the picture shows", "what is drawn here"),
    "colour": (
        "what colour the {noun} is",
        "which color the {noun} has",
        "what the color of the {noun} is",
        "the colour of the {noun}",
        "how the {noun} is coloured",
    ),
    "form": (
        "what shape the {noun} is",
        "which shape the {noun} has",
        "what shape there is {where}",
        "what kind of shape is {where}",
        "the shape of the {noun}",
    ),
    "place": ("where the {noun} is", "where you see the {noun}", "where to find the {noun}", "the place of the {noun}"),
    "size": ("how big the {noun} is", "what size the {noun} has", "if the {noun} is large or small"),
    "count": ("how many {nouns} there are", "how many {nouns} you see", "the number of {nouns}"),
    "presence": (
        "whether there is {a_noun}",
        "if there is {a_noun} here",
        "if you see any {nouns}",
        "whether {a_noun} is in the picture",
        "if {a_noun} can be seen",
    ),
    "content": ("what is {where}", "what there is {where}", "what can be seen {where}", "which object is {where}"),
    "check": ("whether the {noun} is {value}", "if it is right that the {noun} is {value}"),
    "unknown": ("whether there is {thing}", "if you see {thing}", "if {thing} can be seen"),
}
FRAMES = (
    "Tell me {}.",
    "Do you know {}?",
    "I would like to know {}.",
    "Could you say {}?",
    "Let me know {}.",
    "Say {}",
    "My question is {}.",
    "Look at the image and find out {}.",
    "I need to know {}",
    "Now tell us {}, please.",
)
"""Around a clause, a question asked in another way."""
CLAUSE_SHARE = 0.25

HELD_OUT: dict[str, tuple[str, ...]] = {
    "describe": (
        "What is there to see in this picture?",
        "Please tell me what this image shows.",
        "Can you describe the image for me?",
        "What does this picture contain?",
        "Give a detailed description.",
        "What am I looking at?",
    ),
    "colour": (
        "Please say which colour the {noun} is.",
        "Can you tell me what color the {noun} is?",
        "I wonder what colour the {noun} has.",
        "What might be the color of the {noun} here?",
        "In which colour is the {noun} drawn?",
    ),
    "form": (
        "Can you name the shape that is {where}?",
        "Please tell me which shape you see {where}.",
        "What sort of shape is the {noun}?",
        "The {noun}, what shape is it?",
    ),
    "place": (
        "Whereabouts is the {noun}?",
        "Please tell me where I can see the {noun}.",
        "Can you show me where the {noun} is?",
        "Where exactly is the {noun} placed?",
    ),
    "size": (
        "Would you say the {noun} is large or small?",
        "Please give me the size of the {noun}.",
        "Just how big is the {noun}?",
    ),
    "count": (
        "Can you count the {nouns} for me?",
        "Please say how many {nouns} you can find.",
        "I want to know how many {nouns} are shown.",
        "What number of {nouns} does it have?",
    ),
    "presence": (
        "Can you find {a_noun} anywhere?",
        "Please check if there is {a_noun}.",
        "Would you see {a_noun} in this drawing?",
        "Is {a_noun} part of the picture?",
        "Have you seen any {nouns} in it?",
    ),
    "content": (
        "Can you tell me what you see {where}?",
        "Please say what is shown {where}.",
        "What has been drawn {where}?",
        "Look {where}: what is it?",
    ),
    "check": ("Would you say that the {noun} is {value}?", "Am I right that the {noun} is {value}?"),
    "unknown": ("Can you find {thing} anywhere?", "Please check if there is {thing}."),
}
"""Never trained on; the words around the subject are put together in ways that training has not."""

THINGS = """a dog,a person,a house,a car,a tree,a bird,people,a man,a woman,a child,a boat,water,a flower,text,
a table,a chair,a cup,a bottle,a phone,a computer,a book,a face,a hand,a building,a road,the sun,the moon,a cloud,
snow,grass,food,fruit,an apple,bread,animals,a horse,a cow,a sheep,a bus,a train,a plane,a bicycle,a door,a window,
a clock,a lamp,a bed,a hat,shoes,a shirt,a number,a letter,a word,an arrow,a heart,a line,a dragon,furniture""".replace(
    "\n", ""
).split(",")
HELD_OUT_THINGS = "a cat,a truck,an elephant,a river,a mountain,a guitar,a laptop,a pizza,a bridge,a fish".split(",")

OPENINGS = (
    "Please",
    "Look at the picture.",
    "Hello,",
    "Tell me,",
    "I have a question:",
    "Can you tell me",
    "Now",
    "So",
    "Do you know",
)
CLOSINGS = ("please", "in this picture", "in the image", "here", "thank you", "in the scene", "exactly")
NOISE_WORDS = """a about all also and any as at be been by can could did do does drawn every exactly find first for
from give good has have help here i if in it just know let like look make me might more much must my
need next now of okay only or other out over part please quite really right said say see seem should
show simple so some sort such sure take than that the them then there these they think this time to
try us use very want was way we well were which who will with wonder would you your image picture
photo drawing scene""".split()
NOISY_SHARE = 0.3
PLACED_SHARE = 0.3
"""How often a shape is told from others by its place."""

FORM_SYNONYMS = {
    "circle": ("disc",),
    "cross": ("plus sign",),
    "shape": ("object", "figure", "thing"),
    "star": (),
    "square": (),
    "triangle": (),
}
SIZE_SYNONYMS = {"large": ("big",), "small": ("little", "tiny")}
COLOUR_SYNONYMS = {"purple": ("violet",)}
SYNONYM_SHARE = 0.15
PLACE_WORDINGS: dict[Place, tuple[str, ...]] = {
    "top left": ("at the top left", "in the top left corner", "in the upper left corner", "at the upper left"),
    "top": ("at the top", "at the top of the picture"),
    "top right": ("at the top right", "in the top right corner", "in the upper right corner", "at the upper right"),
    "left": ("on the left", "on the left side", "at the left"),
    "middle": ("in the middle", "in the centre", "in the center", "in the middle of the picture"),
    "right": ("on the right", "on the right side", "at the right"),
    "bottom left": ("at the bottom left", "in the bottom left corner", "in the lower left corner", "at the lower left"),
    "bottom": ("at the bottom", "at the bottom of the picture"),
    "bottom right": (
        "at the bottom right",
        "in the bottom right corner",
        "in the lower right corner",
        "at the lower right",
    ),
}


@dataclass(frozen=True)
class Question:
    kind: str
    text: str
    answer: str


def random_question(scene: Scene, rng: random.Random, *, is_held_out: bool = False) -> Question:
    """Return a question about the scene; a held-out one has a wording that training has never seen."""
    [kind] = rng.choices(KINDS, KIND_WEIGHTS)
    if is_held_out:
        wording = rng.choice(HELD_OUT[kind])
    elif rng.random() < CLAUSE_SHARE:
        wording = rng.choice(FRAMES).format(rng.choice(CLAUSES[kind]))
    else:
        wording = rng.choice(TRAINING[kind])
    subject = _random_subject(scene, rng, kind)
    fields = {
        "noun": _noun(subject, rng, plural=False),
        "nouns": _noun(subject, rng, plural=True),
        "where": rng.choice(PLACE_WORDINGS[subject.place]) if subject.place else "",
        "colour": subject.colour or "",
    }
    if "{colour}" in wording and (not subject.colour or subject.size):
        subject = Subject(colour=subject.colour or rng.choice(COLOURS))
        fields["colour"] = str(subject.colour)
    elif kind == "form" and "{where}" in wording:
        subject = Subject(place=subject.place or _some_place(scene, rng))
        fields["where"] = rng.choice(PLACE_WORDINGS[_place_of(subject)])
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
        answer = content_answer(scene, _place_of(subject))
    elif kind == "check":
        asked: Attribute = rng.choice(
            ("form", "colour", "size") if subject.place else ("form", "colour", "place", "size")
        )
        if asked == "form" and not subject.place:
            subject = Subject(colour=_random_claimed(scene, Subject(), rng).colour)
            fields["noun"] = _noun(subject, rng, plural=False)
        claimed = _random_claimed(scene, subject, rng)
        value = str(getattr(claimed, asked))
        wordings = {"form": (article(value),), "place": PLACE_WORDINGS[claimed.place]}
        fields["value"] = rng.choice(wordings.get(asked, (value,)))
        answer = check_answer(scene, subject, asked, value)
    elif kind == "unknown":
        fields["thing"] = rng.choice(HELD_OUT_THINGS if is_held_out else THINGS)
        answer = UNKNOWN_ANSWER
    else:
        answer = attribute_answer(scene, subject, kind)  # type: ignore[arg-type]
    text = wording.format(**fields)
    return Question(kind, text if is_held_out else _spoken_freely(text, rng), answer)


def _random_subject(scene: Scene, rng: random.Random, kind: str) -> Subject:
    """Return a subject that fits the kind of question; about a third is nowhere in the scene, often only just."""
    if kind == "content":
        return Subject(place=_some_place(scene, rng))
    shape = rng.choice(scene.shapes) if scene.shapes and rng.random() < 0.7 else _random_shape(rng)
    if kind == "describe" or (kind == "count" and rng.random() < 0.3):
        return Subject()
    asked = {"colour": "colour", "form": "form", "place": "place", "size": "size"}.get(kind)
    names = [name for name in ("form", "colour", "size") if name != asked]
    if kind == "form":
        return Subject(place=shape.place) if rng.random() < 0.5 else _subject(shape, rng, ["colour", "size"])
    if kind == "check":
        is_placed = rng.random() < PLACED_SHARE
        return Subject(place=shape.place) if is_placed else Subject(form=shape.form)
    subject = _subject(shape, rng, names)
    if kind in ("colour", "size", "presence") and rng.random() < PLACED_SHARE:
        names.append("place")
        subject = replace(subject, place=shape.place, form=subject.form if rng.random() < 0.5 else None)
    if rng.random() < 0.25 and scene.shapes:  # only just wrong: one attribute of a shape that is there is changed
        other = _random_shape(rng)
        name = rng.choice([name for name in names if getattr(subject, name)])
        subject = replace(subject, **{name: getattr(other, name)})
    return subject


def _subject(shape: Shape, rng: random.Random, names: list[str]) -> Subject:
    """Return a subject with the first of `names` mostly, seldom with all of them."""
    kept = [name for name in names if rng.random() < {"form": 0.9, "colour": 0.5, "size": 0.2}[name]] or names[:1]
    return Subject(**{name: getattr(shape, name) for name in kept})


def _random_shape(rng: random.Random) -> Shape:
    return Shape(rng.choice(FORMS), rng.choice(COLOURS), rng.choice(SIZES), rng.choice(PLACES))


def _some_place(scene: Scene, rng: random.Random) -> Place:
    return rng.choice(scene.shapes).place if scene.shapes and rng.random() < 0.7 else rng.choice(PLACES)


def _place_of(subject: Subject) -> Place:
    assert subject.place
    return subject.place


def _random_claimed(scene: Scene, subject: Subject, rng: random.Random) -> Shape:
    """Return a shape whose attributes are claimed of the subject, which is true of about every second."""
    found = subject.found_in(scene)
    return rng.choice(found) if found and rng.random() < 0.5 else _random_shape(rng)


def _noun(subject: Subject, rng: random.Random, *, plural: bool) -> str:
    def synonym(word: str | None, others: Mapping[str, tuple[str, ...]]) -> str | None:
        choices = others.get(word or "", ())
        return rng.choice(choices) if choices and rng.random() < SYNONYM_SHARE else word

    noun = subject.noun(
        plural,
        form=synonym(subject.form or "shape", FORM_SYNONYMS),
        size=synonym(subject.size, SIZE_SYNONYMS),
        colour=synonym(subject.colour, COLOUR_SYNONYMS),
    )
    return f"{noun} {rng.choice(PLACE_WORDINGS[subject.place])}" if subject.place else noun


def _spoken_freely(text: str, rng: random.Random) -> str:
    """Return the question with words around it, in it, and with less care for case and punctuation."""
    if rng.random() < NOISY_SHARE:
        words = text.split()
        for _ in range(rng.randint(1, 3)):
            words.insert(rng.choice((0, 0, 1, len(words))), rng.choice(NOISE_WORDS))
        text = " ".join(words)
    if rng.random() < 0.15:
        text = f"{rng.choice(OPENINGS)} {text[0].lower()}{text[1:]}"
    if rng.random() < 0.15:
        text = f"{text.rstrip('?.')} {rng.choice(CLOSINGS)}{'?' if text.endswith('?') else ''}"
    if rng.random() < 0.15:
        text = text.rstrip("?.")
    return text.lower() if rng.random() < 0.15 else text[0].upper() + text[1:]
