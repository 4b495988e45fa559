"""The model during training: Whisper's own layers, with a reduced vocabulary and embeddings that share weights."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from whisper.model import AudioEncoder, ModelDimensions, Whisper, sinusoids
from whisper.tokenizer import Tokenizer

DIMENSIONS = ModelDimensions(
    n_mels=80,
    n_audio_ctx=1500,
    n_audio_state=128,
    n_audio_head=2,
    n_audio_layer=3,
    n_vocab=51865,
    n_text_ctx=448,
    n_text_state=128,
    n_text_head=2,
    n_text_layer=2,
)

_INITIAL_SHIFTS = ((-2, 2), (-4, 4), (-8, 8))
"""Where the heads of each encoder layer attend at first, relative to the query, in positions of 20 ms."""
_POSITION_GAIN = 1.4
"""How sharp this initial attention is: about three positions get most of it."""
_CONVOLUTION_GAIN = 3.0
"""Without it, the output of the convolutions would be small compared with the position embeddings added to it."""


class TrainableWhisper(nn.Module):
    """A Whisper with embeddings for `token_ids` and the timestamps; all unused tokens share one embedding.

    The embeddings of timestamps, and (but for a small learned offset) those of text positions, are linear functions of
    sinusoids, so what is learned about one of them applies to all. The softmax is that of the full vocabulary.
    """

    def __init__(self, token_ids: Sequence[int], tokenizer: Tokenizer) -> None:
        super().__init__()
        model = Whisper(DIMENSIONS)
        self.encoder, self.blocks, self.ln = model.encoder, model.decoder.blocks, model.decoder.ln
        _initialize_attention(self.encoder)
        width = DIMENSIONS.n_text_state
        num_timestamps = DIMENSIONS.n_audio_ctx + 1
        self._token_ids = list(token_ids)
        self._timestamp_begin = tokenizer.timestamp_begin
        self._num_unused = DIMENSIONS.n_vocab - len(token_ids) - num_timestamps
        embedding_index = torch.full((DIMENSIONS.n_vocab,), len(token_ids))
        embedding_index[self._token_ids] = torch.arange(len(token_ids))
        embedding_index[self._timestamp_begin :] = len(token_ids) + 1 + torch.arange(num_timestamps)
        self.token_embedding = nn.Parameter(torch.randn(len(token_ids) + 1, width) * 0.05)
        self.timestamp_map = nn.Parameter(torch.eye(width) * 0.05)
        self.timestamp_bias = nn.Parameter(torch.randn(width) * 0.05)
        self.position_map = nn.Parameter(torch.eye(width) * 0.05)
        self.position_offset = nn.Parameter(torch.randn(DIMENSIONS.n_text_ctx, width) * 0.005)
        self.embedding_index: Tensor
        """The row of `_embedding()` for each token id of the full vocabulary."""
        self.timestamp_sinusoids: Tensor
        self.position_sinusoids: Tensor
        self.logit_bias: Tensor
        self.register_buffer("embedding_index", embedding_index)
        self.register_buffer("timestamp_sinusoids", sinusoids(num_timestamps, width))
        self.register_buffer("position_sinusoids", sinusoids(DIMENSIONS.n_text_ctx, width))
        # In the softmax, the embedding of the unused tokens counts as often as there are such tokens.
        logit_bias = torch.zeros(len(token_ids) + 1 + num_timestamps)
        logit_bias[len(token_ids)] = math.log(self._num_unused)
        self.register_buffer("logit_bias", logit_bias)

    def encode(self, mel: Tensor, offsets: Tensor) -> Tensor:
        """Return features of shape (batch, num_positions, width) for `mel` of shape (batch, 80, 2 * num_positions).

        `offsets`, shape (batch,), are the positions at which the spectrograms begin in their window of 30 s.
        """
        x = F.gelu(self.encoder.conv1(mel))
        x = F.gelu(self.encoder.conv2(x)).permute(0, 2, 1)
        positions = offsets[:, None] + torch.arange(x.shape[1])
        x = x + self.encoder.positional_embedding[positions]
        for block in self.encoder.blocks:
            x = block(x)
        features: Tensor = self.encoder.ln_post(x)
        return features

    def decode(self, tokens: Tensor, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the decoder's final hidden states, and the cross-attention weights of each layer.

        For tokens of shape (batch, length), the shapes are (batch, length, width) and
        (batch, num_heads, length, num_positions). `whisper` takes word timestamps from the heads of the last layer.
        """
        x = self._embedding()[self.embedding_index[tokens]] + self._positions()[: tokens.shape[1]]
        attentions = []
        for block in self.blocks:
            # The values of the mask do not matter: with any mask, Whisper uses fused causal attention.
            x = x + block.attn(block.attn_ln(x), mask=self.embedding_index)[0]
            cross = block.cross_attn
            query, key, value = (
                part.unflatten(-1, (cross.n_head, -1)).transpose(1, 2)
                for part in (cross.query(block.cross_attn_ln(x)), cross.key(features), cross.value(features))
            )
            attention = (query @ key.transpose(2, 3) * query.shape[-1] ** -0.5).float().softmax(dim=-1)
            attentions.append(attention)
            x = x + cross.out((attention.to(value.dtype) @ value).transpose(1, 2).flatten(2))
            x = x + block.mlp(block.mlp_ln(x))
        states: Tensor = self.ln(x)
        return states, attentions

    def loss(self, states: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy, shape (n,), of hidden states (n, width) with target token ids (n,)."""
        with torch.autocast("cpu", enabled=False):
            logits = states.float() @ self._embedding().T + self.logit_bias
            return F.cross_entropy(logits, self.embedding_index[targets], reduction="none")

    @torch.no_grad()
    def load(self, path: Path) -> None:
        """Load the weights of a checkpoint that `save` wrote."""
        weights = torch.load(path, weights_only=True)["model_state_dict"]
        weights = {key: weight.float() for key, weight in weights.items()}
        for name, module in (("encoder", self.encoder), ("decoder.blocks", self.blocks), ("decoder.ln", self.ln)):
            prefix = f"{name}."
            module.load_state_dict({k.removeprefix(prefix): w for k, w in weights.items() if k.startswith(prefix)})
        embedding = weights["decoder.token_embedding.weight"]
        unused = int((self.embedding_index == len(self._token_ids)).nonzero()[0])
        self.token_embedding.copy_(embedding[[*self._token_ids, unused]])
        inputs = torch.cat([self.timestamp_sinusoids, torch.ones(len(self.timestamp_sinusoids), 1)], dim=1)
        # Neighbouring sinusoids are nearly equal. Without the cut-off, fp16 rounding errors would dominate.
        solution = torch.linalg.pinv(inputs, rtol=1e-3) @ embedding[self._timestamp_begin :]
        self.timestamp_map.copy_(solution[:-1])
        self.timestamp_bias.copy_(solution[-1])
        self.position_offset.copy_(
            weights["decoder.positional_embedding"] - self.position_sinusoids @ self.position_map
        )

    @torch.no_grad()
    def save(self, path: Path) -> None:
        """Write the checkpoint in openai-whisper's format, in fp16, for `whisper.load_model(path)`."""
        embedding = self._embedding()[self.embedding_index]
        weights = {f"encoder.{key}": weight for key, weight in self.encoder.state_dict().items()}
        weights |= {f"decoder.blocks.{key}": weight for key, weight in self.blocks.state_dict().items()}
        weights |= {f"decoder.ln.{key}": weight for key, weight in self.ln.state_dict().items()}
        weights["decoder.token_embedding.weight"] = embedding
        weights["decoder.positional_embedding"] = self._positions()
        halves = {key: weight.half().contiguous() for key, weight in weights.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"dims": asdict(DIMENSIONS), "model_state_dict": halves}, path)

    def _embedding(self) -> Tensor:
        """Return the embeddings of `token_ids`, then one for all unused tokens, then those of the timestamps."""
        with torch.autocast("cpu", enabled=False):
            timestamps = self.timestamp_sinusoids @ self.timestamp_map + self.timestamp_bias
            return torch.cat([self.token_embedding, timestamps])

    def _positions(self) -> Tensor:
        """Return the position embeddings of the decoder, shape (n_text_ctx, width)."""
        with torch.autocast("cpu", enabled=False):
            return self.position_sinusoids @ self.position_map + self.position_offset


@torch.no_grad()
def _initialize_attention(encoder: AudioEncoder) -> None:
    """Initialize the encoder so that each head attends a few positions back or ahead of its query.

    To recognize a sound, the model needs those before and after it, and the convolutions span only 25 ms. From a random
    initialization, the heads take most of an hour to learn relative positions.
    """
    width = DIMENSIONS.n_audio_state
    num_pairs = width // DIMENSIONS.n_audio_head // 2
    frequencies = _frequencies(width)[:num_pairs]
    sines, cosines = torch.arange(num_pairs), width // 2 + torch.arange(num_pairs)
    encoder.conv2.weight *= _CONVOLUTION_GAIN
    for block, shifts in zip(encoder.blocks, _INITIAL_SHIFTS, strict=True):
        query, key = block.attn.query.weight, block.attn.key.weight
        query *= 0.3
        key *= 0.3
        for head, shift in enumerate(shifts):
            first = torch.arange(num_pairs) + head * 2 * num_pairs
            second = first + num_pairs
            angle = frequencies * shift
            key[first, sines] += _POSITION_GAIN
            key[second, cosines] += _POSITION_GAIN
            query[first, sines] += _POSITION_GAIN * angle.cos()
            query[first, cosines] += _POSITION_GAIN * angle.sin()
            query[second, cosines] += _POSITION_GAIN * angle.cos()
            query[second, sines] -= _POSITION_GAIN * angle.sin()


def _frequencies(width: int) -> Tensor:
    """Return the angular frequency per position of each pair in `whisper.model.sinusoids`, shape (width / 2,)."""
    half = width // 2
    return torch.exp(-math.log(10_000) / (half - 1) * torch.arange(half))
