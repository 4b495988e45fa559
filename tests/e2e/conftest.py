"""Servers of config/mini.yaml, started with a real `serve run`."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
import yaml
from safetensors.torch import load_file, save_file

from deployments.captioner.model_config import read_config
from deployments.project import project_folder
from samples.running_server import RunningServer, running_server
from tests.deployments.transcriber.random_campplus import write_campplus
from tests.e2e.client import DATA

StartServer = Callable[..., AbstractContextManager[RunningServer]]


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> StartServer:
    """Starts config/mini.yaml with `args` merged into its own, and with a small model of voices."""
    voices = write_campplus(tmp_path_factory.mktemp("voices") / "voices.pt")

    def start(
        args: Mapping[str, Any] | None = None, env: Mapping[str, str] | None = None, ready_path: str = "/readyz"
    ) -> AbstractContextManager[RunningServer]:
        settings = yaml.safe_load((project_folder() / "config/mini.yaml").read_text())
        merged = settings["applications"][0]["args"]
        merged["speakers"] = {"model": str(voices)}
        for section, values in (args or {}).items():
            merged[section] = {**merged.get(section, {}), **values}
        path = tmp_path_factory.mktemp("config") / "serve.yaml"
        path.write_text(yaml.safe_dump(settings))
        return running_server(path, env, ready_path=ready_path)

    return start


@pytest.fixture(scope="session")
def server(start_server: StartServer, model_cache: Path) -> Iterator[RunningServer]:
    """The server that most tests share; the tools of /mcp may read the files of tests/data."""
    env = {"MODEL_CACHE_DIR": str(model_cache), "MCP_FOLDERS": str(DATA)}
    with start_server(env=env) as running:
        processes = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
        yield running
        # Other files than Ray's and torch's working folders would be uploads, or parts of them.
        left = [
            path for path in running.temporary_files.iterdir() if not path.name.startswith(("pymp-", "torchinductor_"))
        ]
        assert left == []
    assert [process for process in processes if process.is_running()] == []


@pytest.fixture(scope="session")
def url(server: RunningServer) -> str:
    return server.url


@pytest.fixture(scope="session")
def talkative_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A copy of moondream-mini that never ends an answer: every request takes as long as its max_length allows."""
    folder = tmp_path_factory.mktemp("checkpoints") / "talkative-mini"
    shutil.copytree(project_folder() / "checkpoints/mini/moondream-mini", folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.text.lm_head.bias"][read_config(folder / "config.json").tokenizer.eos_id] = -1e4
    save_file(tensors, folder / "model.safetensors")
    return str(folder)


@pytest.fixture(scope="session")
def talkative(start_server: StartServer, talkative_model: str) -> Iterator[RunningServer]:
    args = {"captioner": {"model": talkative_model, "answer_cache_mb": 0}, "serving": {"mcp_folders": [str(DATA)]}}
    with start_server(args) as running:
        yield running


@pytest.fixture(scope="session")
def constrained(
    start_server: StartServer, talkative_model: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """A server of the talkative model with narrow limits, whose Whisper weights are missing and cannot be fetched."""
    args = {
        "captioner": {"model": talkative_model, "answer_cache_mb": 0},
        "serving": {"max_concurrent_requests": 1, "max_queued_requests": 1},
        "transcriber": {"model": "base"},
        "weights": {"cache_dir": str(tmp_path_factory.mktemp("cache"))},
    }
    nowhere = "http://127.0.0.1:9"
    env = {"REQUEST_TIMEOUT_SECONDS": "5", "MAX_UPLOAD_SIZE_MB": "1", "HTTPS_PROXY": nowhere, "HTTP_PROXY": nowhere}
    with start_server(args, {**env, "NO_PROXY": "127.0.0.1,localhost"}, ready_path="/livez") as running:
        end = time.monotonic() + 60
        while requests.get(f"{running.url}/api/health", timeout=10).json()["models"][0]["state"] != "loaded":
            assert time.monotonic() < end
            time.sleep(0.2)
        yield running
