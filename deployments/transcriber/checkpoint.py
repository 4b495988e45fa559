"""Reads openai-whisper checkpoints tensor by tensor, so that the model is never in memory twice."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
import whisper
from torch import nn
from whisper import Whisper
from whisper.model import AudioEncoder, ModelDimensions, ResidualAttentionBlock, TextDecoder

from deployments.settings import KernelChoice
from deployments.transcriber.int8 import quantize
from deployments.transcriber.settings import WhisperPrecision

_OFFICIAL_MODELS = {
    # (n_mels, n_text_layer, n_text_state, n_text_head)
    (80, 4, 384, 6): "tiny",
    (80, 6, 512, 8): "base",
    (80, 12, 768, 12): "small",
    (80, 24, 1024, 16): "medium",
    (128, 32, 1280, 20): "large-v3",
    (128, 4, 1280, 20): "large-v3-turbo",
}
"""OpenAI's models by number of mel bands and dimensions of the decoder (Radford et al. 2022, table 1; model cards of
large-v3 and turbo). large-v1 and large-v2 are missing: their dimensions are equal, but their alignment heads differ."""


def load_whisper(path: Path, precision: WhisperPrecision, kernel: KernelChoice = "auto") -> Whisper:
    """Return the model of a `.pt` file, ready for inference: as `whisper.load_model`, but in the given precision.

    Word timestamps come from the cross-attention of a few alignment heads. OpenAI chose them for each official model,
    and fine-tuning keeps them, so a checkpoint with the dimensions of an official model gets its heads, whatever the
    file is called. Any other checkpoint uses all heads in the second half of the decoder's layers, as in
    `whisper.load_model(path)`.

    `kernel` is for int8 only. Raises ModelNotLoaded if this CPU lacks it, and what `torch.load` and `load_state_dict`
    raise for a file that is not an openai-whisper checkpoint.
    """
    # With mmap, tensors are read from disk as they are converted. Only files from before torch 1.6 cannot be mapped.
    checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    model = _EmptyWhisper(ModelDimensions(**checkpoint["dims"]))
    model.load_state_dict(checkpoint["model_state_dict"], assign=True)
    official_name = official_model_name(model.dims)
    if official_name is not None:
        model.set_alignment_heads(whisper._ALIGNMENT_HEADS[official_name])
    if precision == "int8":
        quantize(model, kernel)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(torch.float32, copy=True)
    return model.eval()


def official_model_name(dims: ModelDimensions) -> str | None:
    """Return the name of the official model with these dimensions, such as "base" or "base.en", or None.

    The dimensions of the encoder are not compared.
    """
    name = _OFFICIAL_MODELS.get((dims.n_mels, dims.n_text_layer, dims.n_text_state, dims.n_text_head))
    is_multilingual = dims.n_vocab >= 51865  # as in `Whisper.is_multilingual`
    if name is None or is_multilingual:
        return name
    return f"{name}.en" if f"{name}.en" in whisper._ALIGNMENT_HEADS else None


class _EmptyWhisper(Whisper):  # type: ignore[misc]
    """A Whisper whose blocks and token embedding take no memory until a state dict is assigned."""

    def __init__(self, dims: ModelDimensions) -> None:
        nn.Module.__init__(self)
        self.dims = dims
        encoder_size, decoder_size = (dims.n_audio_state, dims.n_audio_head), (dims.n_text_state, dims.n_text_head)
        self.encoder = AudioEncoder(dims.n_mels, dims.n_audio_ctx, *encoder_size, n_layer=0)
        self.decoder = TextDecoder(1, dims.n_text_ctx, *decoder_size, n_layer=0)
        with torch.device("meta"):
            self.encoder.blocks = _repeat(dims.n_audio_layer, lambda: ResidualAttentionBlock(*encoder_size))
            self.decoder.blocks = _repeat(
                dims.n_text_layer, lambda: ResidualAttentionBlock(*decoder_size, cross_attention=True)
            )
            # nn.Embedding(...) would draw random numbers, for which torch imports 150 MB of Python on the meta device.
            empty = torch.empty(dims.n_vocab, dims.n_text_state)
            self.decoder.token_embedding = nn.Embedding.from_pretrained(empty, freeze=False)  # type: ignore[no-untyped-call]
        # Not part of the state dict; the default of `Whisper.__init__`.
        heads = torch.zeros(dims.n_text_layer, dims.n_text_head, dtype=torch.bool)
        heads[dims.n_text_layer // 2 :] = True
        self.register_buffer("alignment_heads", heads.to_sparse(), persistent=False)


def _repeat(count: int, make: Callable[[], nn.Module]) -> nn.ModuleList:
    return nn.ModuleList(make() for _ in range(count))
