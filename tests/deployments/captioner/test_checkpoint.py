import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from deployments.captioner.architecture import MoondreamConfig
from deployments.captioner.checkpoint import Precision, load_int8, load_moondream, load_rounding_once
from deployments.captioner.generation import generate
from deployments.captioner.moondream import Moondream
from deployments.errors import ModelNotLoaded
from deployments.inference.kv_cache import Int8Cache
from tests.deployments.captioner.checkpoints import SIZES, random_tensors, shapes, write_checkpoint

QKV = "model.text.blocks.1.attn.qkv.weight"


def _load(folder: Path, precision: Precision = "fp32") -> Moondream:
    weights = sorted(folder.glob("*.safetensors"))
    return load_moondream(folder / "config.json", weights, precision, report=lambda progress: None)


def _refusal(folder: Path) -> str:
    with pytest.raises(ModelNotLoaded) as error:
        _load(folder)
    return str(error.value)


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    tensors = random_tensors()
    del tensors[QKV]
    message = _refusal(write_checkpoint(tmp_path, tensors))
    assert f"tensor {QKV} is missing" in message
    assert "python -m deployments.weights fetch" in message


def test_of_several_missing_tensors_the_first_is_named(tmp_path: Path) -> None:
    tensors = random_tensors()
    del tensors[QKV], tensors["model.vision.patch_emb.bias"]
    assert "tensor model.vision.patch_emb.bias is missing" in _refusal(write_checkpoint(tmp_path, tensors))


def test_an_extra_tensor_is_named(tmp_path: Path) -> None:
    tensors = random_tensors() | {"model.text.blocks.2.ln.weight": torch.zeros(64)}
    message = _refusal(write_checkpoint(tmp_path, tensors))
    assert "tensor model.text.blocks.2.ln.weight is none of this architecture's" in message


def test_a_tensor_of_another_shape_is_named_with_both_shapes(tmp_path: Path) -> None:
    tensors = random_tensors() | {QKV: torch.zeros(64, 192)}
    message = _refusal(write_checkpoint(tmp_path, tensors))
    assert f"tensor {QKV} has shape (64, 192), but the configuration asks for (192, 64)" in message


def test_a_tensor_of_integers_is_refused(tmp_path: Path) -> None:
    tensors = random_tensors()
    tensors[QKV] = tensors[QKV].to(torch.int8)
    assert f"tensor {QKV} is stored as I8" in _refusal(write_checkpoint(tmp_path, tensors))


def test_no_weights_at_all_are_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert "no weights file" in _refusal(tmp_path)


def test_half_a_file_is_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "cannot be read as safetensors" in _refusal(tmp_path)


def test_heads_for_detection_are_ignored(tmp_path: Path) -> None:
    tensors = random_tensors() | {"model.region.coord_features": torch.zeros(1, 16)}
    assert _load(write_checkpoint(tmp_path, tensors)).dtype == torch.float32


def test_weights_may_be_split_over_files(tmp_path: Path, model: Moondream) -> None:
    tensors = random_tensors()
    write_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    for part in (0, 1):
        half = dict(sorted(tensors.items())[part::2])
        save_file(half, tmp_path / f"model-0000{part + 1}-of-00002.safetensors")
    _assert_equal_weights(_load(tmp_path), model)


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_any_stored_precision_loads_in_either(tmp_path: Path, stored: torch.dtype, precision: Precision) -> None:
    tensors = {key: tensor.to(stored) for key, tensor in random_tensors().items()}
    loaded = _load(write_checkpoint(tmp_path, tensors), precision)
    wanted = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    assert {parameter.dtype for parameter in loaded.parameters()} == {wanted}
    expected = tensors["model.text.wte"].to(wanted)
    torch.testing.assert_close(loaded.get_parameter("text.wte.weight").data, expected, rtol=0, atol=0)
    [answer] = generate(loaded, [5, 6], [loaded.new_cache(10)], 3, lambda progress: None)
    assert len(answer.ids) == 3


def test_nothing_is_left_unfilled(model: Moondream) -> None:
    assert not [name for name, value in [*model.named_parameters(), *model.named_buffers()] if value.is_meta]


def test_weights_do_not_hold_on_to_their_file(tmp_path: Path, model: Moondream) -> None:
    path = write_checkpoint(tmp_path) / "model.safetensors"
    loaded = _load(tmp_path)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(bytes(path.stat().st_size // 2))
    _assert_equal_weights(loaded, model)


def test_without_sizes_the_checkpoint_is_moondream2(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["HfMoondream"], "model_type": "moondream1"}))
    message = _refusal(write_weights(tmp_path))
    assert "tensor model.vision.pos_emb has shape (1, 36, 32), but the configuration asks for (1, 729, 1152)" in message


def test_the_default_model_has_the_parameters_of_moondream2() -> None:
    # 1.927 billion in all; the heads for detection, which are not loaded, are the rest.
    assert sum(parameter.numel() for parameter in Moondream(MoondreamConfig()).parameters()) == 1_866_919_792


@pytest.mark.parametrize(
    ("section", "key", "value", "complaint"),
    [
        ("text", "dim", "wide", "text.dim: Input should be a valid integer"),
        ("text", "n_heads", 5, "cannot divide text.dim by text.n_heads (64 by 5)"),
        ("text", "prefix_attn", 730, "text.prefix_attn is 730 but bos and patches are 37"),
        ("text", "vocab_size", 100, "an id of the prompt templates is not among the 100"),
        ("vision", "proj_out_dim", 32, "vision.proj_out_dim is 32 but text.dim is 64"),
        ("vision", "overlap_margin", 3, "vision.overlap_margin 3 leaves nothing of a crop"),
    ],
)
def test_sizes_that_do_not_fit_together_are_refused(
    section: str, key: str, value: object, complaint: str, tmp_path: Path
) -> None:
    sizes: dict[str, Any] = {**SIZES, section: {**SIZES[section], key: value}}
    (tmp_path / "config.json").write_text(json.dumps({"config": sizes}))
    message = _refusal(tmp_path)
    assert complaint in message
    assert str(tmp_path / "config.json") in message


def test_a_configuration_that_is_no_json_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[]")
    assert "cannot be read as a JSON object" in _refusal(tmp_path)


def test_loading_tells_how_far_it_got(small_checkpoint: Path) -> None:
    told: list[str] = []
    load_moondream(small_checkpoint / "config.json", [small_checkpoint / "model.safetensors"], "fp32", told.append)
    assert told == [f"reading weights, {n} of {len(shapes())} tensors" for n in range(0, len(shapes()), 50)]


def test_rounded_weights_are_kept_and_read_again(small_checkpoint: Path, tmp_path: Path) -> None:
    config, kept = small_checkpoint / "config.json", tmp_path / "new" / "int8.safetensors"
    fresh = load_moondream(config, [small_checkpoint / "model.safetensors"], "int8", _report, keep_int8=kept)
    again = load_int8(config, kept, _report)
    assert kept.stat().st_size < 0.4 * (small_checkpoint / "model.safetensors").stat().st_size
    assert sorted(kept.parent.iterdir()) == [kept.with_suffix(".lock"), kept]
    logits = [model.read_prompt(range(40), model.new_cache(50), _report) for model in (fresh, again)]
    assert torch.equal(*logits)
    _assert_equal_weights(again, fresh)
    save_file({"other": torch.zeros(1)}, kept)
    with pytest.raises(ModelNotLoaded, match="tensor model.vision.pos_emb is missing"):
        load_int8(config, kept, _report)


def test_weights_are_rounded_once_and_again_when_what_was_kept_is_damaged(
    small_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, weights, kept = small_checkpoint / "config.json", tmp_path / "model.safetensors", tmp_path / "int8"
    shutil.copy(small_checkpoint / "model.safetensors", weights)
    load_rounding_once(config, [weights], kept, _report)
    weights.rename(tmp_path / "elsewhere")
    load_rounding_once(config, [weights], kept, _report)
    (tmp_path / "elsewhere").rename(weights)
    kept.write_bytes(kept.read_bytes()[:1000])
    with caplog.at_level("WARNING", "ray.serve"):
        load_rounding_once(config, [weights], kept, _report)
    assert "Rounding the weights again" in caplog.text
    assert load_int8(config, kept, _report).dtype == torch.float32


def test_where_rounded_weights_cannot_be_kept_the_model_is_served_all_the_same(
    small_checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a_file, weights = small_checkpoint / "config.json", [small_checkpoint / "model.safetensors"]
    with caplog.at_level("WARNING", "ray.serve"):
        model = load_rounding_once(small_checkpoint / "config.json", weights, a_file / "int8.safetensors", _report)
    assert isinstance(model.new_cache(8), Int8Cache)
    assert "cannot be kept" in caplog.text


def test_a_load_that_fails_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_checkpoint(tmp_path / "model")
    kept = tmp_path / "kept" / "int8.safetensors"

    def fail_midway(progress: str) -> None:
        if progress.startswith("reading weights, 50"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_moondream(folder / "config.json", [folder / "model.safetensors"], "int8", fail_midway, keep_int8=kept)
    assert list(kept.parent.iterdir()) == [kept.with_suffix(".lock")]


def _report(progress: str) -> None:
    pass


def write_weights(folder: Path) -> Path:
    save_file(random_tensors(), folder / "model.safetensors")
    return folder


def _assert_equal_weights(actual: Moondream, expected: Moondream) -> None:
    def by_name(model: Moondream) -> dict[str, Tensor]:
        return {name: parameter.data for name, parameter in model.named_parameters()}

    torch.testing.assert_close(by_name(actual), by_name(expected), rtol=0, atol=0)
