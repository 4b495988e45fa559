import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from deployments.captioner.moondream import Moondream
from tests.deployments.captioner.checkpoints import random_tensors, write_checkpoint
from tests.deployments.captioner.loading import assert_equal_weights, load, loading_error

QKV = "model.text.blocks.1.attn.qkv.weight"


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    tensors = random_tensors()
    del tensors[QKV]
    message = loading_error(write_checkpoint(tmp_path, tensors))
    assert f"tensor {QKV} is missing" in message
    assert "prism weights fetch" in message


def test_of_several_missing_tensors_the_first_is_named(tmp_path: Path) -> None:
    tensors = random_tensors()
    del tensors[QKV], tensors["model.vision.patch_emb.bias"]
    assert "tensor model.vision.patch_emb.bias is missing" in loading_error(write_checkpoint(tmp_path, tensors))


def test_an_extra_tensor_is_named(tmp_path: Path) -> None:
    tensors = random_tensors() | {"model.text.blocks.2.ln.weight": torch.zeros(64)}
    message = loading_error(write_checkpoint(tmp_path, tensors))
    assert "tensor model.text.blocks.2.ln.weight is not part of this architecture" in message


def test_a_tensor_of_the_wrong_shape_is_named_with_both_shapes(tmp_path: Path) -> None:
    tensors = random_tensors() | {QKV: torch.zeros(64, 192)}
    message = loading_error(write_checkpoint(tmp_path, tensors))
    assert f"tensor {QKV} has shape (64, 192), but the configuration requires (192, 64)" in message


def test_a_tensor_of_integers_is_rejected(tmp_path: Path) -> None:
    tensors = random_tensors()
    tensors[QKV] = tensors[QKV].to(torch.int8)
    assert f"tensor {QKV} has type I8 instead of F16 or BF16 or F32" in loading_error(
        write_checkpoint(tmp_path, tensors)
    )


def test_a_checkpoint_without_weights_is_rejected(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert "no weights file" in loading_error(tmp_path)


def test_a_truncated_file_is_rejected(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "cannot be read as safetensors" in loading_error(tmp_path)


def test_detection_heads_are_ignored(tmp_path: Path) -> None:
    tensors = random_tensors() | {"model.region.coord_features": torch.zeros(1, 16)}
    assert load(write_checkpoint(tmp_path, tensors)).dtype == torch.float32


def test_weights_may_be_split_over_files(tmp_path: Path, model: Moondream) -> None:
    tensors = random_tensors()
    write_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    for part in (0, 1):
        half = dict(sorted(tensors.items())[part::2])
        save_file(half, tmp_path / f"model-0000{part + 1}-of-00002.safetensors")
    assert_equal_weights(load(tmp_path), model)


def test_without_sizes_the_checkpoint_is_moondream2(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["HfMoondream"], "model_type": "moondream1"}))
    message = loading_error(_write_weights(tmp_path))
    assert "tensor model.vision.pos_emb has shape (1, 36, 32), but the configuration requires (1, 729, 1152)" in message


def _write_weights(folder: Path) -> Path:
    save_file(random_tensors(), folder / "model.safetensors")
    return folder
