"""The training dataset: drawn scenes, scaled to one crop as the product's preprocessing does, with patch labels."""

import pickle
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recipes.moondream_mini.world import (
    COLOURS,
    FORMS,
    MAX_SHAPES,
    PLACES,
    SIZES,
    Drawing,
    Scene,
    compress_as_jpeg,
    draw_mask,
    draw_scene,
    random_image_size,
    random_scene,
)

NUM_SHAPES_WEIGHTS = (2, 20, 26, 26, 26)
"""How often a scene has none, one, two, three or four shapes, in percent."""
JPEG_FRACTION = 0.6
"""Fraction of the pictures that are compressed as JPEG."""

NUM_LABELS = 4
"""Labels of each patch: form, colour, size and place."""
MASK_CELLS = 7
"""Cells of the mask along each side of a patch."""
NO_SHAPE = -1


@dataclass(frozen=True)
class SceneDataset:
    crops: NDArray[np.uint8]
    """Shape (num_scenes, side, side, 3): each picture, scaled to the size of a crop."""
    targets: NDArray[np.int8]
    """Shape (num_scenes, grid * grid, 4): form, colour, size and place of the shape that covers each patch, as indices
    into FORMS, COLOURS, SIZES and PLACES; NO_SHAPE where there is none."""
    masks: NDArray[np.bool_]
    """Shape (num_scenes, grid * grid, MASK_CELLS**2): which cells of each patch a shape covers, row by row."""
    scenes: list[Scene]

    def __len__(self) -> int:
        return len(self.scenes)


def load_or_draw_scenes(path: Path, count: int, side: int, grid: int, seed: int, num_workers: int) -> SceneDataset:
    """Return `count` scenes from the file at `path`; draw them and write the file if it does not exist.

    The scenes depend on count, side, grid and seed only. An existing file is not checked against these arguments.
    """
    if not path.exists():
        bounds = np.linspace(0, count, max(1, count // 500) + 1).astype(int).tolist()
        with ProcessPoolExecutor(num_workers) as pool:
            jobs = [pool.submit(_draw_range, low, high, side, grid, seed) for low, high in pairwise(bounds)]
            parts = [job.result() for job in jobs]
        crops, targets, masks, scenes = zip(*parts, strict=True)
        drawn = SceneDataset(np.concatenate(crops), np.concatenate(targets), np.concatenate(masks), sum(scenes, []))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            pickle.dump(drawn, file, protocol=5)
    with path.open("rb") as file:
        loaded: SceneDataset = pickle.load(file)
    return loaded


def draw_example(seed: int, number: int) -> tuple[Scene, Drawing]:
    """Return the scene with this number in the dataset of `seed`, drawn at a random size, in some cases as JPEG."""
    rng = random.Random(f"{seed}/{number}")
    [num_shapes] = rng.choices(range(MAX_SHAPES + 1), NUM_SHAPES_WEIGHTS)
    scene = random_scene(rng, num_shapes)
    drawing = draw_scene(scene, *random_image_size(rng), rng)
    if rng.random() < JPEG_FRACTION:
        drawing = Drawing(compress_as_jpeg(drawing.image, rng.randint(35, 95)), drawing.boxes)
    return scene, drawing


def _draw_range(
    low: int, high: int, side: int, grid: int, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.int8], NDArray[np.bool_], list[Scene]]:
    crops = np.empty((high - low, side, side, 3), np.uint8)
    targets = np.full((high - low, grid * grid, NUM_LABELS), NO_SHAPE, np.int8)
    masks = np.empty((high - low, grid * grid, MASK_CELLS**2), np.bool_)
    scenes = []
    for row, number in enumerate(range(low, high)):
        scene, drawing = draw_example(seed, number)
        crops[row] = np.asarray(drawing.image.resize((side, side), Image.Resampling.LANCZOS))
        targets[row] = _patch_targets(scene, drawing, grid)
        masks[row] = _patch_masks(draw_mask(scene, drawing), grid)
        scenes.append(scene)
    return crops, targets, masks, scenes


def _patch_masks(mask: Image.Image, grid: int) -> NDArray[np.bool_]:
    cells = grid * MASK_CELLS
    covered = np.asarray(mask.resize((cells, cells), Image.Resampling.BOX)) > 127
    return covered.reshape(grid, MASK_CELLS, grid, MASK_CELLS).swapaxes(1, 2).reshape(grid * grid, MASK_CELLS**2)


def _patch_targets(scene: Scene, drawing: Drawing, grid: int) -> NDArray[np.int8]:
    """Return the labels of each patch, shape (grid * grid, 4).

    A shape covers a patch when the patch's middle lies in the shape's box. It always covers the patch at its centre.
    """
    targets = np.full((grid, grid, NUM_LABELS), NO_SHAPE, np.int8)
    middles = (np.arange(grid) + 0.5) / grid
    for shape, (left, top, right, bottom) in zip(scene.shapes, drawing.boxes, strict=True):
        rows = (middles >= top) & (middles <= bottom)
        columns = (middles >= left) & (middles <= right)
        rows[int((top + bottom) / 2 * grid)] = columns[int((left + right) / 2 * grid)] = True
        targets[np.ix_(rows, columns)] = (
            FORMS.index(shape.form),
            COLOURS.index(shape.colour),
            SIZES.index(shape.size),
            PLACES.index(shape.place),
        )
    return targets.reshape(grid * grid, NUM_LABELS)
