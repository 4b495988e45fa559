from pathlib import Path

import pytest
import torch
from torch import Tensor

from deployments.captioner.checkpoint import Precision, load_moondream
from deployments.captioner.moondream import Moondream, TextBlock
from deployments.captioner.preprocessing import decode_image, make_crops
from deployments.inference.int8_layers import Int8ParallelBlock
from deployments.inference.kv_cache import KeyValueCache
from deployments.media import as_media
from deployments.settings import KernelChoice

CONFORMANCE = Path(__file__).parents[2] / "data" / "conformance" / "moondream2-tiny"


def _error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


def _load(precision: Precision, kernel: KernelChoice = "auto") -> Moondream:
    config, weights = CONFORMANCE / "config.json", [CONFORMANCE / "model.safetensors"]
    return load_moondream(config, weights, precision, report=lambda progress: None, kernel=kernel)


@pytest.mark.parametrize("kernel", ["auto", "onednn"])
def test_int8_stays_close_to_the_reference(kernel: KernelChoice) -> None:
    exact, rounded = _load("fp32"), _load("int8", kernel)
    for name in ("small", "wide", "portrait", "large"):
        pixels = decode_image(as_media((CONFORMANCE / f"{name}.png").read_bytes()), 10**8)
        crops = make_crops(pixels, exact.config.vision, exact.config.vision.max_crops)
        seen = [model.encode_image(crops, lambda progress: None) for model in (rounded, exact)]
        assert _error(*seen) < 0.05
        logits, logits_of_step = [], []
        for model, image in zip((rounded, exact), seen, strict=True):
            cache = model.new_cache(800)
            model.read_image(image, cache, lambda progress: None)
            logits.append(model.read_prompt([1, 2, 3], cache, lambda progress: None))
            logits_of_step.append(model.decode([4], [cache]))
        assert _error(*logits) < 0.1
        assert _error(*logits_of_step) < 0.1


def test_every_large_weight_is_rounded() -> None:
    model = _load("int8")
    whole = {name for name, parameter in model.named_parameters() if parameter.ndim > 1 and name != "vision.pos_emb"}
    assert whole == {"vision.patch_emb.weight"}


def test_what_a_sequence_says_does_not_depend_on_its_neighbours() -> None:
    model = _load("int8")
    images = [torch.randn(729, model.config.text.dim) for _ in range(4)]

    def caches() -> list[KeyValueCache]:
        found = [model.new_cache(800) for _ in images]
        for image, cache in zip(images, found, strict=True):
            model.read_image(image, cache, lambda progress: None)
        return found

    together = model.decode([5, 6, 7, 8], caches())
    alone = [model.decode([5 + row], [cache])[0] for row, cache in enumerate(caches())]
    assert torch.equal(together, torch.stack(alone))


def test_a_step_in_one_call_for_each_layer_is_what_its_layers_give(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _load("int8")
    image = torch.randn(729, model.config.text.dim)

    def decode() -> Tensor:
        cache = model.new_cache(800)
        model.read_image(image, cache, lambda progress: None)
        model.decode([5], [cache])
        return model.decode([6], [cache])

    at_once = decode()
    for block in model.text.blocks:
        assert isinstance(block, TextBlock)
        assert isinstance(block.step, Int8ParallelBlock)
        monkeypatch.setattr(block, "step", None)
    assert _error(at_once, decode()) < 0.01
