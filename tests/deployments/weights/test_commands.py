"""`python -m deployments.weights` as a person runs it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.project import project_folder
from deployments.weights import ensure_moondream
from deployments.weights.__main__ import main
from deployments.weights.sources import MOONDREAM_REPOSITORY, MOONDREAM_REVISION
from tests.deployments.weights.conftest import COMMIT, WEIGHTS, WEIGHTS_PATH
from tests.deployments.weights.hub import Hub, pauses_halfway

CONFORMANCE = project_folder() / "tests" / "data" / "conformance" / "moondream2-tiny"
COMMAND = (sys.executable, "-m", "deployments.weights")


@pytest.fixture
def cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODEL_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Tests that a shell runs in the background ignore interrupts, and so would what they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=project_folder(),
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(part: Path) -> None:
    """Wait until something of a file has arrived."""
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_fetch_brings_both_models_and_says_so(
    hub: Hub, whisper_content: bytes, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch"]) == 0
    output = capsys.readouterr().out
    assert "model.safetensors (1.0 MB)" in output
    assert str(cache_dir) in output
    assert "are free" in output
    assert output.endswith("serving needs no network any more.\n")
    assert (cache_dir / "whisper-base" / "base.pt").read_bytes() == whisper_content


def test_fetch_of_a_whole_cache_makes_no_request(hub: Hub, cache_dir: Path) -> None:
    assert main(["fetch", "--captioner"]) == 0
    hub.requests.clear()
    assert main(["fetch", "--captioner"]) == 0
    assert hub.requests == []


def test_a_failed_fetch_says_why(
    hub: Hub, cache_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert main(["fetch", "--captioner"]) == 1
    assert "no connection" in capsys.readouterr().err


@pytest.mark.usefixtures("_interruptible")
def test_an_interrupted_fetch_goes_on_where_it_stopped(hub: Hub, cache_dir: Path) -> None:
    interrupted = threading.Event()
    hub.faults[WEIGHTS_PATH] = [pauses_halfway(interrupted)]
    part = cache_dir / "moondream2-2025-06-21" / "model.safetensors.part"
    with start("fetch", "--captioner") as process:
        wait_for(part)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    interrupted.set()
    assert process.returncode == 130
    assert "Interrupted. What has arrived is kept" in errors
    assert "Traceback" not in errors
    kept = part.stat().st_size
    assert 0 < kept < len(WEIGHTS)

    assert main(["fetch", "--captioner"]) == 0
    assert hub.ranges("model.safetensors")[-1] == f"bytes={kept}-"
    assert part.with_suffix("").read_bytes() == WEIGHTS


def test_two_processes_fetch_once(hub: Hub, cache_dir: Path) -> None:
    second_waits = threading.Event()
    hub.faults[WEIGHTS_PATH] = [pauses_halfway(second_waits)]
    with start("fetch", "--captioner") as first:
        wait_for(cache_dir / "moondream2-2025-06-21" / "model.safetensors.part")
        with start("fetch", "--captioner") as second:
            assert second.stdout
            said = [second.stdout.readline()]
            while said[-1] and "waiting for another process" not in said[-1]:
                said.append(second.stdout.readline())
            second_waits.set()
            outputs = [process.communicate(timeout=20) for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    assert "waiting for another process" in said[-1]
    assert len(hub.ranges("model.safetensors")) == 1


def test_verify_finds_a_flipped_byte_and_names_the_command(
    hub: Hub, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["fetch", "--captioner"])
    hub.requests.clear()
    main(["verify", "--captioner"])
    assert "ok     moondream2 is complete" in capsys.readouterr().out
    weights = cache_dir / "moondream2-2025-06-21" / "model.safetensors"
    weights.write_bytes(WEIGHTS[:-1] + bytes([WEIGHTS[-1] ^ 1]))
    assert main(["verify", "--captioner"]) == 1
    output = capsys.readouterr().out
    assert f"WRONG  {weights} is damaged" in output
    assert "`prism weights fetch`" in output
    assert hub.requests == []


def test_verify_says_what_was_never_fetched(hub: Hub, cache_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify"]) == 1
    output = capsys.readouterr().out
    assert "WRONG  moondream2 is not in" in output
    assert "WRONG  whisper-base is not in" in output
    assert "Instructions:" in output
    assert "Memory:" in output
    assert hub.requests == []


def test_a_serve_yaml_decides_the_models(
    hub: Hub, cache_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mini.pt").touch()
    config = tmp_path / "serve.yaml"
    config.write_text(f"applications: [{{args: {{transcriber: {{model: {tmp_path}/mini.pt}}}}}}]")
    assert main(["fetch", "--transcriber", "--config", str(config)]) == 0
    assert "nothing to fetch" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["applications: [{args: {captionner: {}}}]", "- 1", ": :", "applications: 3"])
def test_a_wrong_yaml_is_said_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text(content)
    assert main(["verify", "--config", str(config)]) == 1
    assert capsys.readouterr().err


@pytest.fixture
def tiny_moondream(hub: Hub, cache_dir: Path) -> Path:
    """The hub's moondream2 is a checkpoint that can be loaded, and it has been fetched; returns its folder."""
    files = {name: (CONFORMANCE / name).read_bytes() for name in ("config.json", "model.safetensors")}
    hub.add_repository(MOONDREAM_REPOSITORY, MOONDREAM_REVISION, COMMIT, files)
    assert main(["fetch", "--captioner"]) == 0
    hub.requests.clear()
    return cache_dir / "moondream2-2025-06-21"


def test_shrink_leaves_the_int8_copy_in_place_of_the_weights(
    hub: Hub, tiny_moondream: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = ensure_moondream("moondream2", cache_dir, lambda line: None)
    full_bytes = before.weights[0].stat().st_size
    assert not before.is_rounded

    assert main(["shrink"]) == 0

    files = ensure_moondream("moondream2", cache_dir, lambda line: None)
    assert files.is_rounded
    assert files.weights == (tiny_moondream / "int8.safetensors",)
    assert not (tiny_moondream / "model.safetensors").exists()
    assert files.weights[0].stat().st_size < full_bytes
    assert hub.requests == []
    assert main(["shrink"]) == 0
    assert files.weights[0].exists()
    assert main(["fetch", "--captioner"]) == 0
    assert hub.requests == []


def test_shrink_goes_on_where_it_was_interrupted(tiny_moondream: Path, cache_dir: Path) -> None:
    weights = (tiny_moondream / "model.safetensors").read_bytes()
    assert main(["shrink"]) == 0
    (tiny_moondream / "model.safetensors").write_bytes(weights)  # as if it had ended before it deleted them
    assert main(["shrink"]) == 0
    assert {path.name for path in tiny_moondream.glob("*.safetensors")} == {"int8.safetensors"}
    assert ensure_moondream("moondream2", cache_dir, lambda line: None).is_rounded


def test_weights_that_the_settings_need_are_not_shrunk_away(
    tiny_moondream: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "fp32.yaml"
    config.write_text("applications: [{args: {captioner: {precision: fp32}}}]")
    assert main(["shrink", "--config", str(config)]) == 1
    assert "nothing was deleted" in capsys.readouterr().err
    assert (tiny_moondream / "model.safetensors").exists()

    assert main(["shrink"]) == 0
    assert main(["fetch", "--captioner", "--config", str(config)]) == 1
    assert "Only the int8 weights are in" in capsys.readouterr().err
    assert main(["verify", "--captioner", "--config", str(config)]) == 1
    assert "Only the int8 weights are in" in capsys.readouterr().out


def test_shrink_is_for_the_captioner_only() -> None:
    with pytest.raises(SystemExit):
        main(["shrink", "--transcriber"])


def test_a_damaged_int8_copy_is_found_and_fetched_whole_again(
    hub: Hub, tiny_moondream: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["shrink"]) == 0
    rounded = tiny_moondream / "int8.safetensors"
    content = bytearray(rounded.read_bytes())
    content[-1] ^= 1
    rounded.write_bytes(content)
    capsys.readouterr()
    assert main(["verify", "--captioner"]) == 1
    assert f"{rounded} is damaged" in capsys.readouterr().out

    assert main(["fetch", "--captioner"]) == 0
    assert not rounded.exists()
    assert not ensure_moondream("moondream2", cache_dir, lambda line: None).is_rounded


def test_what_is_not_whole_is_not_shrunk(
    tiny_moondream: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tiny_moondream / "config.json").write_text("{}")
    assert main(["shrink"]) == 1
    assert "Fetch it first" in capsys.readouterr().err
    assert (tiny_moondream / "model.safetensors").exists()


def test_a_checkpoint_of_ones_own_is_not_shrunk(
    cache_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["shrink", "--config", "config/mini.yaml"]) == 0
    assert "nothing to shrink" in capsys.readouterr().out
    assert (project_folder() / "checkpoints/mini/moondream-mini/model.safetensors").exists()
