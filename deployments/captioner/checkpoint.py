"""Checkpoints in the hub's key layout (safetensors, prefix `model.`), loaded one tensor at a time."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from deployments.captioner.architecture import MoondreamConfig, read_config
from deployments.captioner.moondream import FeedForward, Moondream, TextBlock
from deployments.captioner.safetensors_writer import SafetensorsWriter
from deployments.commands import RESTORE_ADVICE
from deployments.errors import ModelNotLoaded
from deployments.inference.int8_layers import Int8Embedding, Int8FeedForward, Int8Linear, Int8ParallelBlock
from deployments.inference.int8_matmul import Int8Kernel, choose_kernel
from deployments.inference.quantization import quantize_per_channel
from deployments.log import logger
from deployments.model_loader import ReportProgress
from deployments.settings import KernelChoice

Precision = Literal["int8", "fp32", "bf16"]

DTYPES = {"int8": torch.float32, "fp32": torch.float32, "bf16": torch.bfloat16}
"""Of activations, and of the weights that are not rounded to int8."""
STORED_DTYPES = "F16 BF16 F32"
IGNORED_PREFIX = "model.region."
"""The heads that detect and point, which nothing here asks for."""
SCALES = "_scales"
"""What the key of rounded weights has more where their scales are stored."""
KEPT_WHOLE = "vision.patch_emb"
"""Its inputs are pixels, and it is 1/3000 of all weights: rounding it would save nothing."""


Shapes = dict[str, tuple[int, ...]]
"""Of a checkpoint's tensors, by their keys."""
Layout = dict[str, tuple[tuple[int, ...], str]]
"""Shape and type of a file's tensors; several types, with spaces between, where any will do."""
Read = Callable[[str], torch.Tensor]
"""Returns the tensor of a key."""


def load_moondream(
    config: Path | None,
    weights: Sequence[Path],
    precision: Precision,
    report: ReportProgress,
    keep_int8: Path | None = None,
    *,
    kernel: KernelChoice = "auto",
) -> Moondream:
    """Return the model on the CPU, ready to run, its weights in `precision` whatever precision they are stored in.

    Memory peaks at the model and one layer. With `keep_int8` and precision int8, what was rounded is written there for
    `load_int8`. Raises ModelNotLoaded when a file cannot be read, or its keys or shapes differ from what `config` asks
    for, naming the first that does; nothing is read before all of them are known to fit.
    """
    model = Moondream(read_config(config))
    files = _find_tensors({key: (shape, STORED_DTYPES) for key, shape in _shapes(model).items()}, weights)
    if keep_int8 is None:
        fill(model, lambda key: _read(files[key], key), precision, report, kernel=kernel)
    else:
        with SafetensorsWriter(keep_int8, _int8_layout(model)) as writer:
            fill(model, lambda key: _read(files[key], key), precision, report, writer.write, kernel=kernel)
    return model


def load_int8(config: Path | None, path: Path, report: ReportProgress, *, kernel: KernelChoice = "auto") -> Moondream:
    """Return the model whose rounded weights `load_moondream` has kept at `path`, in a fraction of its time.

    Raises ModelNotLoaded as that does.
    """
    model = Moondream(read_config(config))
    files = _find_tensors(_int8_layout(model), [path])
    fill(model, lambda key: _read(files[key], key), "int8", report, is_rounded=True, kernel=kernel)
    return model


def load_rounding_once(
    config: Path | None, weights: Sequence[Path], kept: Path, report: ReportProgress, *, kernel: KernelChoice = "auto"
) -> Moondream:
    """Return the model in int8, from what an earlier call has kept at `kept`, or from `weights`, then keeping it there.

    Where nothing can be kept the log says so. Raises ModelNotLoaded as `load_moondream` does.
    """
    # A kernel that this CPU lacks is no reason to quantize the weights again.
    choose_kernel(kernel, torch.cpu.get_capabilities())
    if kept.exists():
        try:
            return load_int8(config, kept, report, kernel=kernel)
        except ModelNotLoaded as error:
            logger.warning("Rounding the weights again: %s", error)
    try:
        return load_moondream(config, weights, "int8", report, keep_int8=kept, kernel=kernel)
    except OSError as error:
        logger.warning("The rounded weights cannot be kept, so each start will round them again: %s", error)
    # Not inside the except clause, where the error would hold on to the half-filled model.
    return load_moondream(config, weights, "int8", report, kernel=kernel)


def fill(
    model: Moondream,
    read: Read,
    precision: Precision,
    report: ReportProgress,
    keep: Callable[[str, torch.Tensor], None] = lambda key, tensor: None,
    *,
    is_rounded: bool = False,
    kernel: KernelChoice = "auto",
) -> None:
    """Give the model its weights in that precision, layer by layer, as `read` returns them.

    `keep` is called with every tensor of the int8 form, in order; `is_rounded` tells that `read` returns that form.
    """
    int8_kernel = choose_kernel(kernel, torch.cpu.get_capabilities()) if precision == "int8" else None
    if int8_kernel:
        logger.info("int8 kernel: %s", int8_kernel.name)
    num_tensors, num_read = len(_shapes(model)), 0
    for name, module in list(model.named_modules()):
        tensors = {}
        for kind, _ in module.named_parameters(recurse=False):
            if num_read % 50 == 0:
                report(f"reading weights, {num_read} of {num_tensors} tensors")
            key = _key(f"{name}.{kind}")
            tensors[key] = read(key)
            num_read += 1
        if int8_kernel and _is_rounded(name, module):
            key = _key(f"{name}.weight")
            if is_rounded:
                tensors[key], tensors[key + SCALES] = tensors[key].clone(), read(key + SCALES).clone()
            else:
                tensors[key], tensors[key + SCALES] = quantize_per_channel(tensors[key])
            if isinstance(module, nn.Embedding):
                layer: nn.Module = Int8Embedding(tensors[key], tensors[key + SCALES])
            else:
                bias = tensors[_key(f"{name}.bias")].float()
                layer = Int8Linear(tensors[key], tensors[key + SCALES], bias, int8_kernel)
            _replace(model, name, layer)
        else:
            for kind, _ in list(module.named_parameters(recurse=False)):
                # Copied out of the file's mapping.
                tensor = tensors[_key(f"{name}.{kind}")].to(DTYPES[precision], copy=True)
                setattr(module, kind, nn.Parameter(tensor, requires_grad=False))
        for key, tensor in tensors.items():
            keep(key, tensor)
    if int8_kernel:
        _join_rounded(model, int8_kernel)
    model.has_int8_caches = int8_kernel is not None
    model.eval()


def _join_rounded(model: Moondream, kernel: Int8Kernel) -> None:
    """Put what works faster at once in the place of layers that were rounded."""
    for name, module in list(model.named_modules()):
        if isinstance(module, FeedForward):
            assert isinstance(module.fc1, Int8Linear)
            assert isinstance(module.fc2, Int8Linear)
            _replace(model, name, Int8FeedForward(module.fc1, module.fc2))
    for block in model.text.blocks if kernel.max_small_batch else ():
        assert isinstance(block, TextBlock)
        attn, mlp = block.attn, block.mlp
        assert isinstance(attn.qkv, Int8Linear)
        assert isinstance(attn.proj, Int8Linear)
        assert isinstance(mlp, Int8FeedForward)
        block.step = Int8ParallelBlock(block.ln, attn.qkv, attn.proj, mlp, model.config.text.n_kv_heads)


def _replace(model: Moondream, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)


def _is_rounded(name: str, module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | nn.Embedding) and name != KEPT_WHOLE


def tensor_shapes(config: MoondreamConfig) -> dict[str, tuple[int, ...]]:
    """Return every tensor that a checkpoint of this configuration holds, by its key."""
    return _shapes(Moondream(config))


def stored_tensors(model: Moondream, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return what a checkpoint of `model` holds: the counterpart of `load_moondream`."""
    return {_key(name): parameter.detach().to(dtype) for name, parameter in model.named_parameters()}


def _shapes(model: Moondream) -> Shapes:
    return {_key(name): tuple(parameter.shape) for name, parameter in model.named_parameters()}


def _int8_layout(model: Moondream) -> Layout:
    """Return shape and type of what a file of rounded weights holds."""
    layout: Layout = {key: (shape, "F32") for key, shape in _shapes(model).items()}
    for name, module in model.named_modules():
        if _is_rounded(name, module):
            key = _key(f"{name}.weight")
            shape, _ = layout[key]
            layout[key], layout[key + SCALES] = (shape, "I8"), (shape[:1], "F32")
    return layout


def _key(name: str) -> str:
    """Return the checkpoint's key of a parameter."""
    return "model.text.wte" if name == "text.wte.weight" else f"model.{name}"


def _find_tensors(layout: Mapping[str, tuple[tuple[int, ...], str]], weights: Sequence[Path]) -> dict[str, Path]:
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
            raise ModelNotLoaded(f"{path} cannot be read as safetensors ({error}). {RESTORE_ADVICE}") from error
    for key, (expected, wanted) in layout.items():
        if key not in stored:
            raise _misfit(weights, f"tensor {key} is missing")
        shape, dtype = stored[key]
        if shape != expected:
            raise _misfit(weights, f"tensor {key} has shape {shape}, but the configuration asks for {expected}")
        if dtype not in wanted.split():
            raise _misfit(weights, f"tensor {key} is stored as {dtype}, which is none of {wanted}")
    for key in sorted(stored):
        if key not in layout and not key.startswith(IGNORED_PREFIX):
            raise _misfit(weights, f"tensor {key} is none of this architecture's")
    return files


def _misfit(weights: Sequence[Path], difference: str) -> ModelNotLoaded:
    names = ", ".join(str(path) for path in weights) or "The checkpoint, which has no weights file,"
    return ModelNotLoaded(
        f"{names} does not hold the model that config.json describes: {difference}. Set captioner.model to a "
        f"moondream2 checkpoint of revision 2025-06-21. {RESTORE_ADVICE}"
    )


def _read(path: Path, key: str) -> torch.Tensor:
    # Opened anew for each tensor: an open file keeps every page that was read from it mapped, which would make the
    # memory of loading twice the model's.
    with safe_open(path, framework="pt") as file:
        tensor: torch.Tensor = file.get_tensor(key)
        return tensor
