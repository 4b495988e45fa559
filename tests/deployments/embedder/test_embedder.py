"""The embedder's vectors are those of the reference implementation, whatever they are computed together with."""

import json
import math
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from deployments.cancellation import Cancellation, WorkCancelled
from deployments.embedder.bert import gelu_in_place
from deployments.embedder.embedder import MAX_BATCH_TOKENS, Embedder, load_embedder
from deployments.embedder.types import VECTOR_DIM
from deployments.errors import DeadlineExceeded, ModelNotLoaded

REFERENCE = json.loads((Path(__file__).parents[2] / "data" / "embedder" / "vectors.json").read_text())
"""By Hugging Face's transformers; see make_vectors.py beside it."""
TEXTS = [case["text"] for case in REFERENCE]
VECTORS = np.array([case["vector"] for case in REFERENCE])
NEVER = Cancellation(float("inf"))


def test_passages_together_have_the_vectors_of_the_reference(embedder: Embedder) -> None:
    vectors = embedder.embed_passages(TEXTS, NEVER)
    assert vectors.dtype == np.float32
    assert np.abs(vectors - VECTORS).max() <= 1e-5


@pytest.mark.parametrize("case", REFERENCE, ids=lambda case: case["text"][:20])
def test_a_query_alone_has_the_vector_of_the_reference(embedder: Embedder, case: dict[str, object]) -> None:
    vectors = embedder.embed_query(str(case["text"]), NEVER)
    assert vectors.shape == (1, VECTOR_DIM)
    assert np.abs(vectors - np.array(case["vector"])).max() <= 1e-5
    assert np.linalg.norm(vectors) == pytest.approx(1, abs=1e-6)


def test_tokens_are_counted_without_special_ones_and_uncut(embedder: Embedder) -> None:
    assert embedder.count_tokens(TEXTS, NEVER) == [case["num_tokens"] for case in REFERENCE]
    assert max(case["num_tokens"] for case in REFERENCE) > 256
    assert embedder.count_tokens([], NEVER) == []


def test_texts_in_many_batches_keep_their_order(embedder: Embedder) -> None:
    texts = [TEXTS[number % len(TEXTS)] for number in range(60)]
    assert sum(embedder.count_tokens(texts, NEVER)) > 3 * MAX_BATCH_TOKENS
    expected = VECTORS[[number % len(TEXTS) for number in range(60)]]
    assert np.abs(embedder.embed_passages(texts, NEVER) - expected).max() <= 1e-5


def test_no_passages_give_no_vectors(embedder: Embedder) -> None:
    assert embedder.embed_passages([], NEVER).shape == (0, VECTOR_DIM)


def test_alike_texts_have_alike_vectors(embedder: Embedder) -> None:
    query = embedder.embed_query("How much did the meal cost?", NEVER)
    passages = ["The bill for dinner was 48 euros.", "The river is 48 kilometres long."]
    about_dinner, about_rivers = embedder.embed_passages(passages, NEVER) @ query[0]
    assert about_dinner > about_rivers + 0.1


def test_a_query_is_remembered_until_others_take_its_place(minilm: Path) -> None:
    embedder = load_embedder(minilm, query_cache_bytes=2 * VECTOR_DIM * 4 + 100)
    first = embedder.embed_query("first", NEVER)
    assert embedder.cached_query("first") is first
    assert not first.flags.writeable
    embedder.embed_query("second", NEVER)
    embedder.embed_query("third", NEVER)
    assert embedder.cached_query("first") is None
    assert embedder.cached_query("third") is not None


def test_cancelled_and_late_passages_stop_between_two_layers(embedder: Embedder) -> None:
    cancelled = Cancellation(float("inf"))
    cancelled.cancel()
    with pytest.raises(WorkCancelled):
        embedder.embed_passages(TEXTS, cancelled)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"\d+ of 100000 texts"):
        embedder.embed_passages(["a few words"] * 100_000, Cancellation(time.time() + 0.3))
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_file_is_named_with_what_to_do(minilm: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(minilm, folder)
    (folder / name).write_bytes((folder / name).read_bytes()[:300])
    with pytest.raises(ModelNotLoaded, match=rf"{name} cannot be read .*`prism weights fetch`"):
        load_embedder(folder, query_cache_bytes=0)


@pytest.mark.parametrize(
    ("key", "value"), [("hidden_size", 768), ("hidden_act", "relu"), ("position_embedding_type", "relative_key")]
)
def test_a_model_of_another_kind_is_refused(minilm: Path, tmp_path: Path, key: str, value: object) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(minilm, folder)
    config = json.loads((folder / "config.json").read_text()) | {key: value}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelNotLoaded, match="BERT encoder with vectors of 384 numbers"):
        load_embedder(folder, query_cache_bytes=0)


def with_weights_of(minilm: Path, folder: Path, dtype: torch.dtype) -> Path:
    """Copy the model with its weights in another precision."""
    shutil.copytree(minilm, folder)
    weights = load_file(minilm / "model.safetensors")
    save_file({key: value.to(dtype) for key, value in weights.items()}, folder / "model.safetensors")
    return folder


def test_weights_in_half_precision_are_taken(minilm: Path, tmp_path: Path) -> None:
    embedder = load_embedder(with_weights_of(minilm, tmp_path / "half", torch.float16), query_cache_bytes=0)
    assert np.abs(embedder.embed_passages(TEXTS, NEVER) - VECTORS).max() <= 1e-3


def test_weights_in_an_unknown_precision_are_refused(minilm: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotLoaded, match=r"model\.safetensors .* F32 or F16"):
        load_embedder(with_weights_of(minilm, tmp_path / "other", torch.bfloat16), query_cache_bytes=0)


def test_gelu_is_exact_to_the_precision_of_fp32() -> None:
    x = np.concatenate([np.linspace(-12, 12, 100_001), [0.0, -0.0, 1e-30, -1e-30, 3e4, -3e4]]).astype(np.float32)
    exact = [value * (1 + math.erf(value / math.sqrt(2))) / 2 for value in x.tolist()]
    assert np.abs(gelu_in_place(x.copy()) - exact).max() <= 1e-6


def test_a_checkpoint_that_lacks_a_layer_is_refused(minilm: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(minilm, folder)
    config = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": 7}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelNotLoaded, match=r"is not the BERT encoder that config\.json describes"):
        load_embedder(folder, query_cache_bytes=0)
