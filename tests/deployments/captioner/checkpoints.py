"""A random Moondream checkpoint of a few thousand weights, and a tokenizer for it, in the hub's format."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from deployments.media import Pixels

EOS = 0
FIRST_MERGE = 10 + 256
"""First id of a merged token; the ids below are special tokens and single bytes."""
WEIGHT_SCALE = 4.0
"""Standard deviation of random weights times sqrt(inputs): large enough that answers depend on the image."""

SIZES: dict[str, Any] = {
    "text": {
        "dim": 64,
        "ff_dim": 128,
        "n_layers": 2,
        "vocab_size": 512,
        "max_context": 1280,
        "n_heads": 4,
        "n_kv_heads": 4,
        "prefix_attn": 37,
    },
    "vision": {
        "enc_dim": 32,
        "enc_patch_size": 7,
        "enc_n_layers": 3,
        "enc_ff_dim": 48,
        "enc_n_heads": 2,
        "proj_out_dim": 64,
        "crop_size": 42,
        "in_channels": 3,
        "max_crops": 6,
        "overlap_margin": 1,
        "proj_inner_dim": 40,
    },
    "tokenizer": {
        "bos_id": EOS,
        "eos_id": EOS,
        "answer_id": 3,
        "templates": {
            "caption": {"short": [1, 300, 2, 301, 3], "normal": [1, 300, 2, 302, 3], "long": [1, 300, 2, 303, 3]},
            "query": {"prefix": [1, 310, 2], "suffix": [3]},
        },
    },
}


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor in a checkpoint of SIZES, by the hub's keys."""
    text, vision = SIZES["text"], SIZES["vision"]
    text_dim, vision_dim = text["dim"], vision["enc_dim"]
    grid = vision["crop_size"] // vision["enc_patch_size"]
    shape_of: dict[str, tuple[int, ...]] = {
        "vision.pos_emb": (1, grid**2, vision_dim),
        "text.wte": (text["vocab_size"], text_dim),
    }

    def linear(key: str, outputs: int, inputs: int) -> None:
        shape_of[f"{key}.weight"], shape_of[f"{key}.bias"] = (outputs, inputs), (outputs,)

    def norm(key: str, size: int) -> None:
        shape_of[f"{key}.weight"] = shape_of[f"{key}.bias"] = (size,)

    def block(key: str, norms: tuple[str, ...], size: int, inner: int) -> None:
        for name in norms:
            norm(f"{key}.{name}", size)
        linear(f"{key}.attn.qkv", 3 * size, size)
        linear(f"{key}.attn.proj", size, size)
        linear(f"{key}.mlp.fc1", inner, size)
        linear(f"{key}.mlp.fc2", size, inner)

    linear("vision.patch_emb", vision_dim, 3 * vision["enc_patch_size"] ** 2)
    for n in range(vision["enc_n_layers"]):
        block(f"vision.blocks.{n}", ("ln1", "ln2"), vision_dim, vision["enc_ff_dim"])
    norm("vision.post_ln", vision_dim)
    linear("vision.proj_mlp.fc1", vision["proj_inner_dim"], 2 * vision_dim)
    linear("vision.proj_mlp.fc2", text_dim, vision["proj_inner_dim"])
    for n in range(text["n_layers"]):
        block(f"text.blocks.{n}", ("ln",), text_dim, text["ff_dim"])
    norm("text.post_ln", text_dim)
    linear("text.lm_head", text["vocab_size"], text_dim)
    return {f"model.{key}": shape for key, shape in shape_of.items()}


def random_tensors(*, eos_bias: float = -1000.0) -> dict[str, Tensor]:
    """Return weights whose answers depend on the image; with the default `eos_bias` no answer reaches eos.

    All other tokens of an answer are merged ones, so that its text is readable.
    """
    generator = torch.Generator().manual_seed(7)
    tensors = {}
    for key, shape in shapes().items():
        scale = 1.0 if len(shape) == 1 else WEIGHT_SCALE / shape[-1] ** 0.5
        tensors[key] = torch.randn(shape, generator=generator) * scale
    bias = tensors["model.text.lm_head.bias"]
    bias[:FIRST_MERGE] = -1000.0
    bias[EOS] = eos_bias
    return tensors


def colored_noise(seed: int, width: int = 40, height: int = 30) -> Pixels:
    """Return an image that differs from that of any other seed."""
    generator = np.random.default_rng(seed)
    color = generator.integers(0, 256, 3)
    return np.clip(color + generator.integers(-40, 41, (height, width, 3)), 0, 255).astype(np.uint8)


def write_checkpoint(folder: Path, tensors: dict[str, Tensor] | None = None) -> Path:
    """Write config.json, model.safetensors and tokenizer.json into `folder` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"config": SIZES}))
    save_file(tensors or random_tensors(), folder / "model.safetensors")
    write_tokenizer(folder / "tokenizer.json")
    return folder


def write_tokenizer(path: Path) -> None:
    """Write a byte-level BPE tokenizer of 512 tokens: ten special tokens, every byte, and merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<|endoftext|>", *(f"<|special_{n}|>" for n in range(1, 10))],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    corpus = Path(__file__).read_text(encoding="utf-8")  # any text will do
    tokenizer.train_from_iterator([corpus] * 2, trainer)
    assert tokenizer.get_vocab_size() == 512
    tokenizer.save(str(path))
