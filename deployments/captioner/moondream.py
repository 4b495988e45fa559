"""Moondream2: a SigLIP vision tower, a projection and a Phi decoder, for inference on a CPU.

Modules are named after the checkpoint's keys. A model holds weights only. Everything that a request changes is in its
KV caches, so several threads may use one model at once. The prefix of an image (bos and the image embeddings) is
prefilled on its own, before the prompt: the resulting KV cache serves any prompt about that image.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from deployments.captioner.model_config import MoondreamConfig, TextConfig, VisionConfig
from deployments.captioner.preprocessing import ImageCrops
from deployments.inference.float_attention import attention
from deployments.inference.int8_layers import Int8ParallelBlock
from deployments.inference.kv_cache import FloatCache, Int8Cache, KeyValueCache
from deployments.inference.rotary import Rotary, Rotation, rotate

CheckCancelled = Callable[[str], None]
"""Called before every layer or decode step with the progress so far; raises to stop the work. `Cancellation.check` is
one."""

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Takes queries (..., n, num_heads, head_dim), keys and values (..., n, num_kv_heads, head_dim) of n new positions;
returns the attention output, in the shape of the queries."""

LAYER_NORM_EPS = 1e-5


class Attention(nn.Module):
    """The projections of an attention layer. The caller supplies the attention itself, with or without a KV cache."""

    def __init__(self, dim: int, num_heads: int, num_kv_heads: int) -> None:
        super().__init__()
        self._num_heads, self._num_kv_heads = num_heads, num_kv_heads
        self._head_dim = dim // num_heads
        self.qkv = nn.Linear(dim, (num_heads + 2 * num_kv_heads) * self._head_dim)
        self.proj = nn.Linear(dim, dim)

    def split(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project hidden states (..., n, dim) to queries, keys and values, each (..., n, heads, head_dim)."""
        projected: Tensor = self.qkv(hidden)
        heads = projected.view(*hidden.shape[:-1], -1, self._head_dim)
        queries, keys, values = torch.split(heads, [self._num_heads, self._num_kv_heads, self._num_kv_heads], dim=-2)
        return queries, keys, values

    def forward(self, hidden: Tensor, attend: Attend) -> Tensor:
        attn_out: Tensor = self.proj(attend(*self.split(hidden)).flatten(-2))
        return attn_out


class FeedForward(nn.Module):
    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, out_dim)

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
        hidden = hidden + self.attn(self.ln1(hidden), full_attention)
        y: Tensor = hidden + self.mlp(self.ln2(hidden))
        return y


class Vision(nn.Module):
    """The vision tower, and the projection of its features to the text model's dimension."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self._grid, self._patch = config.grid, config.enc_patch_size
        self.patch_emb = nn.Linear(config.in_channels * config.enc_patch_size**2, config.enc_dim)
        self.pos_emb = nn.Parameter(torch.empty(1, config.grid**2, config.enc_dim))
        self.blocks = nn.ModuleList(VisionBlock(config) for _ in range(config.enc_n_layers))
        self.post_ln = nn.LayerNorm(config.enc_dim, LAYER_NORM_EPS)
        self.proj_mlp = FeedForward(2 * config.enc_dim, config.proj_inner_dim, config.proj_out_dim)

    def forward(self, crops: Tensor, check_cancelled: Callable[[], None] = lambda: None) -> Tensor:
        """Return the patch features, shape (n, grid * grid, dim), of crops, shape (n, 3, side, side)."""
        grid, patch = self._grid, self._patch
        patches = crops.reshape(len(crops), -1, grid, patch, grid, patch).permute(0, 2, 4, 1, 3, 5)
        hidden = self.patch_emb(patches.reshape(len(crops), grid**2, -1)) + self.pos_emb
        for block in self.blocks:
            check_cancelled()
            hidden = block(hidden)
        features: Tensor = self.post_ln(hidden)
        return features


class TextBlock(nn.Module):
    """A Phi block: attention and feed-forward layer run in parallel, both on the normalized input."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(config.dim, LAYER_NORM_EPS)
        self.attn = Attention(config.dim, config.n_heads, config.n_kv_heads)
        self.mlp = FeedForward(config.dim, config.ff_dim, config.dim)
        self.fused: Int8ParallelBlock | None = None
        """The whole block as one compiled call, for decode steps of few sequences; None without such a kernel."""

    def forward(self, hidden: Tensor, attend: Attend) -> Tensor:
        normed = self.ln(hidden)
        y: Tensor = hidden + self.attn(normed, attend) + self.mlp(normed)
        return y

    def decode(self, hidden: Tensor, caches: Sequence[KeyValueCache], layer: int, rotation: Rotation) -> Tensor:
        """Run the block on one new position of each sequence: hidden states (num_sequences, dim) in and out."""
        if self.fused and len(hidden) <= self.fused.max_batch:
            return self.fused(hidden, cast("Sequence[Int8Cache]", caches), layer, rotation)

        def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            return type(caches[0]).append_and_attend(caches, layer, queries, keys, values, rotation)

        return self.forward(hidden, attend)


class Text(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        # nn.Embedding would initialize its weights; on the meta device torch imports 150 MB of Python for that.
        uninitialized = torch.empty(config.vocab_size, config.dim)
        self.wte = nn.Embedding.from_pretrained(uninitialized, freeze=False)  # type: ignore[no-untyped-call]
        self.blocks = nn.ModuleList(TextBlock(config) for _ in range(config.n_layers))
        self.post_ln = nn.LayerNorm(config.dim, LAYER_NORM_EPS)
        self.lm_head = nn.Linear(config.dim, config.vocab_size)


class Moondream(nn.Module):
    """The model. Its parameters are on the meta device until weights are loaded."""

    def __init__(self, config: MoondreamConfig) -> None:
        super().__init__()
        self.config = config
        with torch.device("meta"):
            self.vision = Vision(config.vision)
            self.text = Text(config.text)
        self.rotary = Rotary(config.text.head_dim)
        self.uses_int8_kv_cache = False

    def new_kv_cache(self, capacity: int) -> KeyValueCache:
        """Return an empty KV cache for a sequence of at most `capacity` positions."""
        text = self.config.text
        shape = (text.n_layers, text.n_kv_heads, capacity, text.head_dim)
        return Int8Cache(shape) if self.uses_int8_kv_cache else FloatCache(shape, self.dtype)

    def kv_cache_bytes(self, capacity: int) -> int:
        """Return how much memory such a KV cache takes."""
        with torch.device("meta"):
            return self.new_kv_cache(capacity).nbytes

    @property
    def dtype(self) -> torch.dtype:
        """Type of the activations."""
        return self.text.post_ln.weight.dtype

    def num_layers(self, num_crops: int) -> int:
        """Return how many layers an image of so many crops goes through before the first token, prompt included.

        `check_cancelled` is called before each. With no crops, the image's KV cache is there.
        """
        num_text_layers = len(self.text.blocks)
        image_layers = num_crops * len(self.vision.blocks) + num_text_layers if num_crops else 0
        return image_layers + num_text_layers

    @torch.inference_mode()
    def encode_image(self, crops: ImageCrops, check_cancelled: CheckCancelled) -> Tensor:
        """Return the image embeddings, shape (grid * grid, text dim)."""
        num_crops = len(crops.values)
        features = [
            self._encode_crop(crop, partial(check_cancelled, f"{n} of {num_crops} crops of the image were encoded"))
            for n, crop in enumerate(crops.values)
        ]
        global_features = features[0]
        # With a 1x1 tiling the only local crop would equal the global crop, pixel for pixel.
        local_features = global_features if crops.tiling == (1, 1) else self._pool(features[1:], crops.tiling)
        embeddings: Tensor = self.vision.proj_mlp(torch.cat([global_features, local_features], dim=-1))
        return embeddings

    def _encode_crop(self, crop: NDArray[np.float32], check_cancelled: Callable[[], None]) -> Tensor:
        features: Tensor = self.vision(torch.from_numpy(crop)[None].to(self.dtype), check_cancelled)[0]
        return features

    def _pool(self, local_features: Sequence[Tensor], tiling: tuple[int, int]) -> Tensor:
        """Stitch the features of the local crops and average them to one crop's grid: (grid * grid, vision dim).

        Neighbouring crops overlap, so each is trimmed by its margin on the sides where it has a neighbour.
        """
        grid, margin = self.config.vision.grid, self.config.vision.overlap_margin
        rows, columns = tiling

        def trimmed(position: int, count: int) -> slice:
            return slice(0 if position == 0 else margin, grid if position == count - 1 else grid - margin)

        maps = [features.view(grid, grid, -1) for features in local_features]
        stitched = torch.cat(
            [
                torch.cat([maps[i * columns + j][trimmed(i, rows), trimmed(j, columns)] for j in range(columns)], dim=1)
                for i in range(rows)
            ]
        )
        pooled = functional.adaptive_avg_pool2d(stitched.permute(2, 0, 1), grid)
        return pooled.permute(1, 2, 0).reshape(grid * grid, -1)

    @torch.inference_mode()
    def prefill_image(self, embeddings: Tensor, cache: KeyValueCache, check_cancelled: CheckCancelled) -> None:
        """Fill an empty KV cache with an image's prefix: bos and the image embeddings, which all attend to each other.

        The prefix has no logits: what follows it is a prompt.
        """
        hidden = torch.cat([self.text.wte(self._bos), embeddings])
        rotation = self.rotary(torch.arange(len(hidden)))
        *blocks_before_last, last_block = self.text.blocks
        assert isinstance(last_block, TextBlock)

        def attend(layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            keys = rotate(keys, rotation)
            cache.write(layer, keys, values)
            return full_attention(rotate(queries, rotation), keys, values)

        progress = "the model was processing the image"
        for layer, block in enumerate(blocks_before_last):
            check_cancelled(progress)
            hidden = block(hidden, partial(attend, layer))
        check_cancelled(progress)
        # Only the keys and values of the last layer are used later, so the rest of it is not computed.
        _, keys, values = last_block.attn.split(last_block.ln(hidden))
        cache.write(len(blocks_before_last), rotate(keys, rotation), values)
        cache.length = len(hidden)

    @torch.inference_mode()
    def prefill_prompt(self, ids: Sequence[int], cache: KeyValueCache, check_cancelled: CheckCancelled) -> Tensor:
        """Append a prompt to a KV cache and return the logits of the next token, shape (vocab_size,).

        bos is put before the prompt if the cache is empty.
        """
        if cache.length == 0:
            ids = [self.config.tokenizer.bos_id, *ids]
        start, end = cache.length, cache.length + len(ids)
        rotation = self.rotary(torch.arange(start, end))
        causal_mask = torch.ones(len(ids), end, dtype=torch.bool).tril(diagonal=start)

        def attend(layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            cache.write(layer, rotate(keys, rotation), values)
            queries = rotate(queries, rotation).transpose(0, 1)
            return attention(queries, *cache.read(layer, end), causal_mask).transpose(0, 1)

        hidden = self.text.wte(torch.tensor(ids))
        for layer, block in enumerate(self.text.blocks):
            check_cancelled("the model was processing the prompt")
            hidden = block(hidden, partial(attend, layer))
        cache.length = end
        return self._logits(hidden[-1])

    @torch.inference_mode()
    def decode(self, ids: Sequence[int], caches: Sequence[KeyValueCache]) -> Tensor:
        """Run one decode step: append one token to each sequence; return the next logits, (num_sequences, vocab_size).

        The logits of a sequence do not depend on the others (in fp32 and bf16 up to the rounding of sums).
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


def full_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attend from every position to every other, without a mask; an `Attend`."""
    return attention(queries.transpose(-2, -3), keys.transpose(-2, -3), values.transpose(-2, -3)).transpose(-2, -3)
