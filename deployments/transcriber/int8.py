"""Whisper in int8: quantized linear layers, and decode steps with an int8 KV cache."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from whisper import Whisper
from whisper.decoding import Inference
from whisper.model import TextDecoder

from deployments.inference.int8_layers import Int8Embedding, Int8Linear
from deployments.inference.int8_matmul import choose_kernel
from deployments.inference.kv_cache import Int8Cache
from deployments.inference.quantization import quantize_per_channel
from deployments.settings import KernelChoice


class Int8TextDecoder(TextDecoder):  # type: ignore[misc]
    """openai-whisper's decoder with an int8 token embedding."""

    vocabulary: Int8Linear
    """Computes logits; shares its weights with the token embedding."""

    def forward(self, x: Tensor, xa: Tensor, kv_cache: Mapping[nn.Module, Tensor] | None = None) -> Tensor:
        """Return logits, shape (batch, length, vocabulary), for ids (batch, length) and features of their windows."""
        offset = next(iter(kv_cache.values())).shape[1] if kv_cache else 0
        x = self.token_embedding(x) + self.positional_embedding[offset : offset + x.shape[-1]]
        for block in self.blocks:
            x = block(x, xa, mask=self.mask, kv_cache=kv_cache)
        logits: Tensor = self.vocabulary(self.ln(x))
        return logits


def quantize_weights(model: Whisper, kernel: KernelChoice) -> None:
    """Replace the model's linear layers and its token embedding by int8 ones."""
    int8_kernel = choose_kernel(kernel, torch.cpu.get_capabilities())

    def int8_linear(weight: Tensor, scales: Tensor, bias: Tensor | None) -> Int8Linear:
        return Int8Linear(weight, scales, torch.zeros(len(weight)) if bias is None else bias.float(), int8_kernel)

    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, int8_linear(*quantize_per_channel(child.weight.detach()), child.bias))
    weight, scales = quantize_per_channel(model.decoder.token_embedding.weight.detach())
    model.decoder.__class__ = Int8TextDecoder
    model.decoder.token_embedding = Int8Embedding(weight, scales)
    model.decoder.vocabulary = int8_linear(weight, scales, None)


class Int8Inference(Inference):  # type: ignore[misc]
    """What `whisper.decoding.DecodingTask` asks of a decoder, for one batch of windows.

    The windows' keys and values are computed once. Rows are sequences, several of each window in beam search.
    """

    def __init__(self, model: Whisper, check: Callable[[], None]) -> None:
        self._decoder = model.decoder
        self._dims = model.dims
        self._check = check
        self._windows: list[Int8Cache] = []
        self._rows: list[Int8Cache] = []

    def logits(self, tokens: Tensor, audio_features: Tensor) -> Tensor:
        """Return the logits after each token that is new, shape (rows, new, vocabulary), for tokens (rows, length).

        `audio_features` are those of the windows, shape (num_windows, num_positions, width).
        """
        if not self._rows:
            rows_per_window = len(tokens) // len(audio_features)
            windows = [self._listened(features) for features in audio_features]
            self._windows = [window for window in windows for _ in range(rows_per_window)]
            self._rows = [self._cache(self._dims.n_text_ctx) for _ in tokens]
        done = self._rows[0].length
        return torch.stack([self._step(tokens[:, i]) for i in range(done, tokens.shape[1])], dim=1)

    def rearrange_kv_cache(self, source_indices: Sequence[int]) -> None:
        """Let row i go on from what row `source_indices[i]` has seen."""
        sources = [self._rows[index] for index in source_indices]
        taken: set[int] = set()
        for i, source in enumerate(sources):
            sources[i] = source.copy() if id(source) in taken else source
            taken.add(id(source))
        self._rows = sources

    def cleanup_caching(self) -> None:
        self._windows, self._rows = [], []

    def _cache(self, capacity: int) -> Int8Cache:
        dims = self._dims
        return Int8Cache((dims.n_text_layer, dims.n_text_head, capacity, dims.n_text_state // dims.n_text_head))

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(len(x), self._dims.n_text_head, -1)

    def _listened(self, features: Tensor) -> Int8Cache:
        """Return the keys and values that each layer makes of a window's features, shape (num_positions, width)."""
        cache = self._cache(len(features))
        for layer, block in enumerate(self._decoder.blocks):
            self._check()
            cross = block.cross_attn
            cache.write(layer, self._heads(cross.key(features)), self._heads(cross.value(features)))
        cache.length = len(features)
        return cache

    def _step(self, ids: Tensor) -> Tensor:
        """Append a token to each row and return the logits of the next, shape (rows, vocabulary)."""
        decoder = self._decoder
        x = decoder.token_embedding(ids) + decoder.positional_embedding[self._rows[0].length]
        for layer, block in enumerate(decoder.blocks):
            self._check()
            attn, cross = block.attn, block.cross_attn
            normed = block.attn_ln(x)
            query, key, value = (self._heads(project(normed)) for project in (attn.query, attn.key, attn.value))
            attn_out = Int8Cache.append_and_attend(self._rows, layer, query, key, value, rotation=None)
            x = x + attn.out(attn_out.flatten(1))
            query = self._heads(cross.query(block.cross_attn_ln(x)))
            x = x + cross.out(Int8Cache.attend(self._windows, layer, query).flatten(1))
            x = x + block.mlp(block.mlp_ln(x))
        for row in self._rows:
            row.length += 1
        y: Tensor = decoder.vocabulary(decoder.ln(x))
        return y
