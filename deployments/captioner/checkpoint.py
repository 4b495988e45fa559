"""Checkpoints in the hub's key layout (safetensors, prefix `model.`), loaded one tensor at a time."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from deployments.captioner.architecture import MoondreamConfig, read_config
from deployments.captioner.moondream import Moondream
from deployments.commands import MEND
from deployments.errors import ModelNotLoaded
from deployments.model_slot import Report

Precision = Literal["fp32", "bf16"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
STORED_DTYPES = {"F16", "BF16", "F32"}
IGNORED_PREFIX = "model.region."
"""The heads that detect and point, which nothing here asks for."""


def load_moondream(config: Path | None, weights: Sequence[Path], precision: Precision, report: Report) -> Moondream:
    """Return the model on the CPU, ready to run, its weights in `precision` whatever precision they are stored in.

    Memory peaks at the model and one tensor. Raises ModelNotLoaded when a file cannot be read, or its keys or shapes
    differ from what `config` asks for, naming the first that does; nothing is read before all of them are known to fit.
    """
    model = Moondream(read_config(config))
    layout = _layout(model.config)
    files = _find_tensors(model, layout, weights)
    for number, (key, names) in enumerate(layout.items()):
        if number % 50 == 0:
            report(f"reading weights, {number} of {len(layout)} tensors")
        _fill(model, names, _read(files[key], key), DTYPES[precision])
    return model.eval()


def tensor_shapes(config: MoondreamConfig) -> dict[str, tuple[int, ...]]:
    """Return every tensor that a checkpoint of this configuration holds, by its key."""
    model = Moondream(config)
    return {key: _stored_shape(model, key, names) for key, names in _layout(config).items()}


def stored_tensors(model: Moondream, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return what a checkpoint of `model` holds: the counterpart of `load_moondream`."""
    tensors = {}
    for key, names in _layout(model.config).items():
        rows = torch.cat([model.get_parameter(name).detach() for name in names])
        tensors[key] = rows.reshape(_stored_shape(model, key, names)).to(dtype)
    return tensors


def _layout(config: MoondreamConfig) -> dict[str, tuple[str, ...]]:
    """Return, for each key of a checkpoint, the parameters that its rows hold, in order."""
    layout: dict[str, tuple[str, ...]] = {}

    def add(key: str, *modules: str) -> None:
        for kind in ("weight", "bias"):
            layout[f"model.{key}.{kind}"] = tuple(f"{module}.{kind}" for module in modules)

    add("vision.patch_emb", "vision.embeddings.patch_embedding")
    layout["model.vision.pos_emb"] = ("vision.embeddings.position_embedding.weight",)
    for n in range(config.vision.enc_n_layers):
        block, layer = f"vision.blocks.{n}", f"vision.encoder.layers.{n}"
        add(f"{block}.ln1", f"{layer}.layer_norm1")
        add(f"{block}.attn.qkv", *(f"{layer}.self_attn.{part}_proj" for part in "qkv"))
        add(f"{block}.attn.proj", f"{layer}.self_attn.out_proj")
        add(f"{block}.ln2", f"{layer}.layer_norm2")
        add(f"{block}.mlp.fc1", f"{layer}.mlp.fc1")
        add(f"{block}.mlp.fc2", f"{layer}.mlp.fc2")
    add("vision.post_ln", "vision.post_layernorm")
    add("vision.proj_mlp.fc1", "projection.fc1")
    add("vision.proj_mlp.fc2", "projection.fc2")
    layout["model.text.wte"] = ("text.embed_tokens.weight",)
    for n in range(config.text.n_layers):
        block, layer = f"text.blocks.{n}", f"text.layers.{n}"
        add(f"{block}.ln", f"{layer}.input_layernorm")
        add(f"{block}.attn.qkv", *(f"{layer}.self_attn.{part}_proj" for part in "qkv"))
        add(f"{block}.attn.proj", f"{layer}.self_attn.dense")
        add(f"{block}.mlp.fc1", f"{layer}.mlp.fc1")
        add(f"{block}.mlp.fc2", f"{layer}.mlp.fc2")
    add("text.post_ln", "text.final_layernorm")
    add("text.lm_head", "lm_head")
    return layout


def _stored_shape(model: Moondream, key: str, names: Iterable[str]) -> tuple[int, ...]:
    shapes = [tuple(model.get_parameter(name).shape) for name in names]
    if key == "model.vision.patch_emb.weight":  # the convolution's kernel, flattened channel by channel
        rows, *kernel = shapes[0]
        return (rows, torch.Size(kernel).numel())
    if key == "model.vision.pos_emb":
        return (1, *shapes[0])
    return (sum(shape[0] for shape in shapes), *shapes[0][1:])


def _find_tensors(model: Moondream, layout: dict[str, tuple[str, ...]], weights: Sequence[Path]) -> dict[str, Path]:
    """Return the file of each key, having checked every key, shape and type."""
    files: dict[str, Path] = {}
    stored: dict[str, tuple[tuple[int, ...], str]] = {}
    for path in weights:
        try:
            with safe_open(path, framework="pt") as file:
                for key in file.keys():
                    part = file.get_slice(key)
                    files[key], stored[key] = path, (tuple(part.get_shape()), str(part.get_dtype()))
        except (OSError, SafetensorError) as error:
            raise ModelNotLoaded(f"{path} cannot be read as safetensors ({error}). {MEND}") from error
    for key, names in layout.items():
        if key not in stored:
            raise _misfit(weights, f"tensor {key} is missing")
        shape, dtype = stored[key]
        expected = _stored_shape(model, key, names)
        if shape != expected:
            raise _misfit(weights, f"tensor {key} has shape {shape}, but the configuration asks for {expected}")
        if dtype not in STORED_DTYPES:
            raise _misfit(weights, f"tensor {key} is stored as {dtype}, which is none of F16, BF16 and F32")
    for key in sorted(stored):
        if key not in layout and not key.startswith(IGNORED_PREFIX):
            raise _misfit(weights, f"tensor {key} is none of this architecture's")
    return files


def _misfit(weights: Sequence[Path], difference: str) -> ModelNotLoaded:
    names = ", ".join(str(path) for path in weights) or "The checkpoint, which has no weights file,"
    return ModelNotLoaded(
        f"{names} does not hold the model that config.json describes: {difference}. Set captioner.model to a "
        f"moondream2 checkpoint of revision 2025-06-21. {MEND}"
    )


def _read(path: Path, key: str) -> torch.Tensor:
    # Opened anew for each tensor: an open file keeps every page that was read from it mapped, which would make the
    # memory of loading twice the model's.
    with safe_open(path, framework="pt") as file:
        tensor: torch.Tensor = file.get_tensor(key)
        return tensor


def _fill(model: Moondream, names: Sequence[str], tensor: torch.Tensor, dtype: torch.dtype) -> None:
    """Make the rows of `tensor` the named parameters, copied out of the file's mapping."""
    tensor = tensor.to(dtype, copy=True)
    shapes = [model.get_parameter(name).shape for name in names]
    rows = [shape[0] for shape in shapes]
    parts = torch.split(tensor.view(sum(rows), *shapes[0][1:]), rows)
    for name, part in zip(names, parts, strict=True):
        module, _, kind = name.rpartition(".")
        setattr(model.get_submodule(module), kind, nn.Parameter(part, requires_grad=False))
