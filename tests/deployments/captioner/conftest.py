from pathlib import Path

import pytest
import torch

from deployments.captioner.captioner import Captioner
from deployments.captioner.checkpoint import load_moondream
from deployments.captioner.moondream import Moondream
from deployments.captioner.prompts import read_tokenizer
from deployments.work import Stop
from tests.deployments.captioner.checkpoints import random_tensors, write_checkpoint


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small matrices gain nothing from a second thread, and lose much to it on a machine that is busy otherwise."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random checkpoint whose answers never end by themselves."""
    return write_checkpoint(tmp_path_factory.mktemp("captioner") / "small", random_tensors())


@pytest.fixture(scope="session")
def _loaded_model(small_checkpoint: Path) -> Moondream:
    weights = [small_checkpoint / "model.safetensors"]
    return load_moondream(small_checkpoint / "config.json", weights, "fp32", report=lambda progress: None)


@pytest.fixture
def model(_loaded_model: Moondream) -> Moondream:
    return _loaded_model


@pytest.fixture
def captioner(small_checkpoint: Path, model: Moondream) -> Captioner:
    tokenizer = read_tokenizer(small_checkpoint / "tokenizer.json", model.config)
    return Captioner(model, tokenizer, max_crops_per_image=6, max_crops_per_frame=1, max_image_pixels=1_000_000)


@pytest.fixture
def unhurried() -> Stop:
    """Never tells work to end."""
    return Stop(float("inf"))
