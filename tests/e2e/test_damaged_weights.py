"""Weights that are missing or damaged, when the server starts and when a lost replica loads them again.

Weights that were never fetched: test_limits.py.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployments.project import project_folder
from samples.running_server import RunningServer
from tests.e2e.client import DATA, answer_of, error_of, post_file, replica_of
from tests.e2e.conftest import StartServer
from tests.e2e.test_faults import RECOVERY_S, health, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.faults, pytest.mark.slow]

MINIATURES = project_folder() / "checkpoints/mini"


def cut_in_half(weights: Path) -> None:
    content = weights.read_bytes()
    weights.unlink()  # a running model may have mapped the file
    weights.write_bytes(content[: len(content) // 2])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    shutil.copytree(MINIATURES / "moondream-mini", folder / "moondream-mini")
    shutil.copy(MINIATURES / "whisper-mini.pt", folder / "whisper-mini.pt")
    return folder


@pytest.fixture(scope="module")
def server(start_server: StartServer, folder: Path) -> Iterator[RunningServer]:
    """A server that finds its Whisper weights damaged."""
    cut_in_half(folder / "whisper-mini.pt")
    args = {
        "captioner": {"model": str(folder / "moondream-mini"), "answer_cache_mb": 0},
        "transcriber": {"model": str(folder / "whisper-mini.pt")},
    }
    with start_server(args, ready_path="/livez") as running:
        wait_until(lambda: states(running) == ["loaded", "failed"], 60)
        yield running


def states(server: RunningServer) -> list[str]:
    models = health(server)["models"]
    assert isinstance(models, list)
    return [model["state"] for model in models[:2]]  # those of the captioner and the transcriber


def description(server: RunningServer) -> str:
    return str(answer_of(post_file(server.url, "image", DATA / "picture.jpg"))["description"])


def test_weights_that_are_damaged_at_the_start_are_named_and_can_be_put_right(
    server: RunningServer, folder: Path
) -> None:
    description(server)
    error = error_of(post_file(server.url, "audio", DATA / "speech.wav"), 503)
    assert error["code"] == "MODEL_NOT_LOADED"
    assert "whisper-mini.pt" in error["message"]
    assert health(server)["status"] == "degraded"
    shutil.copy(MINIATURES / "whisper-mini.pt", folder / "whisper-mini.pt")
    # The next request lets the model be loaded again.
    wait_until(lambda: post_file(server.url, "audio", DATA / "speech.wav").status_code == 200, RECOVERY_S)


@pytest.mark.parametrize("damage", [cut_in_half, Path.unlink])
def test_weights_that_are_lost_while_the_server_runs_matter_only_when_they_are_loaded_again(
    server: RunningServer, folder: Path, damage: Callable[[Path], None]
) -> None:
    weights = folder / "moondream-mini" / "model.safetensors"
    expected = description(server)
    damage(weights)
    assert description(server) == expected
    replica_of(server.pid, "Captioner").kill()
    wait_until(lambda: states(server)[0] == "failed", RECOVERY_S)
    error = error_of(post_file(server.url, "image", DATA / "picture.jpg"), 503)
    assert error["code"] == "MODEL_NOT_LOADED"
    assert "model.safetensors" in error["message"]
    answer_of(post_file(server.url, "audio", DATA / "speech.wav"))
    weights.unlink(missing_ok=True)
    shutil.copy(MINIATURES / "moondream-mini" / "model.safetensors", weights)
    wait_until(lambda: post_file(server.url, "image", DATA / "picture.jpg").status_code == 200, RECOVERY_S)
    assert description(server) == expected
