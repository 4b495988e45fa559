"""Whisper in int8: quantized linear layers and token embedding, and decoding with an int8 KV cache."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from whisper import Whisper
from whisper.decoding import Inference
from whisper.model import ModelDimensions, MultiHeadAttention, TextDecoder

from deployments.inference.int8_full_attention import int8_full_attention
from deployments.inference.int8_layers import Int8Embedding, Int8FeedForward, Int8Linear
from deployments.inference.int8_matmul import VnniMatmul, choose_matmul
from deployments.inference.kv_cache import Int8Cache
from deployments.inference.quantization import quantize_per_channel, smooth
from deployments.settings import KernelChoice


class Int8TextDecoder(TextDecoder):  # type: ignore[misc]
    """The package's decoder with a quantized token embedding."""

    lm_head: Int8Linear
    """Turns the last hidden states into logits; shares its weights with the token embedding."""

    def forward(self, x: Tensor, xa: Tensor, kv_cache: Mapping[nn.Module, Tensor] | None = None) -> Tensor:
        """Return logits, shape (batch, length, n_vocab), for token ids `x`, shape (batch, length).

        `xa` are the audio features, shape (batch, n_audio_ctx, n_audio_state).
        """
        offset = next(iter(kv_cache.values())).shape[1] if kv_cache else 0
        x = self.token_embedding(x) + self.positional_embedding[offset : offset + x.shape[-1]]
        for block in self.blocks:
            x = block(x, xa, mask=self.mask, kv_cache=kv_cache)
        logits: Tensor = self.lm_head(self.ln(x))
        return logits


class _Int8FullAttention(MultiHeadAttention):  # type: ignore[misc]
    """The encoder's attention, in integer arithmetic."""

    def qkv_attention(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, None]:
        """Take and return shape (1, length, n_state)."""
        [queries], [keys], [values] = (x.view(*x.shape[:2], self.n_head, -1) for x in (q, k, v))
        return int8_full_attention(queries, keys, values).flatten(1)[None], None


def quantize(model: Whisper, kernel: KernelChoice) -> None:
    """Quantize the model's linear layers and its token embedding to int8, in place.

    GELU becomes its tanh form, and with our own kernels attention in the encoder is computed in integers.
    """
    matmul = choose_matmul(kernel, torch.cpu.get_capabilities())

    def int8_linear(weight: Tensor, scales: Tensor, bias: Tensor | None) -> Int8Linear:
        return Int8Linear(weight, scales, torch.zeros(len(weight)) if bias is None else bias.float(), matmul)

    def quantize_linears(parent: nn.Module, names: Sequence[str], norm: nn.LayerNorm | None = None) -> None:
        """Quantize layers of `parent`, which get the outputs of `norm`, if there is one."""
        linears: list[Any] = [parent.get_submodule(name) for name in names]
        factors = None if norm is None else smooth(norm, [linear.weight.detach() for linear in linears])
        for name, linear in zip(names, linears, strict=True):
            setattr(parent, name, int8_linear(*quantize_per_channel(linear.weight.detach(), factors), linear.bias))

    for block in (*model.encoder.blocks, *model.decoder.blocks):
        quantize_linears(block.attn, ["query", "key", "value"], block.attn_ln)
        quantize_linears(block.attn, ["out"])
        if block.cross_attn is not None:
            quantize_linears(block.cross_attn, ["query"], block.cross_attn_ln)
            quantize_linears(block.cross_attn, ["key", "value", "out"])
        quantize_linears(block.mlp, ["0"], block.mlp_ln)
        quantize_linears(block.mlp, ["2"])
        block.mlp = Int8FeedForward(block.mlp[0], block.mlp[2])
    if isinstance(matmul, VnniMatmul):
        for block in model.encoder.blocks:
            block.attn.__class__ = _Int8FullAttention
    weight, scales = quantize_per_channel(model.decoder.token_embedding.weight.detach())
    model.decoder.__class__ = Int8TextDecoder
    model.decoder.token_embedding = Int8Embedding(weight, scales)
    model.decoder.lm_head = int8_linear(weight, scales, None)


def cross_attn_cache(
    decoder: Int8TextDecoder, dims: ModelDimensions, features: Tensor, check: Callable[[], None]
) -> Int8Cache:
    """Return the cross-attention keys and values of one window, for all layers.

    `features` are its audio features, shape (n_audio_ctx, n_audio_state). `check` is called before each layer.
    """
    cache = _empty_cache(dims, len(features))
    for layer, block in enumerate(decoder.blocks):
        check()
        cross = block.cross_attn
        keys, values = (
            project(features).view(len(features), dims.n_text_head, -1) for project in (cross.key, cross.value)
        )
        cache.write(layer, keys, values)
    cache.length = len(features)
    return cache


def _empty_cache(dims: ModelDimensions, capacity: int) -> Int8Cache:
    return Int8Cache((dims.n_text_layer, dims.n_text_head, capacity, dims.n_text_state // dims.n_text_head))


class Int8Inference(Inference):  # type: ignore[misc]
    """Decode steps with int8 KV caches for one batch of windows, as `whisper.decoding.DecodingTask` calls them.

    Each sequence has a self-attention cache. The sequences of one window (several in beam search) share its
    cross-attention cache, which is computed once.
    """

    def __init__(
        self,
        model: Whisper,
        check: Callable[[], None],
        first_logits: int = 0,
        cross_attn_caches: Sequence[Int8Cache] | None = None,
    ) -> None:
        """Take a quantized model; `check` is called before each layer, and what it raises ends the work.

        The first call of `logits` computes none for so many tokens: those of a prompt would take 47 MB a window.
        `cross_attn_caches` are those of the windows, from `cross_attn_cache`; without them they are computed.
        """
        self._first_logits = first_logits
        self._known_cross_attn_caches = cross_attn_caches
        self._decoder = model.decoder
        self._dims = model.dims
        self._check = check
        self._self_attn_caches: list[Int8Cache] = []
        """One for each sequence."""
        self._cross_attn_caches: Sequence[Int8Cache] = []
        """One for each window."""

    def logits(self, tokens: Tensor, audio_features: Tensor) -> Tensor:
        """Return logits, shape (num_sequences, num_new, n_vocab), for the tokens that are not yet in the KV cache.

        `tokens` has shape (num_sequences, length). `audio_features` are those of the windows, shape (num_windows,
        n_audio_ctx, n_audio_state). The first `first_logits` tokens have no logits.
        """
        if not self._self_attn_caches:
            self._cross_attn_caches = self._known_cross_attn_caches or [
                cross_attn_cache(self._decoder, self._dims, features, self._check) for features in audio_features
            ]
            self._self_attn_caches = [_empty_cache(self._dims, self._dims.n_text_ctx) for _ in tokens]
        num_cached = self._self_attn_caches[0].length
        logits = []
        for i in range(num_cached, tokens.shape[1]):
            x = self._decode_step(tokens[:, i])
            if i >= self._first_logits:
                logits.append(self._decoder.lm_head(self._decoder.ln(x)))
        return torch.stack(logits, dim=1)

    def rearrange_kv_cache(self, source_indices: Sequence[int]) -> None:
        """Replace the tokens cached for each sequence i by those of sequence `source_indices[i]`."""
        sources = [self._self_attn_caches[index] for index in source_indices]
        in_use: set[int] = set()
        for i, source in enumerate(sources):
            sources[i] = source.copy() if id(source) in in_use else source
            in_use.add(id(source))
        self._self_attn_caches = sources

    def keep_windows(self, windows: Sequence[int]) -> None:
        """Forget the sequences of all windows but these; windows are counted anew from 0."""
        size = len(self._self_attn_caches) // len(self._cross_attn_caches)
        self._cross_attn_caches = [self._cross_attn_caches[window] for window in windows]
        self._self_attn_caches = [self._self_attn_caches[window * size + i] for window in windows for i in range(size)]

    def cleanup_caching(self) -> None:
        self._self_attn_caches, self._cross_attn_caches = [], []

    def _split_heads(self, x: Tensor) -> Tensor:
        """Return shape (n, n_text_head, head_dim) for shape (n, n_text_state)."""
        return x.view(len(x), self._dims.n_text_head, -1)

    def _decode_step(self, ids: Tensor) -> Tensor:
        """Append one token to each sequence; return the last block's output, shape (num_sequences, n_text_state)."""
        decoder = self._decoder
        x: Tensor = decoder.token_embedding(ids) + decoder.positional_embedding[self._self_attn_caches[0].length]
        for layer, block in enumerate(decoder.blocks):
            self._check()
            attn, cross = block.attn, block.cross_attn
            normed = block.attn_ln(x)
            query, key, value = (self._split_heads(project(normed)) for project in (attn.query, attn.key, attn.value))
            attn_out = Int8Cache.append_and_attend(self._self_attn_caches, layer, query, key, value, rotation=None)
            x = x + attn.out(attn_out.flatten(1))
            x = x + cross.out(self._cross_attend(layer, cross.query(block.cross_attn_ln(x))))
            x = x + block.mlp(block.mlp_ln(x))
        for cache in self._self_attn_caches:
            cache.length += 1
        return x

    def _cross_attend(self, layer: int, query: Tensor) -> Tensor:
        """Return the attention of each sequence to its window; takes and returns shape (num_sequences, n_text_state).

        The sequences of a window are as many queries to each of its heads, so that its keys are read once for all.
        """
        num_windows, num_heads = len(self._cross_attn_caches), self._dims.n_text_head
        by_head = query.view(num_windows, -1, num_heads, query.shape[1] // num_heads).transpose(1, 2)
        attn_out = Int8Cache.attend(self._cross_attn_caches, layer, by_head.flatten(1, 2))
        return attn_out.view(by_head.shape).transpose(1, 2).reshape(query.shape)
