"""Scenes of up to four shapes, each with a form, colour, size and place, and how they are drawn."""

import io
import math
import random
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Form = Literal["circle", "square", "triangle", "star", "cross"]
Colour = Literal["red", "green", "blue", "yellow", "orange", "purple", "black", "white"]
Size = Literal["small", "large"]
Place = Literal["top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right"]
Rgb = tuple[int, int, int]

FORMS: tuple[Form, ...] = ("circle", "square", "triangle", "star", "cross")
SIZES: tuple[Size, ...] = ("small", "large")
PLACES: tuple[Place, ...] = (
    "top left",
    "top",
    "top right",
    "left",
    "middle",
    "right",
    "bottom left",
    "bottom",
    "bottom right",
)
"""The cells of a 3x3 grid over the picture, in reading order."""
PALETTE: dict[Colour, Rgb] = {
    "red": (220, 35, 35),
    "green": (35, 155, 60),
    "blue": (35, 80, 215),
    "yellow": (248, 220, 40),
    "orange": (245, 135, 25),
    "purple": (140, 55, 180),
    "black": (18, 18, 20),
    "white": (248, 248, 246),
}
COLOURS: tuple[Colour, ...] = tuple(PALETTE)
MAX_SHAPES = 4

EXTENT: dict[Size, tuple[float, float]] = {"small": (0.13, 0.165), "large": (0.25, 0.29)}
"""Range of a shape's width and height, as a fraction of the square root of the picture's area."""
_LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8))
"""Rows and columns of cells. In a narrow picture, three large shapes do not fit into one line."""
COLOUR_JITTER = 14
"""Largest random change of each RGB value of a shape's colour."""
MIN_CONTRAST = 105.0
"""Minimum Euclidean distance in RGB between a shape's colour and the background."""
CELL_MARGIN = 0.035
"""Minimum distance of a shape's centre from the borders of its cell, as a fraction of the picture's side."""
EDGE_MARGIN = 0.01
"""Minimum distance of a shape from the picture's edge, as a fraction of the picture's side."""
MAX_ASPECT = 2.0
_OVERSAMPLING = 2


@dataclass(frozen=True)
class Shape:
    form: Form
    colour: Colour
    size: Size
    place: Place


@dataclass(frozen=True)
class Scene:
    shapes: tuple[Shape, ...]
    """In reading order, at most one in each cell."""


@dataclass(frozen=True)
class Drawing:
    image: Image.Image
    boxes: tuple[tuple[float, float, float, float], ...]
    """Left, top, right and bottom of each shape, as fractions of the picture's width and height."""


def random_scene(rng: random.Random, num_shapes: int) -> Scene:
    while True:
        places = sorted(rng.sample(range(len(PLACES)), num_shapes))
        shapes = [Shape(rng.choice(FORMS), rng.choice(COLOURS), rng.choice(SIZES), PLACES[place]) for place in places]
        large = [place for place, shape in zip(places, shapes, strict=True) if shape.size == "large"]
        if not any(sum(place in line for place in large) == len(line) for line in _LINES):
            return Scene(tuple(shapes))


def random_image_size(rng: random.Random, longest: int = 420) -> tuple[int, int]:
    """Return width and height, with an aspect ratio between 1:MAX_ASPECT and MAX_ASPECT:1."""
    area = math.exp(rng.uniform(math.log(150**2), math.log((longest * 0.7) ** 2)))
    aspect = math.exp(rng.uniform(-1, 1) * math.log(MAX_ASPECT))
    return round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))


def draw_scene(scene: Scene, width: int, height: int, rng: random.Random, background: Rgb | None = None) -> Drawing:
    """Return the scene with each shape drawn at a random position inside its cell.

    Without a `background` colour, the background is a random plain colour or texture.
    """
    colours = [_jittered(PALETTE[shape.colour], rng) for shape in scene.shapes]
    picture = (
        _background(width, height, colours, rng)
        if background is None
        else Image.new("RGB", (width, height), background)
    )
    boxes = _place_boxes(scene, width, height, rng)
    canvas = picture.resize((width * _OVERSAMPLING, height * _OVERSAMPLING), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(canvas)
    for shape, colour, (left, top, right, bottom) in zip(scene.shapes, colours, boxes, strict=True):
        box = left * canvas.width, top * canvas.height, right * canvas.width, bottom * canvas.height
        _draw_form(draw, shape.form, box, colour)
    return Drawing(canvas.resize((width, height), Image.Resampling.BOX), boxes)


def draw_mask(scene: Scene, drawing: Drawing) -> Image.Image:
    """Return a greyscale picture of the drawing's size: 255 inside the shapes, 0 elsewhere."""
    mask = Image.new("L", drawing.image.size)
    draw = ImageDraw.Draw(mask)
    for shape, (left, top, right, bottom) in zip(scene.shapes, drawing.boxes, strict=True):
        box = left * mask.width, top * mask.height, right * mask.width, bottom * mask.height
        _draw_form(draw, shape.form, box, 255)
    return mask


def compress_as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Return the picture with JPEG artefacts."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def _place_boxes(
    scene: Scene, width: int, height: int, rng: random.Random
) -> tuple[tuple[float, float, float, float], ...]:
    """Return boxes that do not overlap, each with its centre inside its cell."""
    scale = math.sqrt(width * height)
    while True:
        boxes: list[tuple[float, float, float, float]] = []
        for shape in scene.shapes:
            extent = rng.uniform(*EXTENT[shape.size]) * scale
            half_x, half_y = extent / width / 2, extent / height / 2
            row, column = divmod(PLACES.index(shape.place), 3)
            x, y = _centre(column, half_x, rng), _centre(row, half_y, rng)
            boxes.append((x - half_x, y - half_y, x + half_x, y + half_y))
        if not any(_overlap(a, b) for index, a in enumerate(boxes) for b in boxes[:index]):
            return tuple(boxes)


def _centre(cell: int, half: float, rng: random.Random) -> float:
    lowest = max(cell / 3 + CELL_MARGIN, half + EDGE_MARGIN)
    highest = min((cell + 1) / 3 - CELL_MARGIN, 1 - half - EDGE_MARGIN)
    return rng.uniform(lowest, highest)


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _draw_form(
    draw: ImageDraw.ImageDraw, form: Form, box: tuple[float, float, float, float], colour: Rgb | int
) -> None:
    left, top, right, bottom = box
    x, y, radius = (left + right) / 2, (top + bottom) / 2, (right - left) / 2
    if form == "circle":
        draw.ellipse(box, fill=colour)
    elif form == "square":
        side = radius * 0.9  # about the area of the circle: a full-width square would look larger
        draw.rectangle((x - side, y - side, x + side, y + side), fill=colour)
    elif form == "triangle":
        draw.polygon(((x, top), (right, bottom), (left, bottom)), fill=colour)
    elif form == "star":
        points = []
        for corner in range(10):
            angle, length = math.pi * corner / 5, radius * (1.1 if corner % 2 == 0 else 0.45)
            points.append((x + length * math.sin(angle), y - length * math.cos(angle)))
        draw.polygon(points, fill=colour)
    else:
        arm = radius * 0.34
        draw.rectangle((x - arm, top, x + arm, bottom), fill=colour)
        draw.rectangle((left, y - arm, right, y + arm), fill=colour)


def _jittered(colour: Rgb, rng: random.Random) -> Rgb:
    red, green, blue = (min(255, max(0, level + rng.randint(-COLOUR_JITTER, COLOUR_JITTER))) for level in colour)
    return red, green, blue


def _background(width: int, height: int, colours: list[Rgb], rng: random.Random) -> Image.Image:
    first = _background_colour(colours, rng)
    kind = rng.choice(("plain", "plain", "gradient", "noise", "stripes", "checks"))
    if kind == "plain":
        return Image.new("RGB", (width, height), first)
    noise = np.random.default_rng(rng.getrandbits(32))
    second = tuple(min(255, max(0, level + rng.randint(-22, 22))) for level in first)
    x, y = np.meshgrid(np.linspace(0, 1, width, dtype=np.float32), np.linspace(0, 1, height, dtype=np.float32))
    share: NDArray[np.floating]
    if kind == "gradient":
        angle = rng.uniform(0, 2 * math.pi)
        share = 0.5 + 0.5 * (math.cos(angle) * (x - 0.5) + math.sin(angle) * (y - 0.5)) * 1.4
    elif kind == "noise":
        share = noise.random((height, width), dtype=np.float32)
    elif kind == "stripes":
        angle, count = rng.uniform(0, math.pi), rng.randint(4, 20)
        share = 0.5 + 0.5 * np.sign(np.sin(2 * math.pi * count * (math.cos(angle) * x + math.sin(angle) * y)))
    else:
        count = rng.randint(3, 12)
        share = ((np.floor(x * count) + np.floor(y * count)) % 2).astype(np.float32)
    levels = np.array(first, np.float32) + share[..., None] * (
        np.array(second, np.float32) - np.array(first, np.float32)
    )
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))


def _background_colour(colours: list[Rgb], rng: random.Random) -> Rgb:
    """Return a colour with enough contrast to all of `colours`, most often a weakly saturated one."""
    while True:
        grey, saturation = rng.randint(10, 250), rng.choice((0, 20, 60, 160))
        red, green, blue = (min(255, max(0, grey + rng.randint(-saturation, saturation))) for _ in range(3))
        if all(math.dist((red, green, blue), colour) > MIN_CONTRAST for colour in colours):
            return red, green, blue


def mirrored(scene: Scene) -> Scene:
    """Return the scene with left and right swapped; every form is symmetric."""
    swapped = [
        Shape(shape.form, shape.colour, shape.size, PLACES[row * 3 + 2 - column])
        for shape in scene.shapes
        for row, column in (divmod(PLACES.index(shape.place), 3),)
    ]
    return Scene(tuple(sorted(swapped, key=lambda shape: PLACES.index(shape.place))))
