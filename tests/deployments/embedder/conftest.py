from pathlib import Path

import pytest

from deployments.embedder.embedder import Embedder, load_embedder
from deployments.embedder.settings import EmbedderConfig
from deployments.embedder.weights import ensure_minilm


@pytest.fixture(scope="session")
def minilm(model_cache: Path) -> Path:
    """The folder of the real model."""
    return ensure_minilm(EmbedderConfig(), model_cache, lambda line: None).folder


@pytest.fixture(scope="session")
def embedder(minilm: Path) -> Embedder:
    return load_embedder(minilm, query_cache_bytes=1_000_000)
