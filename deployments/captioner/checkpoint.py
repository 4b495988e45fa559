"""Validates and reads the tensors of a checkpoint in the hub's layout: safetensors, keys prefixed with `model.`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from deployments.captioner.model_config import MoondreamConfig
from deployments.captioner.moondream import Moondream
from deployments.commands import RESTORE_ADVICE
from deployments.errors import ModelNotLoaded

Shape = tuple[int, ...]
TensorLayout = dict[str, tuple[Shape, str]]
"""Shape and safetensors type of each tensor of a file, by key. Several accepted types are separated by spaces."""

STORED_DTYPES = "F16 BF16 F32"
IGNORED_PREFIX = "model.region."
"""The detection and pointing heads, which the captioner does not use."""


def tensor_key(parameter_name: str) -> str:
    """Return the checkpoint's key for a parameter of the model."""
    return "model.text.wte" if parameter_name == "text.wte.weight" else f"model.{parameter_name}"


def parameter_shapes(model: Moondream) -> dict[str, Shape]:
    """Return the shape of each parameter, by its checkpoint key."""
    return {tensor_key(name): tuple(parameter.shape) for name, parameter in model.named_parameters()}


def tensor_shapes(config: MoondreamConfig) -> dict[str, Shape]:
    """Return the shape of each tensor in a checkpoint of this configuration, by key."""
    return parameter_shapes(Moondream(config))


def stored_tensors(model: Moondream, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return the tensors of a checkpoint of `model`, by key: what `load_moondream` reads."""
    return {tensor_key(name): parameter.detach().to(dtype) for name, parameter in model.named_parameters()}


def float_layout(model: Moondream) -> TensorLayout:
    """Return the layout of a checkpoint that is not quantized."""
    return {key: (shape, STORED_DTYPES) for key, shape in parameter_shapes(model).items()}


def find_tensors(layout: Mapping[str, tuple[Shape, str]], weights: Sequence[Path]) -> dict[str, Path]:
    """Return which file holds each key.

    Raises ModelNotLoaded if a file cannot be read, or at the first key, shape or type that differs from `layout`.
    """
    files: dict[str, Path] = {}
    stored: dict[str, tuple[Shape, str]] = {}
    for path in weights:
        try:
            with safe_open(path, framework="pt") as file:
                for key in file.keys():
                    tensor = file.get_slice(key)
                    files[key], stored[key] = path, (tuple(tensor.get_shape()), str(tensor.get_dtype()))
        except (OSError, SafetensorError) as error:
            raise ModelNotLoaded(f"{path} cannot be read as safetensors ({error}). {RESTORE_ADVICE}") from error
    for key, (expected_shape, accepted_dtypes) in layout.items():
        if key not in stored:
            raise _mismatch(weights, f"tensor {key} is missing")
        shape, dtype = stored[key]
        if shape != expected_shape:
            raise _mismatch(weights, f"tensor {key} has shape {shape}, but the configuration requires {expected_shape}")
        if dtype not in accepted_dtypes.split():
            raise _mismatch(weights, f"tensor {key} has type {dtype} instead of {accepted_dtypes.replace(' ', ' or ')}")
    for key in sorted(stored):
        if key not in layout and not key.startswith(IGNORED_PREFIX):
            raise _mismatch(weights, f"tensor {key} is not part of this architecture")
    return files


def _mismatch(weights: Sequence[Path], difference: str) -> ModelNotLoaded:
    names = ", ".join(str(path) for path in weights) or "The checkpoint has no weights file and"
    return ModelNotLoaded(
        f"{names} does not match the model described by config.json: {difference}. Set captioner.model to a "
        f"moondream2 checkpoint of revision 2025-06-21. {RESTORE_ADVICE}"
    )


def read_tensor(path: Path, key: str) -> torch.Tensor:
    """Return one tensor, mapped from the file: copy it before the file may change."""
    # The file is opened for each tensor: an open file keeps every page that was read mapped, which would double the
    # memory of loading.
    with safe_open(path, framework="pt") as file:
        tensor: torch.Tensor = file.get_tensor(key)
        return tensor
