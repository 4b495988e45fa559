"""Moondream2 as three standard parts: a SigLIP vision tower, a projection and a Phi decoder.

The layers are transformers' own; the loops over them are here, so that work can be stopped between two layers and the
prefix be masked as Moondream wants it. A model holds weights only: all that a request changes is in its KeyValueCache,
so requests may run at once in several threads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import PhiConfig, PhiModel, SiglipVisionConfig, SiglipVisionModel
from transformers.models.phi.modeling_phi import PhiRotaryEmbedding

from deployments.captioner.architecture import MoondreamConfig, TextConfig, VisionConfig
from deployments.captioner.preprocessing import ImageCrops

Check = Callable[[str], None]
"""Takes how far the work got and returns, or raises to end it: `Stop.check`."""


@dataclass(frozen=True)
class Prompt:
    """One sequence to be answered: bos, the image where there is one, then `ids`."""

    ids: Sequence[int]
    image: Tensor | None = None
    """Image embeddings, shape (grid * grid, dim)."""


class KeyValueCache:
    """The attention keys and values of the sequences that are decoded together, preallocated to their full length.

    Shape (num_layers, num_rows, num_kv_heads, capacity, head_dim) each; a row is a sequence.
    """

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self._keys = keys
        self._values = values
        self.length = 0
        """Positions filled; the model moves it on when all layers have written theirs."""

    @classmethod
    def allocate(cls, config: TextConfig, num_rows: int, capacity: int, dtype: torch.dtype) -> "KeyValueCache":
        shape = (config.n_layers, num_rows, config.n_kv_heads, capacity, config.head_dim)
        return cls(torch.empty(shape, dtype=dtype), torch.empty(shape, dtype=dtype))

    def row(self, row: int) -> "KeyValueCache":
        """Return a cache for one sequence that writes into this one's memory."""
        return KeyValueCache(self._keys[:, row : row + 1], self._values[:, row : row + 1])

    def update(self, keys: Tensor, values: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Store a layer's new positions, shape (num_rows, num_kv_heads, n, head_dim); return all up to them."""
        end = self.length + keys.shape[2]
        self._keys[layer, :, :, self.length : end] = keys
        self._values[layer, :, :, self.length : end] = values
        return self._keys[layer, :, :, :end], self._values[layer, :, :, :end]


class Projection(nn.Module):
    """Maps (global, pooled local) patch features to the language model's width."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(2 * config.enc_dim, config.proj_inner_dim)
        self.fc2 = nn.Linear(config.proj_inner_dim, config.proj_out_dim)

    def forward(self, features: Tensor) -> Tensor:
        projected: Tensor = self.fc2(functional.gelu(self.fc1(features), approximate="tanh"))
        return projected


class Moondream(nn.Module):
    """The model without weights: its parameters are on the meta device until a checkpoint fills them."""

    def __init__(self, config: MoondreamConfig) -> None:
        super().__init__()
        self.config = config
        text_config = _phi_config(config.text)
        with torch.device("meta"):
            self.vision = SiglipVisionModel(_siglip_config(config.vision))
            self.projection = Projection(config.vision)
            self.text = PhiModel(text_config)
            self.lm_head = nn.Linear(config.text.dim, config.text.vocab_size, bias=True)
        # Buffers that no checkpoint holds: left on the meta device they would come out as garbage.
        self.text.rotary_emb = PhiRotaryEmbedding(text_config)
        positions = torch.arange(config.vision.grid**2)[None]
        self.vision.embeddings.register_buffer("position_ids", positions, persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        return self.lm_head.weight.dtype

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
        embeddings: Tensor = self.projection(torch.cat([whole, local], dim=-1))
        return embeddings

    def _encode_crop(self, crop: NDArray[np.float32], check: Callable[[], None]) -> Tensor:
        """Return patch features, shape (grid * grid, vision dim), of a crop of shape (3, side, side)."""
        hidden: Tensor = self.vision.embeddings(torch.from_numpy(crop)[None])
        for layer in self.vision.encoder.layers:
            check()
            hidden = layer(hidden, attention_mask=None)
        features: Tensor = self.vision.post_layernorm(hidden)[0]
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
    def prefill(self, prompt: Prompt, cache: KeyValueCache, check: Check) -> Tensor:
        """Read a prompt into an empty cache of one row; return the logits of its answer's first token, (1, vocab)."""
        ids = torch.tensor([self.config.tokenizer.bos_id, *prompt.ids])
        embeddings = self.text.embed_tokens(ids)
        mask = None
        if prompt.image is not None:
            embeddings = torch.cat([embeddings[:1], prompt.image, embeddings[1:]])
            mask = self._prefix_mask(len(embeddings))
        return self._forward(embeddings[None], cache, mask, partial(check, "the prompt was being read"))

    @torch.inference_mode()
    def decode(self, ids: Tensor, cache: KeyValueCache) -> Tensor:
        """Append one token to each sequence, shape (num_rows,); return the logits of the next, (num_rows, vocab)."""
        return self._forward(self.text.embed_tokens(ids)[:, None], cache, None, lambda: None)

    def _prefix_mask(self, length: int) -> Tensor:
        """Return which position sees which: both ways inside the prefix, only backwards after it."""
        mask = torch.ones(length, length, dtype=torch.bool).tril()
        prefix = self.config.text.prefix_attn
        mask[:prefix, :prefix] = True
        return mask[None, None]

    def _forward(self, hidden: Tensor, cache: KeyValueCache, mask: Tensor | None, check: Callable[[], None]) -> Tensor:
        """Run (num_rows, n, dim) embeddings behind what the cache holds; return the last position's logits.

        Without a mask a single position sees everything before it, and several in an empty cache are causal.
        """
        end = cache.length + hidden.shape[1]
        rotary = self.text.rotary_emb(hidden, torch.arange(cache.length, end)[None])
        for layer in self.text.layers:
            check()
            hidden = layer(hidden, attention_mask=mask, past_key_values=cache, position_embeddings=rotary)
        cache.length = end
        logits: Tensor = self.lm_head(self.text.final_layernorm(hidden[:, -1]))
        return logits


def _siglip_config(config: VisionConfig) -> SiglipVisionConfig:
    return SiglipVisionConfig(  # type: ignore[call-arg]  # attn_implementation goes through **kwargs
        hidden_size=config.enc_dim,
        intermediate_size=config.enc_ff_dim,
        num_hidden_layers=config.enc_n_layers,
        num_attention_heads=config.enc_n_heads,
        num_channels=config.in_channels,
        image_size=config.crop_size,
        patch_size=config.enc_patch_size,
        hidden_act="gelu_pytorch_tanh",
        layer_norm_eps=1e-5,
        vision_use_head=False,
        attn_implementation="sdpa",
    )


def _phi_config(config: TextConfig) -> PhiConfig:
    return PhiConfig(  # type: ignore[call-arg]  # as above
        vocab_size=config.vocab_size,
        hidden_size=config.dim,
        intermediate_size=config.ff_dim,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        num_key_value_heads=config.n_kv_heads,
        max_position_embeddings=config.max_context,
        hidden_act="gelu_new",
        layer_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
        attn_implementation="sdpa",
    )
