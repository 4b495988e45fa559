"""CTranslate2, the engine of faster-whisper, running the weights of an openai-whisper model.

The package `ctranslate2` is not in requirements.txt; where it is not installed, the benchmark leaves this engine out.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from whisper import Whisper
from whisper.tokenizer import get_tokenizer

PACKAGE = "ctranslate2"
"""The import name."""


def convert(model: Whisper, folder: Path) -> None:
    """Write the model into `folder` in CTranslate2's format, in int8."""
    spec = _specification(model)
    spec.register_vocabulary(_vocabulary(model))
    tokenizer = get_tokenizer(model.is_multilingual, num_languages=model.num_languages)
    spec.config.alignment_heads = model.alignment_heads.indices().T.tolist()
    spec.config.lang_ids = list(tokenizer.all_language_tokens)
    spec.config.suppress_ids = list(tokenizer.non_speech_tokens)
    spec.config.suppress_ids_begin = [*tokenizer.encode(" "), tokenizer.eot]
    spec.validate()
    spec.optimize(quantization="int8")
    folder.mkdir(exist_ok=True)
    spec.save(str(folder))


def write_tokenizer(model: Whisper, folder: Path) -> None:
    """Write the model's vocabulary into `folder` as the `tokenizer.json` that faster-whisper reads.

    It is byte pair encoding with GPT-2's characters for bytes. A merge is the pair of tokens into which the merges of
    lower rank turn a token's bytes.
    """
    tokenizer = get_tokenizer(model.is_multilingual, num_languages=model.num_languages)
    ranks: dict[bytes, int] = tokenizer.encoding._mergeable_ranks
    names = {token: "".join(_BYTE_CHARACTERS[byte] for byte in token) for token in ranks}
    vocabulary = {names[token]: rank for token, rank in ranks.items()}
    pairs = [_merged_parts(token, ranks) for token in ranks if len(token) > 1]
    encoder = Tokenizer(models.BPE(vocabulary, [(names[first], names[second]) for first, second in pairs]))
    encoder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    encoder.decoder = decoders.ByteLevel()
    encoder.add_special_tokens(sorted(tokenizer.special_tokens, key=tokenizer.special_tokens.__getitem__))
    encoder.save(str(folder / "tokenizer.json"))


def _gpt2_byte_characters() -> list[str]:
    """Return a printable character for each byte: itself, or one from 256 on (`bytes_to_unicode` of GPT-2)."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte if byte in printable else 256 + others.index(byte)) for byte in range(256)]


_BYTE_CHARACTERS = _gpt2_byte_characters()


def _merged_parts(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """Return the two tokens that are merged into `token`."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        pairs = [ranks.get(first + second, len(ranks)) for first, second in pairwise(parts)]
        best = min(range(len(pairs)), key=pairs.__getitem__)
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    first, second = parts
    return first, second


class CTranslate2Engine:
    """A Whisper model in int8 by CTranslate2, on the CPU, with the end token suppressed."""

    def __init__(self, folder: Path, threads: int) -> None:
        """Load what `convert` has written into `folder`."""
        import ctranslate2

        tokenizer = get_tokenizer(True, language="en", task="transcribe")
        self._model = ctranslate2.models.Whisper(str(folder), compute_type="int8", intra_threads=threads)
        self._storage_view = ctranslate2.StorageView
        self._prompt = list(tokenizer.sot_sequence)
        self._suppressed_ids = [tokenizer.eot]

    def encode(self, mel: Tensor) -> Any:
        """Return the audio features of windows, shape (num_windows, num_mels, N_FRAMES), in CTranslate2's own type."""
        return self._model.encode(self._storage_view.from_array(np.ascontiguousarray(mel.numpy())))

    def decode(self, mel: Tensor, beam_size: int, num_tokens: int) -> list[list[int]]:
        """Decode the windows as one batch; return `num_tokens` token ids for each."""
        results = self._model.generate(
            self.encode(mel),
            [self._prompt] * len(mel),
            beam_size=beam_size,
            max_length=2 * num_tokens,  # CTranslate2 generates at most half of it.
            suppress_tokens=self._suppressed_ids,
            return_scores=True,
            return_no_speech_prob=True,
        )
        return [list(result.sequences_ids[0]) for result in results]


def _specification(model: Whisper) -> Any:
    from ctranslate2 import specs

    dims = model.dims
    spec = specs.WhisperSpec(dims.n_audio_layer, dims.n_audio_head, dims.n_text_layer, dims.n_text_head)
    encoder, decoder = model.encoder, model.decoder
    for name in ("conv1", "conv2"):
        convolution = getattr(encoder, name)
        _fill(getattr(spec.encoder, name), convolution.weight, convolution.bias)
    spec.encoder.position_encodings.encodings = _array(encoder.positional_embedding)
    spec.decoder.position_encodings.encodings = _array(decoder.positional_embedding)
    spec.decoder.embeddings.weight = _array(decoder.token_embedding.weight)
    spec.decoder.projection.weight = _array(decoder.token_embedding.weight)
    _fill_norm(spec.encoder.layer_norm, encoder.ln_post)
    _fill_norm(spec.decoder.layer_norm, decoder.ln)
    for part, part_spec in ((encoder, spec.encoder), (decoder, spec.decoder)):
        for block, layer in zip(part.blocks, part_spec.layer, strict=True):
            attn, self_spec = block.attn, layer.self_attention
            _fill_fused(self_spec.linear[0], attn.query, attn.key, attn.value)
            _fill(self_spec.linear[1], attn.out.weight, attn.out.bias)
            _fill_norm(self_spec.layer_norm, block.attn_ln)
            if block.cross_attn is not None:
                attn, cross_spec = block.cross_attn, layer.attention
                _fill_fused(cross_spec.linear[0], attn.query)
                _fill_fused(cross_spec.linear[1], attn.key, attn.value)
                _fill(cross_spec.linear[2], attn.out.weight, attn.out.bias)
                _fill_norm(cross_spec.layer_norm, block.cross_attn_ln)
            _fill(layer.ffn.linear_0, block.mlp[0].weight, block.mlp[0].bias)
            _fill(layer.ffn.linear_1, block.mlp[2].weight, block.mlp[2].bias)
            _fill_norm(layer.ffn.layer_norm, block.mlp_ln)
    return spec


def _vocabulary(model: Whisper) -> list[str]:
    """Return the special tokens, which CTranslate2 looks up by name, at their ids, and any name for the others.

    It takes a model for multilingual if there is an empty token, as there is in the vocabulary of those models.
    """
    special = get_tokenizer(model.is_multilingual, num_languages=model.num_languages).special_tokens
    names = {code: name for name, code in special.items()}
    if model.is_multilingual:
        names[special["<|endoftext|>"] - 1] = ""
    return [names.get(code, f"token {code}") for code in range(model.dims.n_vocab)]


def _fill(spec: Any, weight: Tensor, bias: Tensor) -> None:
    spec.weight, spec.bias = _array(weight), _array(bias)


def _fill_fused(spec: Any, *layers: nn.Linear) -> None:
    weights = tuple(layer.weight for layer in layers)
    biases = tuple(torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias for layer in layers)
    _fill(spec, torch.cat(weights), torch.cat(biases))


def _fill_norm(spec: Any, norm: nn.LayerNorm) -> None:
    spec.gamma, spec.beta = _array(norm.weight), _array(norm.bias)


def _array(tensor: Tensor) -> Any:
    return tensor.detach().float().numpy()
