"""Moondream2: a SigLIP vision tower, a projection and a Phi decoder, for inference on a CPU.

Modules have the names of the checkpoint's keys. A model holds weights only: all that a request changes is in its
KeyValueCaches, so requests may run at once in several threads. The prefix of an image is read on its own, before the
prompt: what it leaves in a cache serves any prompt about that image.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from deployments.captioner.architecture import MoondreamConfig, TextConfig, VisionConfig
from deployments.captioner.preprocessing import ImageCrops
from deployments.inference.float_attention import attention
from deployments.inference.int8_layers import Int8ParallelBlock
from deployments.inference.kv_cache import FloatCache, Int8Cache, KeyValueCache
from deployments.inference.rotary import Rotary, Rotation, rotate

Check = Callable[[str], None]
"""Takes how far the work got and returns, or raises to end it: `Cancellation.check`."""

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Takes queries (..., n, num_heads, head_dim), keys and values (..., n, num_kv_heads, head_dim) of new positions, and
returns what the heads found, shaped as the queries."""

LAYER_NORM_EPS = 1e-5


class Attention(nn.Module):
    """The projections of an attention layer; what they are attended with depends on who calls."""

    def __init__(self, dim: int, num_heads: int, num_kv_heads: int) -> None:
        super().__init__()
        self._num_heads, self._num_kv_heads = num_heads, num_kv_heads
        self._head_dim = dim // num_heads
        self.qkv = nn.Linear(dim, (num_heads + 2 * num_kv_heads) * self._head_dim)
        self.proj = nn.Linear(dim, dim)

    def split(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, shape (..., n, heads, head_dim), of (..., n, dim)."""
        projected: Tensor = self.qkv(hidden)
        heads = projected.view(*hidden.shape[:-1], -1, self._head_dim)
        queries, keys, values = torch.split(heads, [self._num_heads, self._num_kv_heads, self._num_kv_heads], dim=-2)
        return queries, keys, values

    def forward(self, hidden: Tensor, attend: Attend) -> Tensor:
        found: Tensor = self.proj(attend(*self.split(hidden)).flatten(-2))
        return found


class FeedForward(nn.Module):
    def __init__(self, inputs: int, inner: int, outputs: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, inner)
        self.fc2 = nn.Linear(inner, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(functional.gelu(self.fc1(x), approximate="tanh"))
        return y


class VisionBlock(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(config.enc_dim, LAYER_NORM_EPS)
        self.attn = Attention(config.enc_dim, config.enc_n_heads, config.enc_n_heads)
        self.ln2 = nn.LayerNorm(config.enc_dim, LAYER_NORM_EPS)
        self.mlp = FeedForward(config.enc_dim, config.enc_ff_dim, config.enc_dim)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden + self.attn(self.ln1(hidden), attend_to_all)
        y: Tensor = hidden + self.mlp(self.ln2(hidden))
        return y


class Vision(nn.Module):
    """The vision tower, and the projection of its features to the language model's width."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self._grid, self._patch = config.grid, config.enc_patch_size
        self.patch_emb = nn.Linear(config.in_channels * config.enc_patch_size**2, config.enc_dim)
        self.pos_emb = nn.Parameter(torch.empty(1, config.grid**2, config.enc_dim))
        self.blocks = nn.ModuleList(VisionBlock(config) for _ in range(config.enc_n_layers))
        self.post_ln = nn.LayerNorm(config.enc_dim, LAYER_NORM_EPS)
        self.proj_mlp = FeedForward(2 * config.enc_dim, config.proj_inner_dim, config.proj_out_dim)

    def forward(self, crops: Tensor, check: Callable[[], None] = lambda: None) -> Tensor:
        """Return patch features, shape (n, grid * grid, dim), of crops, shape (n, 3, side, side)."""
        grid, patch = self._grid, self._patch
        patches = crops.reshape(len(crops), -1, grid, patch, grid, patch).permute(0, 2, 4, 1, 3, 5)
        hidden = self.patch_emb(patches.reshape(len(crops), grid**2, -1)) + self.pos_emb
        for block in self.blocks:
            check()
            hidden = block(hidden)
        features: Tensor = self.post_ln(hidden)
        return features


class TextBlock(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(config.dim, LAYER_NORM_EPS)
        self.attn = Attention(config.dim, config.n_heads, config.n_kv_heads)
        self.mlp = FeedForward(config.dim, config.ff_dim, config.dim)
        self.step: Int8ParallelBlock | None = None
        """What `decode` does in one call, for few sequences; None where the layers have nothing for few."""

    def forward(self, hidden: Tensor, attend: Attend) -> Tensor:
        normed = self.ln(hidden)
        y: Tensor = hidden + self.attn(normed, attend) + self.mlp(normed)
        return y

    def decode(self, hidden: Tensor, caches: Sequence[KeyValueCache], layer: int, rotation: Rotation) -> Tensor:
        """Return what the hidden states of one new position of each sequence, (num_sequences, dim), become."""
        if self.step and len(hidden) <= self.step.max_batch:
            return self.step(hidden, cast("Sequence[Int8Cache]", caches), layer, rotation)

        def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            return type(caches[0]).append_and_attend(caches, layer, queries, keys, values, rotation)

        return self.forward(hidden, attend)


class Text(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        # A fresh embedding would draw numbers, for which torch imports 150 MB of Python where no weights are yet.
        no_weights = torch.empty(config.vocab_size, config.dim)
        self.wte = nn.Embedding.from_pretrained(no_weights, freeze=False)  # type: ignore[no-untyped-call]
        self.blocks = nn.ModuleList(TextBlock(config) for _ in range(config.n_layers))
        self.post_ln = nn.LayerNorm(config.dim, LAYER_NORM_EPS)
        self.lm_head = nn.Linear(config.dim, config.vocab_size)


class Moondream(nn.Module):
    """The model without weights: its parameters are on the meta device until a checkpoint fills them."""

    def __init__(self, config: MoondreamConfig) -> None:
        super().__init__()
        self.config = config
        with torch.device("meta"):
            self.vision = Vision(config.vision)
            self.text = Text(config.text)
        self.rotary = Rotary(config.text.head_dim)
        self.has_int8_caches = False

    def new_cache(self, capacity: int) -> KeyValueCache:
        """Return an empty cache for a sequence of at most that many positions."""
        text = self.config.text
        shape = (text.n_layers, text.n_kv_heads, capacity, text.head_dim)
        return Int8Cache(shape) if self.has_int8_caches else FloatCache(shape, self.dtype)

    def cache_bytes(self, capacity: int) -> int:
        """Return the memory of such a cache."""
        with torch.device("meta"):
            return self.new_cache(capacity).nbytes

    @property
    def dtype(self) -> torch.dtype:
        """Of activations."""
        return self.text.post_ln.weight.dtype

    @torch.inference_mode()
    def encode_image(self, crops: ImageCrops, check: Check) -> Tensor:
        """Return image embeddings, shape (grid * grid, text dim)."""
        features = [
            self._encode_crop(crop, partial(check, f"{seen} of {len(crops.pixels)} views of the picture were encoded"))
            for seen, crop in enumerate(crops.pixels)
        ]
        whole = features[0]
        # A 1x1 tiling's only local crop is the whole picture, pixel for pixel.
        local = whole if crops.tiling == (1, 1) else self._pool(features[1:], crops.tiling)
        embeddings: Tensor = self.vision.proj_mlp(torch.cat([whole, local], dim=-1))
        return embeddings

    def _encode_crop(self, crop: NDArray[np.float32], check: Callable[[], None]) -> Tensor:
        features: Tensor = self.vision(torch.from_numpy(crop)[None].to(self.dtype), check)[0]
        return features

    def _pool(self, tiles: Sequence[Tensor], tiling: tuple[int, int]) -> Tensor:
        """Return the stitched local features averaged down to one crop's grid, shape (grid * grid, vision dim).

        A tile gives up its margin on the sides where it has a neighbour.
        """
        grid, margin = self.config.vision.grid, self.config.vision.overlap_margin
        rows, columns = tiling

        def own(position: int, count: int) -> slice:
            return slice(0 if position == 0 else margin, grid if position == count - 1 else grid - margin)

        maps = [tile.view(grid, grid, -1) for tile in tiles]
        stitched = torch.cat(
            [
                torch.cat([maps[i * columns + j][own(i, rows), own(j, columns)] for j in range(columns)], dim=1)
                for i in range(rows)
            ]
        )
        pooled = functional.adaptive_avg_pool2d(stitched.permute(2, 0, 1), grid)
        return pooled.permute(1, 2, 0).reshape(grid * grid, -1)

    @torch.inference_mode()
    def read_image(self, embeddings: Tensor, cache: KeyValueCache, check: Check) -> None:
        """Fill an empty cache with the prefix of an image: bos and its embeddings, which see each other both ways."""
        hidden = torch.cat([self.text.wte(self._bos), embeddings])
        rotation = self.rotary(torch.arange(len(hidden)))
        *lower, last = self.text.blocks
        assert isinstance(last, TextBlock)

        def attend(layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            keys = rotate(keys, rotation)
            cache.write(layer, keys, values)
            return attend_to_all(rotate(queries, rotation), keys, values)

        for layer, block in enumerate(lower):
            check("the picture was being read")
            hidden = block(hidden, partial(attend, layer))
        check("the picture was being read")
        # Of the last layer nothing but keys and values is ever looked at.
        _, keys, values = last.attn.split(last.ln(hidden))
        cache.write(len(lower), rotate(keys, rotation), values)
        cache.length = len(hidden)

    @torch.inference_mode()
    def read_prompt(self, ids: Sequence[int], cache: KeyValueCache, check: Check) -> Tensor:
        """Append a prompt to a cache, after bos where it is empty; return the logits of what follows, (vocab,)."""
        if cache.length == 0:
            ids = [self.config.tokenizer.bos_id, *ids]
        start, end = cache.length, cache.length + len(ids)
        rotation = self.rotary(torch.arange(start, end))
        mask = torch.ones(len(ids), end, dtype=torch.bool).tril(diagonal=start)

        def attend(layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            cache.write(layer, rotate(keys, rotation), values)
            queries = rotate(queries, rotation).transpose(0, 1)
            return attention(queries, *cache.read(layer, end), mask).transpose(0, 1)

        hidden = self.text.wte(torch.tensor(ids))
        for layer, block in enumerate(self.text.blocks):
            check("the prompt was being read")
            hidden = block(hidden, partial(attend, layer))
        cache.length = end
        return self._logits(hidden[-1])

    @torch.inference_mode()
    def decode(self, ids: Sequence[int], caches: Sequence[KeyValueCache]) -> Tensor:
        """Append one token to each sequence; return the logits of the next, shape (num_sequences, vocab).

        A sequence's logits do not depend on the others (in fp32 and bf16, but for the rounding of sums).
        """
        rotation = self.rotary(torch.tensor([cache.length for cache in caches]))
        hidden = self.text.wte(torch.tensor(ids))
        for layer, block in enumerate(self.text.blocks):
            assert isinstance(block, TextBlock)
            hidden = block.decode(hidden, caches, layer, rotation)
        for cache in caches:
            cache.length += 1
        return self._logits(hidden)

    @property
    def _bos(self) -> Tensor:
        return torch.tensor([self.config.tokenizer.bos_id])

    def _logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.text.lm_head(self.text.post_ln(hidden))
        return logits


def attend_to_all(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Let every position see every other: an Attend."""
    return attention(queries.transpose(-2, -3), keys.transpose(-2, -3), values.transpose(-2, -3)).transpose(-2, -3)
