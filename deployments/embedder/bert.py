"""The BERT encoder of MiniLM: token ids of whole texts -> one vector for each text.

After Devlin et al., "BERT" (2019), in the layout of Hugging Face's BertModel. The vector is the mean of the last
layer's states over all tokens of a text, scaled to length 1, as all-MiniLM-L6-v2 was trained.

The texts of a batch are packed one behind the other, without padding: linear layers see all tokens as one matrix, and
attention is computed for each text on its own. So a batch costs what its tokens cost, whatever their lengths.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional as F

from deployments.commands import RESTORE_ADVICE
from deployments.embedder.types import VECTOR_DIM
from deployments.errors import ModelNotLoaded


class BertConfig(BaseModel):
    """What `config.json` says about the encoder's sizes; other keys do not matter."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    hidden_act: str
    layer_norm_eps: float
    position_embedding_type: str = "absolute"


@dataclass(frozen=True)
class _Linear:
    weight: Tensor
    """Shape (outputs, inputs)."""
    bias: Tensor

    def __call__(self, states: Tensor) -> Tensor:
        return F.linear(states, self.weight, self.bias)


@dataclass(frozen=True)
class _LayerNorm:
    weight: Tensor
    bias: Tensor
    epsilon: float

    def __call__(self, states: Tensor) -> Tensor:
        return F.layer_norm(states, (states.shape[-1],), self.weight, self.bias, self.epsilon)


@dataclass(frozen=True)
class _Layer:
    query_key_value: _Linear
    """The three projections as one matrix product."""
    attention_output: _Linear
    attention_norm: _LayerNorm
    intermediate: _Linear
    output: _Linear
    output_norm: _LayerNorm
    num_heads: int

    def __call__(self, states: Tensor, lengths: list[int]) -> Tensor:
        """Return the next states of packed texts, shape (num_tokens, hidden_size)."""
        states = self.attention_norm(states + self.attention_output(self._attention(states, lengths)))
        return self.output_norm(states + self.output(F.gelu(self.intermediate(states))))

    def _attention(self, states: Tensor, lengths: list[int]) -> Tensor:
        num_tokens, hidden_size = states.shape
        heads = self.query_key_value(states).view(num_tokens, 3, self.num_heads, hidden_size // self.num_heads)
        attended = torch.empty_like(states)
        texts = zip(torch.split(heads, lengths), torch.split(attended, lengths), strict=True)
        for text, target in texts:
            query, key, value = text.permute(1, 2, 0, 3).unsqueeze(1)  # each (1, heads, tokens, head size)
            result = F.scaled_dot_product_attention(query, key, value)
            target.copy_(result[0].transpose(0, 1).reshape(target.shape))
        return attended


@dataclass(frozen=True)
class BertEncoder:
    """The encoder's weights, in fp32. Several threads may call it at once."""

    config: BertConfig
    word_embeddings: Tensor
    position_embeddings: Tensor
    """With the embedding of token type 0, the only one used, added."""
    embedding_norm: _LayerNorm
    layers: tuple[_Layer, ...]

    @torch.inference_mode()
    def encode(self, texts: Sequence[Sequence[int]], check_cancelled: Callable[[], None]) -> Tensor:
        """Return the vectors of texts given as token ids, shape (num_texts, VECTOR_DIM), each of length 1.

        `check_cancelled` is called before each layer. No text may be empty, or longer than `max_position_embeddings`.
        """
        lengths = [len(text) for text in texts]
        token_ids = torch.tensor([token_id for text in texts for token_id in text])
        positions = torch.cat([torch.arange(length) for length in lengths])
        states = self.embedding_norm(self.word_embeddings[token_ids] + self.position_embeddings[positions])
        for layer in self.layers:
            check_cancelled()
            states = layer(states, lengths)
        vectors = torch.stack([text.mean(0) for text in torch.split(states, lengths)])
        return F.normalize(vectors, dim=1)

    @property
    def weight_bytes(self) -> int:
        tensors = [self.word_embeddings, self.position_embeddings, self.embedding_norm.weight, self.embedding_norm.bias]
        for layer in self.layers:
            for part in (layer.query_key_value, layer.attention_output, layer.intermediate, layer.output):
                tensors += [part.weight, part.bias]
            for norm in (layer.attention_norm, layer.output_norm):
                tensors += [norm.weight, norm.bias]
        return sum(tensor.nbytes for tensor in tensors)


def load_bert(config_path: Path, weights_path: Path) -> BertEncoder:
    """Read the checkpoint of a BertModel; raises ModelNotLoaded if it is damaged or of another architecture."""
    config = _read_config(config_path)
    try:
        with safe_open(weights_path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys() if not key.startswith("pooler.")}
            return _build(config, tensors)
    except (OSError, SafetensorError) as error:
        raise ModelNotLoaded(f"{weights_path} cannot be read as safetensors ({error}). {RESTORE_ADVICE}") from error
    except (KeyError, RuntimeError) as error:
        raise ModelNotLoaded(
            f"{weights_path} is not the BERT encoder that {config_path.name} describes: {error}. {RESTORE_ADVICE}"
        ) from error


def _read_config(path: Path) -> BertConfig:
    try:
        config = BertConfig.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise ModelNotLoaded(f"{path} cannot be read as a BERT configuration ({reason}). {RESTORE_ADVICE}") from error
    supported = (VECTOR_DIM, "gelu", "absolute")
    if (config.hidden_size, config.hidden_act, config.position_embedding_type) != supported:
        raise ModelNotLoaded(
            f"{path} describes a model of another kind: embedder.model must be a BERT encoder with vectors of "
            f"{VECTOR_DIM} numbers, GELU and absolute positions."
        )
    return config


def _build(config: BertConfig, tensors: dict[str, Tensor]) -> BertEncoder:
    def tensor(key: str) -> Tensor:
        return tensors[key].float()

    def linear(prefix: str) -> _Linear:
        return _Linear(tensor(f"{prefix}.weight"), tensor(f"{prefix}.bias"))

    def norm(prefix: str) -> _LayerNorm:
        return _LayerNorm(tensor(f"{prefix}.weight"), tensor(f"{prefix}.bias"), config.layer_norm_eps)

    def layer(prefix: str) -> _Layer:
        projections = [linear(f"{prefix}.attention.self.{name}") for name in ("query", "key", "value")]
        return _Layer(
            query_key_value=_Linear(
                torch.cat([projection.weight for projection in projections]),
                torch.cat([projection.bias for projection in projections]),
            ),
            attention_output=linear(f"{prefix}.attention.output.dense"),
            attention_norm=norm(f"{prefix}.attention.output.LayerNorm"),
            intermediate=linear(f"{prefix}.intermediate.dense"),
            output=linear(f"{prefix}.output.dense"),
            output_norm=norm(f"{prefix}.output.LayerNorm"),
            num_heads=config.num_attention_heads,
        )

    return BertEncoder(
        config=config,
        word_embeddings=tensor("embeddings.word_embeddings.weight"),
        position_embeddings=tensor("embeddings.position_embeddings.weight")
        + tensor("embeddings.token_type_embeddings.weight")[0],
        embedding_norm=norm("embeddings.LayerNorm"),
        layers=tuple(layer(f"encoder.layer.{number}") for number in range(config.num_hidden_layers)),
    )
