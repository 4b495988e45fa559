from pathlib import Path

import pytest
import torch
from torch import Tensor

from deployments.captioner.loading import load_moondream
from deployments.captioner.moondream import Moondream, TextBlock
from deployments.captioner.preprocessing import make_crops
from deployments.captioner.settings import MoondreamPrecision
from deployments.images.decoding import decode_image
from deployments.inference.int8_layers import Int8ParallelBlock
from deployments.inference.kv_cache import KeyValueCache
from deployments.media import as_media
from deployments.settings import KernelChoice

CONFORMANCE = Path(__file__).parents[2] / "data" / "conformance" / "moondream2-tiny"


def _error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


def _load(precision: MoondreamPrecision, kernel: KernelChoice = "auto") -> Moondream:
    config, weights = CONFORMANCE / "config.json", [CONFORMANCE / "model.safetensors"]
    return load_moondream(config, weights, precision, report=lambda progress: None, kernel=kernel)


@pytest.mark.parametrize("kernel", ["auto", pytest.param("onednn", marks=pytest.mark.slow)])
def test_int8_stays_close_to_the_reference(kernel: KernelChoice) -> None:
    fp32, int8 = _load("fp32"), _load("int8", kernel)
    for name in ("small", "wide", "portrait", "large"):
        pixels = decode_image(as_media((CONFORMANCE / f"{name}.png").read_bytes()), 10**8)
        crops = make_crops(pixels, fp32.config.vision, fp32.config.vision.max_crops)
        embeddings = [model.encode_image(crops, lambda progress: None) for model in (int8, fp32)]
        assert _error(*embeddings) < 0.05
        logits, decoded_logits = [], []
        for model, image in zip((int8, fp32), embeddings, strict=True):
            cache = model.new_kv_cache(800)
            model.prefill_image(image, cache, lambda progress: None)
            logits.append(model.prefill_prompt([1, 2, 3], cache, lambda progress: None))
            decoded_logits.append(model.decode([4], [cache]))
        assert _error(*logits) < 0.1
        assert _error(*decoded_logits) < 0.1


def test_every_large_weight_is_quantized() -> None:
    model = _load("int8")
    float_weights = {name for name, parameter in model.named_parameters() if parameter.ndim > 1}
    assert float_weights - {"vision.pos_emb"} == {"vision.patch_emb.weight"}


def test_logits_of_a_sequence_do_not_depend_on_the_rest_of_the_batch() -> None:
    model = _load("int8")
    images = [torch.randn(729, model.config.text.dim) for _ in range(4)]

    def caches() -> list[KeyValueCache]:
        prefilled = [model.new_kv_cache(800) for _ in images]
        for image, cache in zip(images, prefilled, strict=True):
            model.prefill_image(image, cache, lambda progress: None)
        return prefilled

    together = model.decode([5, 6, 7, 8], caches())
    alone = [model.decode([5 + row], [cache])[0] for row, cache in enumerate(caches())]
    assert torch.equal(together, torch.stack(alone))


def test_a_fused_decode_step_gives_the_same_as_its_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _load("int8")
    image = torch.randn(729, model.config.text.dim)

    def decode() -> Tensor:
        cache = model.new_kv_cache(800)
        model.prefill_image(image, cache, lambda progress: None)
        model.decode([5], [cache])
        return model.decode([6], [cache])

    fused = decode()
    for block in model.text.blocks:
        assert isinstance(block, TextBlock)
        assert isinstance(block.fused, Int8ParallelBlock)
        monkeypatch.setattr(block, "fused", None)
    assert _error(fused, decode()) < 0.01
