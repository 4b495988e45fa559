"""Replaces int8 layers of a model by fused ones, which do the work of several layers in one call."""

from deployments.captioner.moondream import FeedForward, Moondream, TextBlock
from deployments.inference.int8_layers import Int8FeedForward, Int8Linear, Int8ParallelBlock
from deployments.inference.int8_matmul import Int8Kernel


def fuse_layers(model: Moondream, kernel: Int8Kernel) -> None:
    """Fuse the feed-forward layers, and the text blocks' decode steps if `kernel` supports that."""
    for name, module in list(model.named_modules()):
        if isinstance(module, FeedForward):
            assert isinstance(module.fc1, Int8Linear)
            assert isinstance(module.fc2, Int8Linear)
            model.set_submodule(name, Int8FeedForward(module.fc1, module.fc2))
    for block in model.text.blocks if kernel.max_small_batch else ():
        assert isinstance(block, TextBlock)
        attn, mlp = block.attn, block.mlp
        assert isinstance(attn.qkv, Int8Linear)
        assert isinstance(attn.proj, Int8Linear)
        assert isinstance(mlp, Int8FeedForward)
        block.fused = Int8ParallelBlock(block.ln, attn.qkv, attn.proj, mlp, model.config.text.n_kv_heads)
