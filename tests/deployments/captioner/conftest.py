from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from deployments.cancellation import Cancellation
from deployments.captioner.captioner import Captioner
from deployments.captioner.loading import load_moondream
from deployments.captioner.moondream import Moondream
from deployments.captioner.prompts import read_tokenizer
from deployments.captioner.settings import CaptionerConfig
from tests.deployments.captioner.checkpoints import random_tensors, write_checkpoint


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small matrices gain nothing from a second thread, and become much slower on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random checkpoint whose answers never reach eos."""
    return write_checkpoint(tmp_path_factory.mktemp("captioner") / "small", random_tensors())


@pytest.fixture(scope="session")
def _loaded_model(small_checkpoint: Path) -> Moondream:
    weights = [small_checkpoint / "model.safetensors"]
    return load_moondream(small_checkpoint / "config.json", weights, "fp32", report=lambda progress: None)


@pytest.fixture
def model(_loaded_model: Moondream) -> Moondream:
    return _loaded_model


MakeCaptioner = Callable[..., Captioner]


@pytest.fixture
def make_captioner(small_checkpoint: Path, model: Moondream) -> MakeCaptioner:
    """Makes a captioner with the given settings. By default it caches nothing."""

    def make(**settings: int) -> Captioner:
        config = CaptionerConfig(**{"max_crops_per_image": 6, "image_cache_mb": 0, "answer_cache_mb": 0, **settings})
        tokenizer = read_tokenizer(small_checkpoint / "tokenizer.json", model.config)
        return Captioner(model, tokenizer, config, max_image_pixels=1_000_000)

    return make


@pytest.fixture
def captioner(make_captioner: MakeCaptioner) -> Captioner:
    return make_captioner()


@pytest.fixture
def never_cancelled() -> Cancellation:
    """A cancellation that never happens."""
    return Cancellation(float("inf"))
