"""The command `prism weights`."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.captioner.settings import CaptionerConfig
from deployments.captioner.weights import REPOSITORY, REVISION, MoondreamFiles, ensure_moondream
from deployments.project import project_folder
from prism.weights import main
from tests.deployments.weights.conftest import COMMIT, WEIGHTS, WEIGHTS_PATH
from tests.deployments.weights.hub import Hub, pauses_halfway

CONFORMANCE = project_folder() / "tests" / "data" / "conformance" / "moondream2-tiny"
COMMAND = (sys.executable, "-m", "prism", "weights")


@pytest.fixture
def cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODEL_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Let child processes be interrupted even if a shell runs the tests in the background, ignoring interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def moondream_files(cache_dir: Path) -> MoondreamFiles:
    return ensure_moondream(CaptionerConfig(), cache_dir, lambda line: None)


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
    """Wait until the first bytes of a file have arrived."""
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_fetch_downloads_all_models(
    hub: Hub,
    whisper_content: bytes,
    voices_content: bytes,
    cache_dir: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LLM_MODEL", "none")
    assert main(["fetch"]) == 0
    output = capsys.readouterr().out
    assert "model.safetensors (1.0 MB)" in output
    assert str(cache_dir) in output
    assert "answerer: no language model: answers quote the passages\n  nothing to fetch\n" in output
    assert "are free" in output
    assert output.endswith("serving needs no network.\n")
    assert (cache_dir / "whisper-base" / "base.pt").read_bytes() == whisper_content
    assert (cache_dir / "campplus" / "campplus_cn_en_common.pt").read_bytes() == voices_content


def test_fetch_of_a_complete_cache_makes_no_request(hub: Hub, cache_dir: Path) -> None:
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
def test_an_interrupted_fetch_continues_where_it_stopped(hub: Hub, cache_dir: Path) -> None:
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
            lines = [second.stdout.readline()]
            while lines[-1] and "waiting for another process" not in lines[-1]:
                lines.append(second.stdout.readline())
            second_waits.set()
            outputs = [process.communicate(timeout=20) for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    assert "waiting for another process" in lines[-1]
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


def test_verify_names_what_was_never_fetched(hub: Hub, cache_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
def test_a_wrong_yaml_is_reported_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text(content)
    assert main(["verify", "--config", str(config)]) == 1
    assert capsys.readouterr().err


@pytest.fixture
def tiny_moondream(hub: Hub, cache_dir: Path) -> Path:
    """The folder of moondream2, fetched from a hub that has a small loadable checkpoint in its place."""
    files = {name: (CONFORMANCE / name).read_bytes() for name in ("config.json", "model.safetensors")}
    hub.add_repository(REPOSITORY, REVISION, COMMIT, files)
    assert main(["fetch", "--captioner"]) == 0
    hub.requests.clear()
    return cache_dir / "moondream2-2025-06-21"


def test_shrink_leaves_the_int8_copy_in_place_of_the_weights(
    hub: Hub, tiny_moondream: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = moondream_files(cache_dir)
    full_bytes = before.weights[0].stat().st_size
    assert not before.is_only_quantized

    assert main(["shrink"]) == 0

    files = moondream_files(cache_dir)
    assert files.is_only_quantized
    assert files.weights == (tiny_moondream / "int8.safetensors",)
    assert not (tiny_moondream / "model.safetensors").exists()
    assert files.weights[0].stat().st_size < full_bytes
    assert hub.requests == []
    assert main(["shrink"]) == 0
    assert files.weights[0].exists()
    assert main(["fetch", "--captioner"]) == 0
    assert hub.requests == []


def test_shrink_continues_where_it_was_interrupted(tiny_moondream: Path, cache_dir: Path) -> None:
    weights = (tiny_moondream / "model.safetensors").read_bytes()
    assert main(["shrink"]) == 0
    (tiny_moondream / "model.safetensors").write_bytes(weights)  # as if it had been interrupted before it deleted them
    assert main(["shrink"]) == 0
    assert {path.name for path in tiny_moondream.glob("*.safetensors")} == {"int8.safetensors"}
    assert moondream_files(cache_dir).is_only_quantized


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
    assert "Only the int8 weights of moondream2 are in" in capsys.readouterr().err
    assert main(["verify", "--captioner", "--config", str(config)]) == 1
    assert "Only the int8 weights of moondream2 are in" in capsys.readouterr().out


def test_shrink_is_for_the_captioner_only() -> None:
    with pytest.raises(SystemExit):
        main(["shrink", "--transcriber"])


def test_a_damaged_int8_copy_is_found_and_the_full_weights_are_fetched_again(
    hub: Hub, tiny_moondream: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["shrink"]) == 0
    quantized = tiny_moondream / "int8.safetensors"
    content = bytearray(quantized.read_bytes())
    content[-1] ^= 1
    quantized.write_bytes(content)
    capsys.readouterr()
    assert main(["verify", "--captioner"]) == 1
    assert f"{quantized} is damaged" in capsys.readouterr().out

    assert main(["fetch", "--captioner"]) == 0
    assert not quantized.exists()
    assert not moondream_files(cache_dir).is_only_quantized


def test_a_damaged_checkpoint_is_not_shrunk(
    tiny_moondream: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tiny_moondream / "config.json").write_text("{}")
    assert main(["shrink"]) == 1
    assert "Fetch it first" in capsys.readouterr().err
    assert (tiny_moondream / "model.safetensors").exists()


MINIATURES = str(project_folder() / "config/mini.yaml")


def test_miniatures_are_called_miniatures_and_left_alone(cache_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shrink", "--config", MINIATURES]) == 0
    assert "the miniature moondream-mini, which comes with the project" in capsys.readouterr().out
    assert (project_folder() / "checkpoints/mini/moondream-mini/model.safetensors").exists()
    for capability in ("--captioner", "--transcriber"):
        assert main(["fetch", capability, "--config", MINIATURES]) == 0
        assert "nothing to fetch" in capsys.readouterr().out
    main(["verify", "--config", MINIATURES])
    output = capsys.readouterr().out
    assert "ok     The captioner uses the miniature moondream-mini, which comes with the project" in output
    assert "ok     The transcriber uses the miniature whisper-mini, which comes with the project" in output
    assert "of your own" not in output


def test_a_users_own_checkpoint_is_called_that_and_left_alone(
    cache_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(project_folder() / "checkpoints/mini/moondream-mini", folder)
    config = tmp_path / "own.yaml"
    config.write_text(f"applications: [{{args: {{captioner: {{model: {folder}}}}}}}]")
    assert main(["shrink", "--config", str(config)]) == 0
    assert f"a checkpoint of your own, {folder}; nothing to shrink" in capsys.readouterr().out
    assert (folder / "model.safetensors").exists()
    main(["verify", "--captioner", "--config", str(config)])
    output = capsys.readouterr().out
    assert f"ok     The captioner uses a checkpoint of your own, {folder}. All its files are there." in output
    assert "miniature" not in output
    (folder / "tokenizer.json").unlink()
    assert main(["verify", "--captioner", "--config", str(config)]) == 1
    assert f"WRONG  {folder / 'tokenizer.json'} does not exist. Correct the path" in capsys.readouterr().out
