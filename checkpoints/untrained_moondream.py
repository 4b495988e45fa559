"""A small Moondream with random weights, in the hub's own format: every route runs, the words mean nothing.

Different pictures give different words, because the weights are large enough for the output to depend on the input, and
readable ones, because the biases of the output layer let only whole words through.
"""

import json
import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from deployments.captioner.architecture import MoondreamConfig
from deployments.captioner.checkpoint import tensor_shapes

TEXT = """A large red circle stands beside a small blue square on the left.
The picture shows a green triangle above a yellow star in the middle.
Two white lines cross a dark field near the bottom right corner.
There is nothing under the orange bridge and the grey house behind trees.
A person walks along the river while birds fly over the old town at night.
Many people wait for the next train in the early morning light.
A cup of tea and three round apples lie on the wooden table by the open window.
The dog looks at the camera with a happy face.
Its colour is purple, its shape is round and its place is far from the centre of this quiet scene."""
WORDS = re.findall(r"\w+", TEXT.lower())
"""What the model can say."""

SPECIAL_TOKENS = ["<|endoftext|>", *(f"<|special_{token}|>" for token in range(1, 10))]
WEIGHT_SCALE = 1.6
"""Standard deviation of a weight times the root of its inputs; from 1.5 on the answers differ between pictures."""
LAST_WORDS = ("scene", "night", "window")
"""An answer ends after one of these, which takes some tens of words, if it does not go round in circles."""
END_SCALE = 0.3
END_BIAS = -6.0
SILENCED_BIAS = -30.0


def write_moondream(folder: Path, seed: int) -> None:
    """Write `config.json`, `tokenizer.json` and `model.safetensors` (fp32, about 1 MB) into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _train_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    sizes = _sizes(tokenizer.get_vocab_size())
    (folder / "config.json").write_text(json.dumps({"model_type": "moondream1", "config": sizes}, indent=1))
    config = MoondreamConfig.model_validate(sizes)
    generator = torch.Generator().manual_seed(seed)
    tensors = {key: _random_tensor(key, shape, generator) for key, shape in tensor_shapes(config).items()}
    tensors["model.text.lm_head.bias"] = _output_bias(tokenizer)
    last_words = [_token(tokenizer, word) for word in LAST_WORDS]
    tensors["model.text.lm_head.weight"][0] = END_SCALE * tensors["model.text.wte"][last_words].sum(dim=0)
    save_file(tensors, folder / "model.safetensors")


def _train_tokenizer() -> Tokenizer:
    """Return a byte-level tokenizer, as moondream2's is, that knows each of WORDS as one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        min_frequency=1,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f" {word}" for word in WORDS], trainer)
    return tokenizer


def _sizes(vocab_size: int) -> dict[str, object]:
    text = {"dim": 64, "ff_dim": 128, "n_layers": 2, "n_heads": 2, "n_kv_heads": 2, "max_context": 2048}
    vision = {"enc_dim": 48, "enc_ff_dim": 96, "enc_n_layers": 3, "enc_n_heads": 3, "enc_patch_size": 14}
    crops = {"crop_size": 126, "overlap_margin": 2, "max_crops": 12, "in_channels": 3}
    projection = {"proj_inner_dim": 96, "proj_out_dim": 64}
    caption = {"short": [1, 20, 2, 21, 3], "normal": [1, 20, 2, 22, 3], "long": [1, 20, 2, 23, 3]}
    templates = {"caption": caption, "query": {"prefix": [1, 24, 2], "suffix": [3]}}
    return {
        "text": {**text, "vocab_size": vocab_size, "prefix_attn": 1 + (126 // 14) ** 2},
        "vision": {**vision, **crops, **projection},
        "tokenizer": {"bos_id": 0, "eos_id": 0, "answer_id": 3, "templates": templates},
    }


def _random_tensor(key: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    if key.endswith("bias"):
        return torch.zeros(shape)
    if ".ln" in key or "post_ln" in key:
        return torch.ones(shape)
    scale = {"model.text.wte": 1.0, "model.vision.pos_emb": 0.3}.get(key, WEIGHT_SCALE / shape[-1] ** 0.5)
    return torch.randn(shape, generator=generator) * scale


def _output_bias(tokenizer: Tokenizer) -> torch.Tensor:
    bias = torch.full((tokenizer.get_vocab_size(),), SILENCED_BIAS)
    for word in WORDS:
        bias[_token(tokenizer, word)] = 0.0
    bias[tokenizer.token_to_id(SPECIAL_TOKENS[0])] = END_BIAS
    return bias


def _token(tokenizer: Tokenizer, word: str) -> int:
    """Return the one token that `word` is inside a sentence."""
    [token] = tokenizer.encode(f" {word}").ids
    return int(token)
