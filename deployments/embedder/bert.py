"""The BERT encoder of MiniLM: token ids of whole texts -> one vector for each text.

After Devlin et al., "BERT" (2019), in the layout of Hugging Face's BertModel. The vector is the mean of the last
layer's states over all tokens of a text, scaled to length 1, as all-MiniLM-L6-v2 was trained.

The texts of a batch are packed one behind the other, without padding: linear layers see all tokens as one matrix, and
attention is computed for each text on its own. So a batch costs what its tokens cost, whatever their lengths.

It is written in numpy, because torch would take 150 MB more memory and is only about a tenth faster here
(docs/performance.md). Word embeddings are mapped from the file: only rows of words that occur take memory.
"""

import json
import math
import mmap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open

from deployments.commands import RESTORE_ADVICE
from deployments.embedder.types import VECTOR_DIM, Vectors
from deployments.errors import ModelNotLoaded

Floats = NDArray[np.float32]

_ERF = (0.3275911, 0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
"""p, a1 … a5 of formula 7.1.26 in Abramowitz and Stegun, "Handbook of Mathematical Functions" (1964): for x >= 0,
erf(x) = 1 - (a1 t + … + a5 t^5) exp(-x^2) with t = 1 / (1 + p x), within 1.5e-7, which is the precision of fp32."""

_GELU_BLOCK = 32 * 1024
"""Numbers that go through GELU together, so that the two temporaries (256 kB) stay in the CPU's cache."""

_WORD_EMBEDDINGS = "embeddings.word_embeddings.weight"
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}


class BertConfig(BaseModel):
    """What `config.json` says about the encoder's sizes; other keys do not matter."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    hidden_act: str
    layer_norm_eps: float
    position_embedding_type: str = "absolute"


class MappedRows:
    """A matrix in a memory-mapped file: rows take memory once they are read, until `forget`."""

    def __init__(self, path: Path, dtype: "np.dtype[Any]", offset: int, shape: Sequence[int]) -> None:
        num_rows, self._row_length = shape
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._rows = np.frombuffer(self._map, dtype, num_rows * self._row_length, offset).reshape(num_rows, -1)

    def __getitem__(self, numbers: NDArray[np.int64]) -> Floats:
        """Return rows, shape (len(numbers), row length)."""
        return self._rows[numbers].astype(np.float32, copy=False)

    def forget(self) -> None:
        """Give back the memory of the rows that were read; they may stay in the system's page cache."""
        self._map.madvise(mmap.MADV_DONTNEED)

    @property
    def nbytes(self) -> int:
        return self._rows.nbytes


@dataclass(frozen=True)
class _Linear:
    weight: Floats
    """Shape (inputs, outputs), contiguous: for few tokens that is twice as fast as (outputs, inputs)."""
    bias: Floats

    def __call__(self, states: Floats) -> Floats:
        product: Floats = states @ self.weight
        product += self.bias
        return product


@dataclass(frozen=True)
class _LayerNorm:
    weight: Floats
    bias: Floats
    epsilon: float

    def __call__(self, states: Floats) -> Floats:
        """Normalize each row, in place."""
        states -= states.mean(axis=1, keepdims=True)
        variance = np.einsum("ij,ij->i", states, states) / np.float32(states.shape[1])
        states *= (1 / np.sqrt(variance + np.float32(self.epsilon)))[:, np.newaxis]
        states *= self.weight
        states += self.bias
        return states


@dataclass(frozen=True)
class _Layer:
    query_key_value: _Linear
    """The three projections as one matrix product. That of the query is divided by the square root of a head's size."""
    attention_output: _Linear
    attention_norm: _LayerNorm
    intermediate: _Linear
    output: _Linear
    output_norm: _LayerNorm
    num_heads: int

    def __call__(self, states: Floats, bounds: Sequence[tuple[int, int]]) -> Floats:
        """Return the next states of packed texts, shape (num_tokens, hidden_size)."""
        attended = self.attention_output(self._attention(states, bounds))
        attended += states
        states = self.attention_norm(attended)
        transformed = self.output(gelu_in_place(self.intermediate(states)))
        transformed += states
        return self.output_norm(transformed)

    def _attention(self, states: Floats, bounds: Sequence[tuple[int, int]]) -> Floats:
        num_tokens, hidden_size = states.shape
        heads = self.query_key_value(states).reshape(num_tokens, 3, self.num_heads, hidden_size // self.num_heads)
        attended = np.empty((num_tokens, self.num_heads, hidden_size // self.num_heads), np.float32)
        for start, end in bounds:
            query, key, value = heads[start:end].transpose(1, 2, 0, 3)  # each (heads, tokens, head size)
            weights = query @ key.transpose(0, 2, 1)
            weights -= weights.max(axis=2, keepdims=True)
            np.exp(weights, out=weights)
            total = weights.sum(axis=2, keepdims=True)
            attended[start:end] = ((weights @ value) / total).transpose(1, 0, 2)
        return attended.reshape(num_tokens, hidden_size)


def gelu_in_place(states: Floats) -> Floats:
    """Replace each x of a contiguous array by x times the normal distribution function of x.

    With q = |x| (a1 t + … + a5 t^5) exp(-x^2 / 2) / 2 from `_ERF`, that is max(x, 0) - q for either sign of x.
    """
    p, *coefficients = _ERF
    a1, a2, a3, a4, a5 = (np.float32(a / 2) for a in coefficients)
    scale = np.float32(p / np.sqrt(2))
    flat = states.reshape(-1)
    size = min(_GELU_BLOCK, flat.size)
    buffers = np.empty((2, size), np.float32)
    for start in range(0, flat.size, size):
        x = flat[start : start + size]
        t, q = buffers[:, : x.size]
        np.abs(x, out=t)
        t *= scale
        t += 1
        np.reciprocal(t, out=t)
        np.multiply(t, a5, out=q)
        for a in (a4, a3, a2, a1):
            q += a
            q *= t
        np.multiply(x, x, out=t)
        t *= np.float32(-0.5)
        np.exp(t, out=t)
        q *= t
        np.abs(x, out=t)
        q *= t
        np.maximum(x, 0, out=x)
        x -= q
    return states


@dataclass(frozen=True)
class BertEncoder:
    """The encoder's weights, in fp32. Several threads may call it at once."""

    config: BertConfig
    word_embeddings: MappedRows
    position_embeddings: Floats
    """With the embedding of token type 0, the only one used, added."""
    embedding_norm: _LayerNorm
    layers: tuple[_Layer, ...]

    def encode(self, texts: Sequence[Sequence[int]], check_cancelled: Callable[[], None]) -> Vectors:
        """Return the vectors of texts given as token ids, shape (num_texts, VECTOR_DIM), each of length 1.

        `check_cancelled` is called before each layer. No text may be empty, or longer than `max_position_embeddings`.
        """
        bounds = list(pairwise(accumulate((len(text) for text in texts), initial=0)))
        states = self.word_embeddings[np.fromiter((id for text in texts for id in text), np.int64)]
        for start, end in bounds:
            states[start:end] += self.position_embeddings[: end - start]
        states = self.embedding_norm(states)
        for layer in self.layers:
            check_cancelled()
            states = layer(states, bounds)
        vectors = np.stack([states[start:end].mean(axis=0) for start, end in bounds])
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    @property
    def weight_bytes(self) -> int:
        return sum(array.nbytes for array in self._arrays())

    def _arrays(self) -> Iterator["Floats | MappedRows"]:
        yield from (self.word_embeddings, self.position_embeddings)
        yield from (self.embedding_norm.weight, self.embedding_norm.bias)
        for layer in self.layers:
            for linear in (layer.query_key_value, layer.attention_output, layer.intermediate, layer.output):
                yield from (linear.weight, linear.bias)
            for norm in (layer.attention_norm, layer.output_norm):
                yield from (norm.weight, norm.bias)


def load_bert(config_path: Path, weights_path: Path) -> BertEncoder:
    """Read the checkpoint of a BertModel; raises ModelNotLoaded if it is damaged or of another architecture."""
    config = _read_config(config_path)
    try:
        with safe_open(weights_path, framework="numpy") as file:
            header = _read_header(weights_path)
            keys = [key for key in file.keys() if key.endswith((".weight", ".bias")) and not key.startswith("pooler.")]
            others = {header[key]["dtype"] for key in keys} - set(_DTYPES)
            if others:
                raise ValueError(f"its weights are {', '.join(sorted(others))}, not F32 or F16")
            word_embeddings = _map_tensor(weights_path, header, _WORD_EMBEDDINGS)
            tensors = {key: file.get_tensor(key) for key in keys if key != _WORD_EMBEDDINGS}
        return _build(config, word_embeddings, tensors)
    except (OSError, SafetensorError) as error:
        raise ModelNotLoaded(f"{weights_path} cannot be read as safetensors ({error}). {RESTORE_ADVICE}") from error
    except (KeyError, ValueError) as error:
        raise ModelNotLoaded(
            f"{weights_path} is not the BERT encoder that {config_path.name} describes: {error}. {RESTORE_ADVICE}"
        ) from error


def _read_header(path: Path) -> dict[str, Any]:
    """Return what a safetensors file that `safe_open` has checked says about each tensor: `dtype`, `shape` and
    `data_offsets`; after 8 bytes with its length, the header is JSON (https://huggingface.co/docs/safetensors)."""
    with path.open("rb") as file:
        header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return header


def _map_tensor(path: Path, header: dict[str, Any], key: str) -> MappedRows:
    entry = header[key]
    num_data_bytes = max(other["data_offsets"][1] for name, other in header.items() if name != "__metadata__")
    first = path.stat().st_size - num_data_bytes  # the tensors fill the rest of the file
    return MappedRows(path, _DTYPES[entry["dtype"]], first + entry["data_offsets"][0], entry["shape"])


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


def _build(config: BertConfig, word_embeddings: "MappedRows", tensors: dict[str, Floats]) -> BertEncoder:
    def tensor(key: str) -> Floats:
        return tensors[key].astype(np.float32, copy=False)

    def linear(*prefixes: str) -> _Linear:
        weights = [tensor(f"{prefix}.weight") for prefix in prefixes]
        biases = [tensor(f"{prefix}.bias") for prefix in prefixes]
        return _Linear(np.ascontiguousarray(np.concatenate(weights).T), np.concatenate(biases))

    def norm(prefix: str) -> _LayerNorm:
        return _LayerNorm(tensor(f"{prefix}.weight"), tensor(f"{prefix}.bias"), config.layer_norm_eps)

    def layer(prefix: str) -> _Layer:
        attention = f"{prefix}.attention"
        query_key_value = linear(*(f"{attention}.self.{name}" for name in ("query", "key", "value")))
        # Dividing the projection saves dividing the products of queries and keys.
        head_size = config.hidden_size // config.num_attention_heads
        query_key_value.weight[:, : config.hidden_size] /= np.float32(math.sqrt(head_size))
        query_key_value.bias[: config.hidden_size] /= np.float32(math.sqrt(head_size))
        return _Layer(
            query_key_value=query_key_value,
            attention_output=linear(f"{attention}.output.dense"),
            attention_norm=norm(f"{attention}.output.LayerNorm"),
            intermediate=linear(f"{prefix}.intermediate.dense"),
            output=linear(f"{prefix}.output.dense"),
            output_norm=norm(f"{prefix}.output.LayerNorm"),
            num_heads=config.num_attention_heads,
        )

    return BertEncoder(
        config=config,
        word_embeddings=word_embeddings,
        position_embeddings=tensor("embeddings.position_embeddings.weight")
        + tensor("embeddings.token_type_embeddings.weight")[0],
        embedding_norm=norm("embeddings.LayerNorm"),
        layers=tuple(layer(f"encoder.layer.{number}") for number in range(config.num_hidden_layers)),
    )
