"""Loads a Moondream checkpoint, one layer at a time, in the precision that is asked for."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from deployments.captioner.checkpoint import find_tensors, float_layout, parameter_shapes, read_tensor, tensor_key
from deployments.captioner.fusion import fuse_layers
from deployments.captioner.model_config import read_config
from deployments.captioner.moondream import Moondream
from deployments.captioner.quantization import SCALES_SUFFIX, int8_layout, int8_module, is_quantized
from deployments.captioner.safetensors_writer import SafetensorsWriter
from deployments.captioner.settings import MoondreamPrecision
from deployments.errors import ModelNotLoaded
from deployments.inference.int8_matmul import choose_matmul
from deployments.inference.quantization import quantize_per_channel
from deployments.log import logger
from deployments.model_loader import ReportProgress
from deployments.settings import KernelChoice

FLOAT_DTYPES = {"int8": torch.float32, "fp32": torch.float32, "bf16": torch.bfloat16}
"""Type of the activations, and of the weights that are not quantized, by precision."""


def load_moondream(
    config: Path | None,
    weights: Sequence[Path],
    precision: MoondreamPrecision,
    report: ReportProgress,
    save_int8_to: Path | None = None,
    kernel: KernelChoice = "auto",
) -> Moondream:
    """Return the model on the CPU, ready to run. The weights may be stored in fp32, fp16 or bf16.

    Peak memory is that of the model plus one layer. With precision int8 and `save_int8_to`, the quantized weights are
    also written to that file, for `load_int8`. Raises ModelNotLoaded if a file cannot be read, or if its keys or shapes
    differ from what `config` requires, naming the first difference; all are checked before any weight is read.
    """
    model = Moondream(read_config(config))
    files = find_tensors(float_layout(model), weights)
    if save_int8_to is None:
        load_weights(model, lambda key: read_tensor(files[key], key), precision, report, kernel=kernel)
    else:
        with SafetensorsWriter(save_int8_to, int8_layout(model)) as writer:
            load_weights(
                model, lambda key: read_tensor(files[key], key), precision, report, writer.write, kernel=kernel
            )
    return model


def load_int8(config: Path | None, path: Path, report: ReportProgress, kernel: KernelChoice = "auto") -> Moondream:
    """Return the model from the int8 copy that `load_moondream` saved at `path`, which is much faster.

    Raises ModelNotLoaded as `load_moondream` does.
    """
    model = Moondream(read_config(config))
    files = find_tensors(int8_layout(model), [path])
    load_weights(model, lambda key: read_tensor(files[key], key), "int8", report, is_int8_copy=True, kernel=kernel)
    return model


def load_or_quantize(
    config: Path | None,
    weights: Sequence[Path],
    int8_copy: Path,
    report: ReportProgress,
    kernel: KernelChoice = "auto",
) -> Moondream:
    """Return the model in int8: from `int8_copy` if that exists, else from `weights`, saving the copy for next time.

    If the copy is damaged it is written again; if it cannot be written, a warning is logged. Raises ModelNotLoaded as
    `load_moondream` does.
    """
    # First, because a kernel that this CPU lacks is no reason to quantize the weights again.
    choose_matmul(kernel, torch.cpu.get_capabilities())
    if int8_copy.exists():
        try:
            return load_int8(config, int8_copy, report, kernel)
        except ModelNotLoaded as error:
            logger.warning("Quantizing the weights again: %s", error)
    try:
        return load_moondream(config, weights, "int8", report, save_int8_to=int8_copy, kernel=kernel)
    except OSError as error:
        logger.warning("The int8 weights cannot be saved, so each start will quantize them again: %s", error)
    # Not inside the except clause: there, the error's traceback would keep the partly loaded model in memory.
    return load_moondream(config, weights, "int8", report, kernel=kernel)


def load_weights(
    model: Moondream,
    read: Callable[[str], Tensor],
    precision: MoondreamPrecision,
    report: ReportProgress,
    save: Callable[[str, Tensor], None] = lambda key, tensor: None,
    *,
    is_int8_copy: bool = False,
    kernel: KernelChoice = "auto",
) -> None:
    """Load the weights of all layers, one layer after the other, in the given precision.

    `read` returns the tensor of a key; with `is_int8_copy` it reads an int8 copy, so nothing is quantized. `save` is
    called with the key and value of every loaded tensor; in int8, those are what an int8 copy holds.
    """
    matmul = choose_matmul(kernel, torch.cpu.get_capabilities()) if precision == "int8" else None
    if matmul:
        logger.info("int8 kernel: %s", matmul.name)
    num_tensors, num_read = len(parameter_shapes(model)), 0
    for module_name, module in list(model.named_modules()):
        tensors: dict[str, Tensor] = {}
        keys = {name: tensor_key(f"{module_name}.{name}") for name, _ in module.named_parameters(recurse=False)}
        for key in keys.values():
            if num_read % 50 == 0:
                report(f"reading weights, {num_read} of {num_tensors} tensors")
            tensors[key] = read(key)
            num_read += 1
        if matmul and is_quantized(module_name, module):
            weight = keys["weight"]
            scales = weight + SCALES_SUFFIX
            if is_int8_copy:
                tensors[weight], tensors[scales] = tensors[weight].clone(), read(scales).clone()
            else:
                tensors[weight], tensors[scales] = quantize_per_channel(tensors[weight])
            bias = tensors[keys["bias"]] if "bias" in keys else None
            int8 = int8_module(module, tensors[weight], tensors[scales], bias, matmul)
            model.set_submodule(module_name, int8)
        else:
            for name, key in keys.items():
                # A copy, because the tensor that was read is mapped from the file.
                tensor = tensors[key].to(FLOAT_DTYPES[precision], copy=True)
                setattr(module, name, nn.Parameter(tensor, requires_grad=False))
        for key, tensor in tensors.items():
            save(key, tensor)
    if matmul:
        fuse_layers(model, matmul)
    model.uses_int8_kv_cache = matmul is not None
    model.eval()
