"""Compares the served model with vectors that a reference implementation computed.

    python -m deployments.captioner.conformance DIR [--precision int8|bf16]

DIR holds a checkpoint (`config.json`, `model*.safetensors`), images, and what the reference computed for them in fp32:
`expected.json` (for each image `size`, `tiling`, `num_crops`, `prefix_length`, and for each prompt `prompt_ids`,
`greedy_ids`) and `expected.safetensors` (`<image>.image_embeddings`, `<image>.<prompt>.first_logits`).

The exit status is 1 if any number differs by more than 1e-4 of its tensor's largest magnitude, or if any greedy id
differs; it is 2 if the folder cannot be compared. With int8 or bf16, the differences that rounding causes (in
embeddings, logits and greedy ids) are only reported; the exit status is 1 if anything else differs.
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

from deployments.captioner.generation import generate, prompt_length
from deployments.captioner.loading import load_moondream
from deployments.captioner.moondream import Moondream
from deployments.captioner.preprocessing import make_crops
from deployments.captioner.settings import MoondreamPrecision
from deployments.errors import ServiceError
from deployments.images.decoding import decode_image
from deployments.media import as_media

MAX_RELATIVE_ERROR = 1e-4
MAX_GREEDY_IDS = 24
"""The reference stopped after this many ids if eos did not come first."""
MAX_PIXELS = 100_000_000

DEPENDS_ON_PRECISION = ("image_embeddings", "first_logits", "greedy_ids")
"""The only kinds of comparison that may differ in int8 and bf16."""


@dataclass(frozen=True)
class Comparison:
    """The comparison of one value, tensor or list of ids with the reference."""

    text: str
    """`<name>: <result>`, where the name is `<image>.<kind>` or `<image>.<prompt>.<kind>`."""
    is_equal: bool
    relative_error: float = 0.0
    """The largest difference divided by the largest magnitude of the reference."""
    relative_distance: float | None = None
    """For tensors: the norm of the difference divided by the norm of the reference."""
    num_equal_ids: int = 0
    """For ids: how many are equal before the first difference."""
    num_ids: int = 0

    @property
    def kind(self) -> str:
        """What is compared, such as `first_logits`, without image and prompt."""
        return self.text.partition(":")[0].rpartition(".")[2]


def compare_folder(folder: Path, precision: MoondreamPrecision = "fp32") -> list[Comparison]:
    """Return all comparisons, image by image; raise ModelNotLoaded if the checkpoint cannot be loaded."""
    expected: dict[str, Any] = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / "expected.safetensors")
    weights = sorted(folder.glob("model*.safetensors"))
    model = load_moondream(folder / "config.json", weights, precision, report=lambda progress: None)
    comparisons = []
    for image_name, expected_of_image in expected.items():
        path = _image_path(folder, image_name)
        comparisons += _compare_image(model, image_name, path, expected_of_image, tensors)
    return comparisons


def _image_path(folder: Path, name: str) -> Path:
    for path in folder.glob(f"{name}.*"):
        return path
    raise FileNotFoundError(f"{folder} contains no image named {name}.")


def _compare_image(
    model: Moondream, name: str, path: Path, expected: dict[str, Any], tensors: dict[str, Tensor]
) -> list[Comparison]:
    config = model.config
    pixels = decode_image(as_media(path.read_bytes()), MAX_PIXELS)
    crops = make_crops(pixels, config.vision, config.vision.max_crops)
    rows, columns = crops.tiling
    embeddings = model.encode_image(crops, _never_cancelled)
    comparisons = [
        _compare_value(f"{name}.size", [pixels.shape[1], pixels.shape[0]], expected["size"]),
        _compare_value(f"{name}.tiling", [rows, columns], expected["tiling"]),
        _compare_value(f"{name}.num_crops", 1 + rows * columns, expected["num_crops"]),
        _compare_value(f"{name}.prefix_length", prompt_length(config, 0, has_image=True), expected["prefix_length"]),
        _compare_tensor(f"{name}.image_embeddings", embeddings, tensors),
    ]
    for prompt_name, prompt in expected.items():
        if isinstance(prompt, dict):
            ids = prompt["prompt_ids"]
            cache = model.new_kv_cache(prompt_length(config, len(ids), has_image=True) + MAX_GREEDY_IDS)
            model.prefill_image(embeddings, cache, _never_cancelled)
            first_logits = model.prefill_prompt(ids, cache, _never_cancelled)
            cache.length = config.text.prefix_attn
            [answer] = generate(model, ids, [cache], MAX_GREEDY_IDS, _never_cancelled)
            comparisons.append(_compare_tensor(f"{name}.{prompt_name}.first_logits", first_logits, tensors))
            comparisons.append(_compare_ids(f"{name}.{prompt_name}.greedy_ids", answer.ids, prompt["greedy_ids"]))
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
    # Not `error > MAX_RELATIVE_ERROR`, for which a NaN would count as equal.
    return Comparison(f"{name}: largest relative error {error:.1e}", error <= MAX_RELATIVE_ERROR, error, distance)


def _compare_ids(name: str, actual: list[int], expected: list[int]) -> Comparison:
    if actual == expected:
        return Comparison(
            f"{name}: all {len(expected)} ids equal", True, num_equal_ids=len(expected), num_ids=len(expected)
        )
    # If one answer is the beginning of the other, they differ where the shorter one ends.
    pairs = zip([*actual, "the end"], [*expected, "the end"], strict=False)
    position, (got, wanted) = next((n, pair) for n, pair in enumerate(pairs) if pair[0] != pair[1])
    text = f"{name}: first difference at position {position}: {got} instead of {wanted}"
    return Comparison(text, False, num_equal_ids=position, num_ids=len(expected))


def _never_cancelled(progress: str) -> None:
    """A CheckCancelled for comparisons, which always run to the end."""


def main(arguments: list[str] | None = None, prog: str = "python -m deployments.captioner.conformance") -> int:
    parser = argparse.ArgumentParser(prog, description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--precision", choices=("fp32", "bf16", "int8"), default="fp32")
    options = parser.parse_args(arguments)
    try:
        comparisons = compare_folder(options.folder, options.precision)
        if not comparisons:
            raise ValueError("expected.json lists no images")
    except (OSError, ValueError, KeyError, SafetensorError, ServiceError) as error:
        sys.stderr.write(f"Nothing was compared: {error}\n")
        return 2
    if options.precision != "fp32":
        return _report_rounding_error(comparisons, options.precision)
    for comparison in comparisons:
        sys.stdout.write(f"{'ok  ' if comparison.is_equal else 'DIFF'}  {comparison.text}\n")
    differences = sum(not comparison.is_equal for comparison in comparisons)
    largest = max((comparison.relative_error for comparison in comparisons), default=0.0)
    verdict = f"{differences} of {len(comparisons)} comparisons differ" if differences else "Conforms"
    sys.stdout.write(f"{verdict}; largest relative error {largest:.1e} (limit {MAX_RELATIVE_ERROR:.0e})\n")
    return 1 if differences else 0


def _report_rounding_error(comparisons: list[Comparison], precision: str) -> int:
    """Print how far the model is from the reference.

    Return the exit status: 1 if anything differs that does not depend on the precision.
    """
    num_wrong = 0
    for comparison in comparisons:
        may_differ = comparison.kind in DEPENDS_ON_PRECISION
        num_wrong += not (may_differ or comparison.is_equal)
        distance = comparison.relative_distance
        suffix = "" if distance is None else f", {distance:.2%} of the norm"
        mark = "    " if may_differ else "ok  " if comparison.is_equal else "DIFF"
        sys.stdout.write(f"{mark}  {comparison.text}{suffix}\n")
    for kind in ("image_embeddings", "first_logits"):
        distances = [comparison.relative_distance or 0.0 for comparison in comparisons if comparison.kind == kind]
        sys.stdout.write(f"{kind}: at most {max(distances, default=0.0):.2%} of the norm away in {precision}\n")
    answers = [comparison for comparison in comparisons if comparison.kind == "greedy_ids"]
    num_equal_ids, num_ids = sum(answer.num_equal_ids for answer in answers), sum(answer.num_ids for answer in answers)
    num_equal = sum(answer.is_equal for answer in answers)
    sys.stdout.write(
        f"greedy_ids: {num_equal} of {len(answers)} answers equal, "
        f"{num_equal_ids} of {num_ids} ids before the first difference\n"
    )
    return 1 if num_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
