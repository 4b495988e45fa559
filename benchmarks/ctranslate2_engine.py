"""CTranslate2, the engine of faster-whisper, running the weights of an openai-whisper model.

The package `ctranslate2` is not in requirements.txt: benchmarks leave this engine out where it is not installed.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from whisper import Whisper
from whisper.tokenizer import get_tokenizer

PACKAGE = "ctranslate2"


def convert(model: Whisper, folder: Path) -> None:
    """Write the model into `folder` in CTranslate2's format, in int8."""
    spec = _specification(model)
    spec.register_vocabulary(_vocabulary(model.dims.n_vocab))
    spec.validate()
    spec.optimize(quantization="int8")
    folder.mkdir(exist_ok=True)
    spec.save(str(folder))


class CTranslate2Engine:
    """A Whisper model in CTranslate2's int8, on the CPU, with the end token suppressed."""

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
            max_length=2 * num_tokens,  # CTranslate2 generates half as many
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


def _vocabulary(size: int) -> list[str]:
    special = {code: name for name, code in get_tokenizer(True).special_tokens.items()}
    return [special.get(code, f"token {code}") for code in range(size)]


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
