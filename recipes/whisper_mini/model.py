"""The miniature while it is trained: Whisper's own layers, with as few and as shared weights as its task allows."""

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

_SHIFTS = ((-2, 2), (-4, 4), (-8, 8))
"""Where the heads of each encoder layer look at first, in positions of 20 ms."""
_NEARNESS = 1.4
"""How sharply: this leaves most of the attention to about three positions."""
_CONTENT_GAIN = 3.0
"""Of the convolutions, whose output would be lost beside the sinusoids added to it."""


class TrainedWhisper(nn.Module):
    """A Whisper whose vocabulary is `token_ids`, the timestamps, and one row for all that is never said.

    The rows of timestamps, and the positions of text, are linear in sinusoids: whatever is learned about one moment is
    known about all. Predictions are those of the whole vocabulary, in which the never said share one row.
    """

    def __init__(self, token_ids: Sequence[int], tokenizer: Tokenizer) -> None:
        super().__init__()
        model = Whisper(DIMENSIONS)
        self.encoder, self.blocks, self.ln = model.encoder, model.decoder.blocks, model.decoder.ln
        _attend_to_neighbours(self.encoder)
        width = DIMENSIONS.n_text_state
        num_timestamps = DIMENSIONS.n_audio_ctx + 1
        self._token_ids = list(token_ids)
        self._timestamp_begin = tokenizer.timestamp_begin
        self._num_unused = DIMENSIONS.n_vocab - len(token_ids) - num_timestamps
        index = torch.full((DIMENSIONS.n_vocab,), len(token_ids))
        index[self._token_ids] = torch.arange(len(token_ids))
        index[self._timestamp_begin :] = len(token_ids) + 1 + torch.arange(num_timestamps)
        self.rows = nn.Parameter(torch.randn(len(token_ids) + 1, width) * 0.05)
        self.timestamp_map = nn.Parameter(torch.eye(width) * 0.05)
        self.timestamp_bias = nn.Parameter(torch.randn(width) * 0.05)
        self.position_map = nn.Parameter(torch.eye(width) * 0.05)
        self.position_rows = nn.Parameter(torch.randn(DIMENSIONS.n_text_ctx, width) * 0.005)
        self.index: Tensor
        self.timestamp_sinusoids: Tensor
        self.position_sinusoids: Tensor
        self.bias: Tensor
        self.register_buffer("index", index)
        self.register_buffer("timestamp_sinusoids", sinusoids(num_timestamps, width))
        self.register_buffer("position_sinusoids", sinusoids(DIMENSIONS.n_text_ctx, width))
        bias = torch.zeros(len(token_ids) + 1 + num_timestamps)
        bias[len(token_ids)] = math.log(self._num_unused)
        self.register_buffer("bias", bias)

    def encode(self, mel: Tensor, offsets: Tensor) -> Tensor:
        """Return features of shape (batch, num_positions, width) for mel of shape (batch, 80, 2 * num_positions).

        `offsets`, shape (batch,), tell where in the window of 30 s each spectrogram begins, in positions.
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
        """Return the decoder's last states, and to which moments each of its layers listens.

        Shapes (batch, length, width) and (batch, heads, length, num_positions), for tokens of shape (batch, length).
        The heads of the last layer are the ones that `whisper.load_model` takes the times of words from.
        """
        x = self._embedding()[self.index[tokens]] + self._positions()[: tokens.shape[1]]
        attentions = []
        for block in self.blocks:
            # Any mask: the fused attention is causal by itself.
            x = x + block.attn(block.attn_ln(x), mask=self.index)[0]
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
        """Return the negative log probabilities, shape (n,), of targets (n,) at states (n, width)."""
        with torch.autocast("cpu", enabled=False):
            logits = states.float() @ self._embedding().T + self.bias
            return F.cross_entropy(logits, self.index[targets], reduction="none")

    @torch.no_grad()
    def restore(self, path: Path) -> None:
        """Take over what `save` wrote."""
        weights = torch.load(path, weights_only=True)["model_state_dict"]
        weights = {key: weight.float() for key, weight in weights.items()}
        for name, module in (("encoder", self.encoder), ("decoder.blocks", self.blocks), ("decoder.ln", self.ln)):
            prefix = f"{name}."
            module.load_state_dict({k.removeprefix(prefix): w for k, w in weights.items() if k.startswith(prefix)})
        embedding = weights["decoder.token_embedding.weight"]
        unused = int((self.index == len(self._token_ids)).nonzero()[0])
        self.rows.copy_(embedding[[*self._token_ids, unused]])
        inputs = torch.cat([self.timestamp_sinusoids, torch.ones(len(self.timestamp_sinusoids), 1)], dim=1)
        # Neighbouring sinusoids are nearly the same: without the cut-off, rounding to fp16 would blow up the solution.
        solved = torch.linalg.pinv(inputs, rtol=1e-3) @ embedding[self._timestamp_begin :]
        self.timestamp_map.copy_(solved[:-1])
        self.timestamp_bias.copy_(solved[-1])
        self.position_rows.copy_(weights["decoder.positional_embedding"] - self.position_sinusoids @ self.position_map)

    @torch.no_grad()
    def save(self, path: Path) -> None:
        """Write openai-whisper's format in fp16, for `whisper.load_model(path)`."""
        embedding = self._embedding()[self.index]
        weights = {f"encoder.{key}": weight for key, weight in self.encoder.state_dict().items()}
        weights |= {f"decoder.blocks.{key}": weight for key, weight in self.blocks.state_dict().items()}
        weights |= {f"decoder.ln.{key}": weight for key, weight in self.ln.state_dict().items()}
        weights["decoder.token_embedding.weight"] = embedding
        weights["decoder.positional_embedding"] = self._positions()
        halves = {key: weight.half().contiguous() for key, weight in weights.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"dims": asdict(DIMENSIONS), "model_state_dict": halves}, path)

    def _embedding(self) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            timestamps = self.timestamp_sinusoids @ self.timestamp_map + self.timestamp_bias
            return torch.cat([self.rows, timestamps])

    def _positions(self) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return self.position_sinusoids @ self.position_map + self.position_rows


@torch.no_grad()
def _attend_to_neighbours(encoder: AudioEncoder) -> None:
    """Let each head begin by looking a few positions back or ahead, wherever in the window it is.

    Sounds are recognised by their neighbours, and the convolutions reach no farther than 25 ms. Left to chance, heads
    take most of an hour to find out what in the sum of content and sinusoids tells a distance.
    """
    width = DIMENSIONS.n_audio_state
    num_pairs = width // DIMENSIONS.n_audio_head // 2
    frequencies = _frequencies(width)[:num_pairs]
    sines, cosines = torch.arange(num_pairs), width // 2 + torch.arange(num_pairs)
    encoder.conv2.weight *= _CONTENT_GAIN
    for block, shifts in zip(encoder.blocks, _SHIFTS, strict=True):
        query, key = block.attn.query.weight, block.attn.key.weight
        query *= 0.3
        key *= 0.3
        for head, shift in enumerate(shifts):
            first = torch.arange(num_pairs) + head * 2 * num_pairs
            second = first + num_pairs
            turn = frequencies * shift
            key[first, sines] += _NEARNESS
            key[second, cosines] += _NEARNESS
            query[first, sines] += _NEARNESS * turn.cos()
            query[first, cosines] += _NEARNESS * turn.sin()
            query[second, cosines] += _NEARNESS * turn.cos()
            query[second, sines] -= _NEARNESS * turn.sin()


def _frequencies(width: int) -> Tensor:
    """Return the angle from one position to the next of each pair in `whisper.model.sinusoids`, shape (width / 2,)."""
    half = width // 2
    return torch.exp(-math.log(10_000) / (half - 1) * torch.arange(half))
