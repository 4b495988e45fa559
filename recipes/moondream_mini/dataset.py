"""Scenes drawn ahead of training, as the product's own preprocessing hands them to the vision tower."""

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
    draw_mask,
    draw_scene,
    random_image_size,
    random_scene,
    saved_as_jpeg,
)

NUM_SHAPES_WEIGHTS = (2, 20, 26, 26, 26)
"""How often a scene has none, one, two, three or four shapes, in percent."""
JPEG_SHARE = 0.6

NUM_TARGETS = 4
MASK_CELLS = 7
"""Along each side of a patch."""
NOTHING = -1


@dataclass(frozen=True)
class Scenes:
    crops: NDArray[np.uint8]
    """Shape (num_scenes, side, side, 3): each picture scaled to the side of a crop."""
    targets: NDArray[np.int8]
    """Shape (num_scenes, grid * grid, 4): form, colour, size and place of the shape that lies over each patch (by
    their numbers in the world's lists), NOTHING where there is none."""
    masks: NDArray[np.bool_]
    """Shape (num_scenes, grid * grid, MASK_CELLS**2): which parts of each patch a shape covers, row by row."""
    scenes: list[Scene]

    def __len__(self) -> int:
        return len(self.scenes)


def prepare_scenes(path: Path, count: int, side: int, grid: int, seed: int, processes: int) -> Scenes:
    """Return `count` scenes that are the same for the same arguments, drawn once and then kept at `path`."""
    if not path.exists():
        bounds = np.linspace(0, count, max(1, count // 500) + 1).astype(int).tolist()
        with ProcessPoolExecutor(processes) as pool:
            jobs = [pool.submit(_draw_range, low, high, side, grid, seed) for low, high in pairwise(bounds)]
            parts = [job.result() for job in jobs]
        crops, targets, masks, scenes = zip(*parts, strict=True)
        drawn = Scenes(np.concatenate(crops), np.concatenate(targets), np.concatenate(masks), sum(scenes, []))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            pickle.dump(drawn, file, protocol=5)
    with path.open("rb") as file:
        loaded: Scenes = pickle.load(file)
    return loaded


def draw_example(seed: int, number: int) -> tuple[Scene, Drawing]:
    """Return the scene of that number, drawn at its own size, with the marks of JPEG or without."""
    rng = random.Random(f"{seed}/{number}")
    [num_shapes] = rng.choices(range(MAX_SHAPES + 1), NUM_SHAPES_WEIGHTS)
    scene = random_scene(rng, num_shapes)
    drawing = draw_scene(scene, *random_image_size(rng), rng)
    if rng.random() < JPEG_SHARE:
        drawing = Drawing(saved_as_jpeg(drawing.image, rng.randint(35, 95)), drawing.boxes)
    return scene, drawing


def _draw_range(
    low: int, high: int, side: int, grid: int, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.int8], NDArray[np.bool_], list[Scene]]:
    crops = np.empty((high - low, side, side, 3), np.uint8)
    targets = np.full((high - low, grid * grid, NUM_TARGETS), NOTHING, np.int8)
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
    """Return the targets of the patches whose middle lies in a shape's box, and of the one patch at its centre."""
    targets = np.full((grid, grid, NUM_TARGETS), NOTHING, np.int8)
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
    return targets.reshape(grid * grid, NUM_TARGETS)
