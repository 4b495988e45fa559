"""Compare the model that serves with vectors that a reference implementation computed.

    python -m deployments.captioner.conformance DIR [--precision int8|bf16]

DIR holds a checkpoint (`config.json`, `model*.safetensors`), pictures, and what the reference makes of them in fp32:
`expected.json` (per picture `size`, `tiling`, `num_crops`, `prefix_length`, and per prompt `prompt_ids`, `greedy_ids`)
and `expected.safetensors` (`<picture>.image_embeddings`, `<picture>.<prompt>.first_logits`). The exit status is 1 when
any number differs by more than 1e-4 of its tensor's largest magnitude, or any greedy id differs; it is 2 when the
folder cannot be compared. With another precision nothing is judged but what rounding must not change: the errors and
how many ids agree are only told.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from deployments.captioner.checkpoint import Precision, load_moondream
from deployments.captioner.generation import generate, prompt_length
from deployments.captioner.moondream import Moondream
from deployments.captioner.preprocessing import decode_image, make_crops
from deployments.errors import ServiceError
from deployments.media import as_media

MAX_RELATIVE_ERROR = 1e-4
MAX_GREEDY_IDS = 24
"""How many ids the reference wrote, where eos did not come first."""
MAX_PIXELS = 100_000_000


ROUNDED = ("image_embeddings", "first_logits", "greedy_ids")
"""What may differ in another precision than fp32."""


@dataclass(frozen=True)
class Comparison:
    """One thing compared: `text` says how it came out."""

    text: str
    is_equal: bool
    relative_error: float = 0.0
    """Largest difference by largest magnitude."""
    distance: float | None = None
    """Of tensors: the norm of the difference by the norm of the reference."""
    num_agreeing: int = 0
    """Of ids: how many agree before the first that does not."""
    num_ids: int = 0

    @property
    def kind(self) -> str:
        """What is compared, without the picture and prompt it is of."""
        return self.text.partition(":")[0].rpartition(".")[2]


def compare_folder(folder: Path, precision: Precision = "fp32") -> list[Comparison]:
    """Return every comparison, picture by picture; raises ModelNotLoaded when the checkpoint cannot be loaded."""
    expected: dict[str, Any] = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / "expected.safetensors")
    weights = sorted(folder.glob("model*.safetensors"))
    model = load_moondream(folder / "config.json", weights, precision, report=lambda progress: None)
    comparisons = []
    for name, facts in expected.items():
        comparisons += _compare_picture(model, name, _picture(folder, name), facts, tensors)
    return comparisons


def _picture(folder: Path, name: str) -> Path:
    for path in folder.glob(f"{name}.*"):
        return path
    raise FileNotFoundError(f"{folder} holds no picture named {name}.")


def _compare_picture(
    model: Moondream, name: str, path: Path, facts: dict[str, Any], tensors: dict[str, Tensor]
) -> list[Comparison]:
    config = model.config
    pixels = decode_image(as_media(path.read_bytes()), MAX_PIXELS)
    crops = make_crops(pixels, config.vision, config.vision.max_crops)
    down, across = crops.tiling
    image = model.encode_image(crops, _never)
    comparisons = [
        _compare_value(f"{name}.size", [pixels.shape[1], pixels.shape[0]], facts["size"]),
        _compare_value(f"{name}.tiling", [down, across], facts["tiling"]),
        _compare_value(f"{name}.num_crops", 1 + down * across, facts["num_crops"]),
        _compare_value(f"{name}.prefix_length", prompt_length(config, 0, has_image=True), facts["prefix_length"]),
        _compare_tensor(f"{name}.image_embeddings", image, tensors),
    ]
    for key, value in facts.items():
        if isinstance(value, dict):
            ids = value["prompt_ids"]
            cache = model.new_cache(prompt_length(config, len(ids), has_image=True) + MAX_GREEDY_IDS)
            model.read_image(image, cache, _never)
            first_logits = model.read_prompt(ids, cache, _never)
            cache.length = config.text.prefix_attn
            [answer] = generate(model, ids, [cache], MAX_GREEDY_IDS, _never)
            comparisons.append(_compare_tensor(f"{name}.{key}.first_logits", first_logits, tensors))
            comparisons.append(_compare_ids(f"{name}.{key}.greedy_ids", answer.ids, value["greedy_ids"]))
    return comparisons


def _compare_value(name: str, actual: object, expected: object) -> Comparison:
    if actual == expected:
        return Comparison(f"{name}: {expected}", True)
    return Comparison(f"{name}: {actual} instead of {expected}", False)


def _compare_tensor(name: str, actual: Tensor, tensors: dict[str, Tensor]) -> Comparison:
    expected = tensors[name]
    if actual.shape != expected.shape:
        return Comparison(f"{name}: shape {tuple(actual.shape)} instead of {tuple(expected.shape)}", False)
    actual = actual.float()
    error = ((actual - expected).abs().max() / expected.abs().max()).item()
    distance = ((actual - expected).norm() / expected.norm()).item()
    # Written so that a NaN counts as a difference.
    return Comparison(f"{name}: largest relative error {error:.1e}", error <= MAX_RELATIVE_ERROR, error, distance)


def _compare_ids(name: str, actual: list[int], expected: list[int]) -> Comparison:
    if actual == expected:
        return Comparison(
            f"{name}: all {len(expected)} ids equal", True, num_agreeing=len(expected), num_ids=len(expected)
        )
    # Ids stop where eos came, so a shorter answer differs right behind its end.
    pairs = zip([*actual, "its end"], [*expected, "its end"], strict=False)
    position, (got, wanted) = next((n, pair) for n, pair in enumerate(pairs) if pair[0] != pair[1])
    text = f"{name}: first difference at position {position}: {got} instead of {wanted}"
    return Comparison(text, False, num_agreeing=position, num_ids=len(expected))


def _never(progress: str) -> None:
    """Nothing ends a comparison early."""


def main(arguments: list[str] | None = None, prog: str = "python -m deployments.captioner.conformance") -> int:
    parser = argparse.ArgumentParser(prog, description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--precision", choices=("fp32", "bf16", "int8"), default="fp32")
    options = parser.parse_args(arguments)
    try:
        comparisons = compare_folder(options.folder, options.precision)
        if not comparisons:
            raise ValueError("expected.json names no picture")
    except (OSError, ValueError, KeyError, SafetensorError, ServiceError) as error:
        sys.stderr.write(f"Nothing was compared: {error}\n")
        return 2
    if options.precision != "fp32":
        return _tell_rounding(comparisons, options.precision)
    for comparison in comparisons:
        sys.stdout.write(f"{'ok  ' if comparison.is_equal else 'DIFF'}  {comparison.text}\n")
    differences = sum(not comparison.is_equal for comparison in comparisons)
    largest = max((comparison.relative_error for comparison in comparisons), default=0.0)
    verdict = f"{differences} of {len(comparisons)} comparisons differ" if differences else "Conforms"
    sys.stdout.write(f"{verdict}; largest relative error {largest:.1e} (limit {MAX_RELATIVE_ERROR:.0e})\n")
    return 1 if differences else 0


def _tell_rounding(comparisons: list[Comparison], precision: str) -> int:
    """Write how far from the reference a rounded model is; return 1 if what rounding must not change differs."""
    wrong = 0
    for comparison in comparisons:
        is_rounded = comparison.kind in ROUNDED
        wrong += not (is_rounded or comparison.is_equal)
        distance = "" if comparison.distance is None else f", {comparison.distance:.2%} of its norm"
        mark = "    " if is_rounded else "ok  " if comparison.is_equal else "DIFF"
        sys.stdout.write(f"{mark}  {comparison.text}{distance}\n")
    for kind in ("image_embeddings", "first_logits"):
        distances = [comparison.distance or 0.0 for comparison in comparisons if comparison.kind == kind]
        sys.stdout.write(f"{kind}: at most {max(distances, default=0.0):.2%} of the norm away in {precision}\n")
    answers = [comparison for comparison in comparisons if comparison.kind == "greedy_ids"]
    agreeing, total = sum(c.num_agreeing for c in answers), sum(c.num_ids for c in answers)
    equal = sum(comparison.is_equal for comparison in answers)
    sys.stdout.write(
        f"greedy_ids: {equal} of {len(answers)} answers equal, {agreeing} of {total} ids before a difference\n"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
