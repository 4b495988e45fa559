"""The configuration of moondream-mini, and its initial weights."""

import torch
from torch import Tensor, nn

from deployments.captioner.model_config import MoondreamConfig
from deployments.captioner.moondream import Moondream

GRID, PATCH = 9, 14
"""Patches along each side of a crop, and pixels along each side of a patch."""
SIDE = GRID * PATCH
"""In pixels. A crop has 81 patches, so an image takes 82 positions of the context instead of moondream2's 730."""
_VISION = {"enc_dim": 128, "enc_ff_dim": 512, "enc_n_layers": 4, "enc_n_heads": 4, "enc_patch_size": PATCH}
_CROPS = {"crop_size": SIDE, "overlap_margin": 2, "max_crops": 1, "in_channels": 3}
_TEXT = {"dim": 160, "ff_dim": 640, "n_layers": 4, "n_heads": 5, "n_kv_heads": 5, "max_context": 2048}

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|user|>",
    "<|task|>",
    "<|answer|>",
    "<|caption|>",
    "<|query|>",
    "<|short|>",
    "<|normal|>",
    "<|long|>",
)
"""The token ids are the indices in this tuple. As in moondream2, bos and eos are the same token."""


def model_config(vocab_size: int) -> dict[str, object]:
    """Return the value of `config` in `config.json`."""
    caption = {"short": [1, 4, 2, 6, 3], "normal": [1, 4, 2, 7, 3], "long": [1, 4, 2, 8, 3]}
    return {
        "text": {**_TEXT, "vocab_size": vocab_size, "prefix_attn": 1 + GRID**2},
        "vision": {**_VISION, **_CROPS, "proj_inner_dim": 320, "proj_out_dim": _TEXT["dim"]},
        "tokenizer": {
            "bos_id": 0,
            "eos_id": 0,
            "answer_id": 3,
            "templates": {"caption": caption, "query": {"prefix": [1, 5, 2], "suffix": [3]}},
        },
    }


def initialize_model(vocab_size: int, seed: int) -> Moondream:
    """Return a model with random fp32 weights."""
    model = Moondream(MoondreamConfig.model_validate(model_config(vocab_size)))
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(_initial_weights(module, name, parameter.shape, generator)))
    model.vision.pos_emb = nn.Parameter(_sinusoidal_embedding(GRID, model.config.vision.enc_dim)[None])
    return model


def _initial_weights(module: nn.Module, name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    if isinstance(module, nn.LayerNorm):
        return torch.ones(shape) if name == "weight" else torch.zeros(shape)
    if name == "bias":
        return torch.zeros(shape)
    inputs = shape[-1] if isinstance(module, nn.Embedding) else torch.Size(shape[1:]).numel()
    scale = 0.3 if isinstance(module, nn.Embedding) else inputs**-0.5
    return torch.randn(shape, generator=generator) * scale


def _sinusoidal_embedding(grid: int, dim: int) -> Tensor:
    """Return position embeddings made of sines and cosines of row and column, shape (grid * grid, dim).

    Neighbouring patches begin with similar embeddings, so that attention finds them: shapes span several patches.
    """
    frequencies = torch.linspace(0.15, 1.6, dim // 4)
    angles = torch.arange(grid)[:, None] * frequencies
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows, columns = line[:, None].expand(-1, grid, -1), line[None].expand(grid, -1, -1)
    return 0.5 * torch.cat([rows, columns], dim=2).reshape(grid * grid, dim)


def encode_crops(model: Moondream, crops: Tensor) -> Tensor:
    """Return the vision encoder's features, shape (n, grid * grid, enc_dim), of uint8 crops (n, side, side, 3)."""
    features: Tensor = model.vision(crops.permute(0, 3, 1, 2).float() / 127.5 - 1)
    return features
