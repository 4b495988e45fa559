"""Which of Moondream's weights are quantized to int8, and how the int8 copy of a checkpoint stores them."""

from torch import Tensor, nn

from deployments.captioner.checkpoint import TensorLayout, parameter_shapes, tensor_key
from deployments.captioner.moondream import Moondream
from deployments.inference.int8_layers import Int8Embedding, Int8Linear
from deployments.inference.int8_matmul import Int8Kernel

SCALES_SUFFIX = "_scales"
"""The scales of a quantized weight are stored under the weight's key plus this suffix."""
UNQUANTIZED_LINEAR = "vision.patch_emb"
"""Its inputs are pixels, and it holds 1/3000 of all weights: quantizing it would save nothing."""


def is_quantized(name: str, module: nn.Module) -> bool:
    """Return whether a module of the model gets int8 weights."""
    return isinstance(module, nn.Linear | nn.Embedding) and name != UNQUANTIZED_LINEAR


def int8_layout(model: Moondream) -> TensorLayout:
    """Return the layout of an int8 copy."""
    layout: TensorLayout = {key: (shape, "F32") for key, shape in parameter_shapes(model).items()}
    for name, module in model.named_modules():
        if is_quantized(name, module):
            key = tensor_key(f"{name}.weight")
            shape, _ = layout[key]
            layout[key], layout[key + SCALES_SUFFIX] = (shape, "I8"), (shape[:1], "F32")
    return layout


def int8_module(
    module: nn.Module, weight: Tensor, scales: Tensor, bias: Tensor | None, kernel: Int8Kernel
) -> Int8Embedding | Int8Linear:
    """Return the int8 counterpart of an embedding or a linear layer, with these quantized weights."""
    if isinstance(module, nn.Embedding):
        return Int8Embedding(weight, scales)
    assert bias is not None
    return Int8Linear(weight, scales, bias.float(), kernel)
