"""A model in a process of its own: answers, errors, cancellation, and its end."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from deployments.cancellation import Cancellation, WorkCancelled
from deployments.errors import DeadlineExceeded, InvalidFile, ModelNotLoaded, ProcessingFailed
from deployments.model_process import ModelProcess
from deployments.project import project_folder

MODULE = "tests.deployments.model_process.model"
NEVER = Cancellation(float("inf"))


@pytest.fixture(scope="module")
def model() -> Iterator[ModelProcess]:
    process = ModelProcess(MODULE, {"weight_bytes": 7}, lambda line: None)
    yield process
    process.close()


def test_loading_reports_progress_and_facts() -> None:
    lines: list[str] = []
    process = ModelProcess(MODULE, {"weight_bytes": 7}, lines.append)
    assert (lines, process.facts) == (["reading the weights"], {"weight_bytes": 7})
    process.close()
    assert process.has_ended
    assert not psutil.pid_exists(process.pid)


@pytest.mark.parametrize(
    ("settings", "message"), [({"missing": True}, "weights are missing"), ({"crash": True}, "ended while it loaded")]
)
def test_a_model_that_cannot_be_loaded_says_why_and_leaves_no_process(settings: dict[str, bool], message: str) -> None:
    with pytest.raises(ModelNotLoaded, match=message):
        ModelProcess(MODULE, settings, lambda line: None)
    assert not [child for child in psutil.Process().children() if MODULE in child.cmdline()]


@pytest.mark.parametrize("num_numbers", [3, 2_000_000])
def test_arrays_go_there_and_come_back(model: ModelProcess, num_numbers: int) -> None:
    numbers = np.arange(num_numbers, dtype=np.float32)
    assert np.array_equal(model.call("double", numbers, cancellation=NEVER), numbers * 2)


def test_errors_of_the_model_pass_and_it_goes_on(model: ModelProcess) -> None:
    with pytest.raises(InvalidFile, match="It is damaged"):
        model.call("refuse", None, cancellation=NEVER)
    with pytest.raises(RuntimeError, match="KeyError"):
        model.call("fail", "a", cancellation=NEVER)
    with pytest.raises(RuntimeError, match="cannot be sent"):
        model.call("return nothing that can be sent", None, cancellation=NEVER)
    assert model.call("double", 4, cancellation=NEVER) == 8


def test_a_late_call_ends_with_its_progress(model: ModelProcess) -> None:
    with pytest.raises(DeadlineExceeded, match="one step was done"):
        model.call("wait", None, cancellation=Cancellation(time.time() + 0.2))
    assert model.call("double", 4, cancellation=NEVER) == 8


def test_a_cancelled_call_ends_soon_and_the_next_one_is_answered(model: ModelProcess) -> None:
    cancellation = Cancellation(time.time() + 60)
    threading.Timer(0.2, cancellation.cancel).start()
    started = time.monotonic()
    with pytest.raises(WorkCancelled):
        model.call("wait", None, cancellation=cancellation)
    assert time.monotonic() - started < 10
    assert model.call("double", 4, cancellation=NEVER) == 8


def test_a_crash_is_an_error_and_seen(model: ModelProcess) -> None:
    crashing = ModelProcess(MODULE, {"weight_bytes": 7}, lambda line: None)
    with pytest.raises(ProcessingFailed, match="try again"):
        crashing.call("crash", None, cancellation=NEVER)
    assert crashing.has_ended
    with pytest.raises(ProcessingFailed, match="try again"):
        crashing.call("double", 4, cancellation=NEVER)


START_AND_WAIT = f"""
import sys, time
from deployments.model_process import ModelProcess
process = ModelProcess({MODULE!r}, {{"weight_bytes": 7}}, lambda line: None)
print(process.pid, flush=True)
time.sleep(600)
"""


def test_the_process_ends_with_a_replica_that_is_killed() -> None:
    replica = subprocess.Popen([sys.executable, "-c", START_AND_WAIT], cwd=project_folder(), stdout=subprocess.PIPE)
    assert replica.stdout is not None
    with replica.stdout:
        pid = int(replica.stdout.readline())
    os.kill(replica.pid, signal.SIGKILL)
    replica.wait()
    end = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.05)
