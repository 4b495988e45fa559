"""Reads openai-whisper's checkpoints, tensor by tensor: never is the whole model in memory twice."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from whisper import Whisper
from whisper.model import AudioEncoder, ModelDimensions, ResidualAttentionBlock, TextDecoder

from deployments.settings import KernelChoice
from deployments.transcriber.int8 import quantize_weights

Precision = Literal["int8", "fp32"]


def load_whisper(path: Path, precision: Precision, *, kernel: KernelChoice = "auto") -> Whisper:
    """Return the model of a `.pt` file, ready to be run: what `whisper.load_model(path)` returns, in that precision.

    `kernel` counts in int8 only. Raises ModelNotLoaded for a kernel that this CPU lacks, and what `torch.load` and
    `load_state_dict` raise for a file that is no such checkpoint.
    """
    # Mapped, tensors are read from the disk while they are converted; only the format before torch 1.6 cannot be.
    checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    model = _Unfilled(ModelDimensions(**checkpoint["dims"]))
    model.load_state_dict(checkpoint["model_state_dict"], assign=True)
    if precision == "int8":
        quantize_weights(model, kernel)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(torch.float32, copy=True)
    return model.eval()


class _Unfilled(Whisper):  # type: ignore[misc]
    """A model without memory for the weights that will be assigned to it."""

    def __init__(self, dims: ModelDimensions) -> None:
        nn.Module.__init__(self)
        self.dims = dims
        audio, text = (dims.n_audio_state, dims.n_audio_head), (dims.n_text_state, dims.n_text_head)
        self.encoder = AudioEncoder(dims.n_mels, dims.n_audio_ctx, *audio, n_layer=0)
        self.decoder = TextDecoder(1, dims.n_text_ctx, *text, n_layer=0)
        with torch.device("meta"):
            self.encoder.blocks = _repeat(dims.n_audio_layer, lambda: ResidualAttentionBlock(*audio))
            self.decoder.blocks = _repeat(
                dims.n_text_layer, lambda: ResidualAttentionBlock(*text, cross_attention=True)
            )
            # A fresh embedding would draw numbers, for which torch imports 150 MB of Python on this device.
            empty = torch.empty(dims.n_vocab, dims.n_text_state)
            self.decoder.token_embedding = nn.Embedding.from_pretrained(empty, freeze=False)  # type: ignore[no-untyped-call]
        # Not in checkpoints; as in the package's own class.
        heads = torch.zeros(dims.n_text_layer, dims.n_text_head, dtype=torch.bool)
        heads[dims.n_text_layer // 2 :] = True
        self.register_buffer("alignment_heads", heads.to_sparse(), persistent=False)


def _repeat(count: int, make: Callable[[], nn.Module]) -> nn.ModuleList:
    return nn.ModuleList(make() for _ in range(count))
