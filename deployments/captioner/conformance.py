"""Compare the model that serves with vectors that a reference implementation computed.

    python -m deployments.captioner.conformance DIR

DIR holds a checkpoint (`config.json`, `model*.safetensors`), pictures, and what the reference makes of them in fp32:
`expected.json` (per picture `size`, `tiling`, `num_crops`, `prefix_length`, and per prompt `prompt_ids`, `greedy_ids`)
and `expected.safetensors` (`<picture>.image_embeddings`, `<picture>.<prompt>.first_logits`). The exit status is 1 when
any number differs by more than 1e-4 of its tensor's largest magnitude, or any greedy id differs; it is 2 when the
folder cannot be compared.
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

from deployments.captioner.checkpoint import load_moondream
from deployments.captioner.generation import generate, prompt_length
from deployments.captioner.moondream import Moondream
from deployments.captioner.preprocessing import decode_image, make_crops
from deployments.errors import ServiceError
from deployments.media import as_media

MAX_RELATIVE_ERROR = 1e-4
MAX_GREEDY_IDS = 24
"""How many ids the reference wrote, where eos did not come first."""
MAX_PIXELS = 100_000_000


@dataclass(frozen=True)
class Comparison:
    """One thing compared: `text` says how it came out."""

    text: str
    is_equal: bool
    relative_error: float = 0.0


def compare_folder(folder: Path) -> list[Comparison]:
    """Return every comparison, picture by picture; raises ModelNotLoaded when the checkpoint cannot be loaded."""
    expected: dict[str, Any] = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / "expected.safetensors")
    weights = sorted(folder.glob("model*.safetensors"))
    model = load_moondream(folder / "config.json", weights, "fp32", report=lambda progress: None)
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
    error = ((actual - expected).abs().max() / expected.abs().max()).item()
    # Written so that a NaN counts as a difference.
    return Comparison(f"{name}: largest relative error {error:.1e}", error <= MAX_RELATIVE_ERROR, error)


def _compare_ids(name: str, actual: list[int], expected: list[int]) -> Comparison:
    if actual == expected:
        return Comparison(f"{name}: all {len(expected)} ids equal", True)
    # Ids stop where eos came, so a shorter answer differs right behind its end.
    pairs = zip([*actual, "its end"], [*expected, "its end"], strict=False)
    position, (got, wanted) = next((n, pair) for n, pair in enumerate(pairs) if pair[0] != pair[1])
    return Comparison(f"{name}: first difference at position {position}: {got} instead of {wanted}", False)


def _never(progress: str) -> None:
    """Nothing ends a comparison early."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m deployments.captioner.conformance", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    try:
        comparisons = compare_folder(parser.parse_args(arguments).folder)
        if not comparisons:
            raise ValueError("expected.json names no picture")
    except (OSError, ValueError, KeyError, SafetensorError, ServiceError) as error:
        sys.stderr.write(f"Nothing was compared: {error}\n")
        return 2
    for comparison in comparisons:
        sys.stdout.write(f"{'ok  ' if comparison.is_equal else 'DIFF'}  {comparison.text}\n")
    differences = sum(not comparison.is_equal for comparison in comparisons)
    largest = max((comparison.relative_error for comparison in comparisons), default=0.0)
    verdict = f"{differences} of {len(comparisons)} comparisons differ" if differences else "Conforms"
    sys.stdout.write(f"{verdict}; largest relative error {largest:.1e} (limit {MAX_RELATIVE_ERROR:.0e})\n")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
