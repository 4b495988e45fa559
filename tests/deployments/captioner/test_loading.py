import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from deployments.captioner.generation import generate
from deployments.captioner.loading import load_int8, load_moondream, load_or_quantize
from deployments.captioner.moondream import Moondream
from deployments.captioner.settings import MoondreamPrecision
from deployments.errors import ModelNotLoaded
from deployments.inference.kv_cache import Int8Cache
from tests.deployments.captioner.checkpoints import random_tensors, shapes, write_checkpoint
from tests.deployments.captioner.loading import assert_equal_weights, load


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_any_stored_precision_loads_in_fp32_and_bf16(
    tmp_path: Path, stored: torch.dtype, precision: MoondreamPrecision
) -> None:
    tensors = {key: tensor.to(stored) for key, tensor in random_tensors().items()}
    loaded = load(write_checkpoint(tmp_path, tensors), precision)
    wanted = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    assert {parameter.dtype for parameter in loaded.parameters()} == {wanted}
    expected = tensors["model.text.wte"].to(wanted)
    torch.testing.assert_close(loaded.get_parameter("text.wte.weight").data, expected, rtol=0, atol=0)
    [answer] = generate(loaded, [5, 6], [loaded.new_kv_cache(10)], 3, lambda progress: None)
    assert len(answer.ids) == 3


def test_every_parameter_and_buffer_is_loaded(model: Moondream) -> None:
    assert not [name for name, value in [*model.named_parameters(), *model.named_buffers()] if value.is_meta]


def test_weights_are_copied_out_of_their_file(tmp_path: Path, model: Moondream) -> None:
    path = write_checkpoint(tmp_path) / "model.safetensors"
    loaded = load(tmp_path)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(bytes(path.stat().st_size // 2))
    assert_equal_weights(loaded, model)


def test_loading_reports_progress(small_checkpoint: Path) -> None:
    reports: list[str] = []
    load_moondream(small_checkpoint / "config.json", [small_checkpoint / "model.safetensors"], "fp32", reports.append)
    assert reports == [f"reading weights, {n} of {len(shapes())} tensors" for n in range(0, len(shapes()), 50)]


def test_the_int8_copy_is_saved_and_loads_to_the_same_model(small_checkpoint: Path, tmp_path: Path) -> None:
    config, int8_copy = small_checkpoint / "config.json", tmp_path / "new" / "int8.safetensors"
    fresh = load_moondream(
        config, [small_checkpoint / "model.safetensors"], "int8", _ignore_progress, save_int8_to=int8_copy
    )
    again = load_int8(config, int8_copy, _ignore_progress)
    assert int8_copy.stat().st_size < 0.4 * (small_checkpoint / "model.safetensors").stat().st_size
    assert sorted(int8_copy.parent.iterdir()) == [int8_copy.with_suffix(".lock"), int8_copy]
    logits = [model.prefill_prompt(range(40), model.new_kv_cache(50), _ignore_progress) for model in (fresh, again)]
    assert torch.equal(*logits)
    assert_equal_weights(again, fresh)
    save_file({"other": torch.zeros(1)}, int8_copy)
    with pytest.raises(ModelNotLoaded, match="tensor model.vision.pos_emb is missing"):
        load_int8(config, int8_copy, _ignore_progress)


def test_weights_are_quantized_once_and_again_if_the_int8_copy_is_damaged(
    small_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, weights, int8_copy = small_checkpoint / "config.json", tmp_path / "model.safetensors", tmp_path / "int8"
    shutil.copy(small_checkpoint / "model.safetensors", weights)
    load_or_quantize(config, [weights], int8_copy, _ignore_progress)
    weights.rename(tmp_path / "elsewhere")
    load_or_quantize(config, [weights], int8_copy, _ignore_progress)
    (tmp_path / "elsewhere").rename(weights)
    int8_copy.write_bytes(int8_copy.read_bytes()[:1000])
    with caplog.at_level("WARNING", "ray.serve"):
        load_or_quantize(config, [weights], int8_copy, _ignore_progress)
    assert "Quantizing the weights again" in caplog.text
    assert load_int8(config, int8_copy, _ignore_progress).dtype == torch.float32


def test_a_model_whose_int8_copy_cannot_be_saved_is_loaded_nevertheless(
    small_checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a_file, weights = small_checkpoint / "config.json", [small_checkpoint / "model.safetensors"]
    with caplog.at_level("WARNING", "ray.serve"):
        model = load_or_quantize(
            small_checkpoint / "config.json", weights, a_file / "int8.safetensors", _ignore_progress
        )
    assert isinstance(model.new_kv_cache(8), Int8Cache)
    assert "cannot be saved" in caplog.text


def test_a_load_that_fails_saves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_checkpoint(tmp_path / "model")
    int8_copy = tmp_path / "copies" / "int8.safetensors"

    def fail_midway(progress: str) -> None:
        if progress.startswith("reading weights, 50"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_moondream(
            folder / "config.json", [folder / "model.safetensors"], "int8", fail_midway, save_int8_to=int8_copy
        )
    assert list(int8_copy.parent.iterdir()) == [int8_copy.with_suffix(".lock")]


def _ignore_progress(progress: str) -> None:
    pass
