from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
import whisper
from whisper import Whisper

from deployments.transcriber.engine import WhisperEngine, load_engine
from tests.deployments.transcriber.random_whisper import write_whisper


@dataclass
class Loaded:
    """A checkpoint, loaded by our engine (without speech detection) and by the package."""

    path: Path
    engine: WhisperEngine
    reference: Whisper


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Loaded]:
    """Return a function from a seed to its checkpoint, written and loaded once."""

    @cache
    def load(seed: int) -> Loaded:
        path = tmp_path_factory.mktemp("whisper") / f"random-{seed}.pt"
        write_whisper(path, seed)
        return Loaded(path, load_engine(path, "fp32", speech_detection=False), whisper.load_model(str(path)))

    return load


@pytest.fixture(scope="session")
def loaded(load: Callable[[int], Loaded]) -> Loaded:
    return load(0)
