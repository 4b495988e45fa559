import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psutil
import pytest

from deployments.cancellation import Cancellation, WorkCancelled
from deployments.errors import DeadlineExceeded, InvalidFile, ProcessingFailed, ServerBusy
from deployments.media import as_media
from deployments.project import project_folder
from deployments.sandbox import Sandbox, client
from tests.deployments.sandbox.work import everything

MEDIA = as_media(bytes(range(256)) * 100)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    started = Sandbox("tests.deployments.sandbox.work", memory_bytes=200 * 2**20)
    yield started
    started.close()


def run(sandbox: Sandbox, function: str, *arguments: Any, seconds: float = 20) -> list[Any]:
    return list(sandbox.run(function, MEDIA, *arguments, cancellation=Cancellation(time.time() + seconds)))


def is_alive(pid: int) -> bool:
    end = time.monotonic() + 2
    while time.monotonic() < end:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return False
        except psutil.NoSuchProcess:
            return False
        time.sleep(0.01)
    return True


def test_the_function_reads_the_file_in_parts(sandbox: Sandbox) -> None:
    content = bytes(MEDIA)
    assert run(sandbox, "read_parts", [10, 5000, 10**6, 10]) == [content[:10], content[10:5010], content[5010:], b""]


@pytest.mark.parametrize("num_items", [0, 10, 5_000_000])
def test_arrays_come_back_whole_and_writable(sandbox: Sandbox, num_items: int) -> None:
    [value] = run(sandbox, "make_array", num_items)
    assert np.array_equal(value["array"], np.arange(num_items, dtype=np.int32))
    value["array"][:1] = 7


def test_each_call_has_a_process_of_its_own_that_is_gone_afterwards(sandbox: Sandbox) -> None:
    pids = [run(sandbox, "make_array", 1)[0]["pid"] for _ in range(2)]
    assert len({*pids, os.getpid()}) == 3
    assert not any(is_alive(pid) for pid in pids)


def test_a_decoder_that_hangs_is_killed_at_the_deadline_with_its_progress(sandbox: Sandbox) -> None:
    values = sandbox.run("hang", MEDIA, cancellation=Cancellation(time.time() + 3))
    pid = next(values)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="2 of 5 frames were decoded"):
        next(values)
    assert time.monotonic() - started < 5
    assert not is_alive(pid)


def test_a_decoder_that_hangs_is_killed_when_the_client_is_gone(sandbox: Sandbox) -> None:
    cancellation = Cancellation(time.time() + 60)
    values = sandbox.run("hang", MEDIA, cancellation=cancellation)
    pid = next(values)
    cancellation.cancel()
    with pytest.raises(WorkCancelled):
        next(values)
    assert not is_alive(pid)


def test_a_decoder_that_makes_no_progress_is_killed_before_the_deadline() -> None:
    impatient = Sandbox("tests.deployments.sandbox.work", memory_bytes=200 * 2**20, max_silence_s=0.3)
    try:
        values = impatient.run("hang", MEDIA, cancellation=Cancellation(time.time() + 60))
        pid = next(values)
        with pytest.raises(InvalidFile, match=r"made no progress for 0\.3 seconds"):
            next(values)
        assert not is_alive(pid)
    finally:
        impatient.close()


def test_an_idle_fork_server_ends_and_comes_back() -> None:
    others = fork_servers()
    sandbox = Sandbox("tests.deployments.sandbox.work", memory_bytes=200 * 2**20, max_idle_s=0.2)
    try:
        assert fork_servers() == others
        values = sandbox.run("make_array", MEDIA, 1, cancellation=Cancellation(time.time() + 60))
        next(values)
        [server] = fork_servers() - others
        time.sleep(0.5)
        assert fork_servers() - others == {server}  # a call is not idleness
        values.close()
        server.wait(10)
        assert fork_servers() == others
        assert len(run(sandbox, "make_array", 1)) == 1
        assert len(fork_servers() - others) == 1
    finally:
        sandbox.close()


def fork_servers() -> set[psutil.Process]:
    running = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return {child for child in running if child.cmdline()[-1:] == ["tests.deployments.sandbox.work"]}


def test_a_consumer_that_takes_its_time_is_no_silence_of_the_decoder() -> None:
    impatient = Sandbox("tests.deployments.sandbox.work", memory_bytes=200 * 2**20, max_silence_s=0.3)
    try:
        values = impatient.run("make_array", MEDIA, 1, cancellation=Cancellation(time.time() + 60))
        next(values)
        time.sleep(0.5)
        assert list(values) == []
    finally:
        impatient.close()


def test_values_that_nobody_wants_any_more_end_the_process(sandbox: Sandbox) -> None:
    values = sandbox.run("hang", MEDIA, cancellation=Cancellation(time.time() + 60))
    pid = next(values)
    values.close()
    assert not is_alive(pid)


def test_memory_is_limited(sandbox: Sandbox) -> None:
    assert run(sandbox, "allocate", 100 * 2**20) == [1]
    with pytest.raises(InvalidFile, match="more than 200 MB of memory"):
        run(sandbox, "allocate", 300 * 2**20)


def test_a_decoder_that_crashes_is_the_files_fault_and_harms_nobody_else(sandbox: Sandbox) -> None:
    with pytest.raises(InvalidFile, match="makes its decoder crash"):
        run(sandbox, "crash")
    assert run(sandbox, "read_parts", [1]) == [b"\0"]


def test_errors_for_the_client_arrive_as_they_were_raised(sandbox: Sandbox) -> None:
    with pytest.raises(InvalidFile, match=r"^It is broken\.$"):
        run(sandbox, "refuse")


def test_a_bug_stays_a_bug(sandbox: Sandbox) -> None:
    with pytest.raises(RuntimeError, match="a bug of ours"):
        run(sandbox, "fail")


def test_the_function_itself_stops_at_the_deadline(sandbox: Sandbox) -> None:
    with pytest.raises(DeadlineExceeded, match="it was still at it"):
        run(sandbox, "be_patient", seconds=0.3)


def test_values_come_back_as_they_were(sandbox: Sandbox) -> None:
    [value] = run(sandbox, "return_everything")
    expected = everything()
    assert repr(value) == repr(expected)
    assert [array.dtype for array in arrays_of(value)] == [array.dtype for array in arrays_of(expected)]


def arrays_of(value: Any) -> list[Any]:
    return [value["fortran", 2], value["no items"], value["dataclass"].pixels]


def test_a_value_that_cannot_be_sent_is_a_bug(sandbox: Sandbox) -> None:
    with pytest.raises(RuntimeError, match="cannot be sent"):
        run(sandbox, "return_what_cannot_be_sent")


@pytest.mark.parametrize(
    "message",
    [
        "not JSON",
        "[" * 100_000,
        "1",
        '["list", []]',
        '["error", "InvalidFile", "It is not a message."]',
        '["dataclass", "subprocess", "Popen", {"args": "true"}]',
        '["dataclass", "os", "system", {"command": "true"}]',
        '["dataclass", "deployments.sandbox.client", "subprocess", {}]',
        '["dataclass", "deployments.sandbox.client", "Sandbox", {}]',
        '["dataclass", "deployments.nowhere", "Value", {}]',
        '["dataclass", "deployments.sandbox.messages", "Job", {}]',
        '["dataclass", "deployments.sandbox.messages", "Value", {"value": ["eval", "1"]}]',
        '["dataclass", "deployments.sandbox.messages", "Value", {"value": ["error", "KeyboardInterrupt", ""]}]',
        '["dataclass", "deployments.sandbox.messages", "Value", {"value": ["array", 8, "|O8", [1]]}]',
        '["dataclass", "deployments.sandbox.messages", "Value", {"value": ["array", 8, "O,i4", [1]]}]',
        '["dataclass", "deployments.sandbox.messages", "Value", {"value": ["array", 8, "<i4", [1000]]}]',
        '["dataclass", "deployments.sandbox.messages", "Value", {"value": ["array", 8, "<i4", [-1, -1]]}]',
    ],
    ids=lambda message: message[-60:],
)
def test_a_decoder_that_was_taken_over_can_only_send_values(sandbox: Sandbox, message: str) -> None:
    with pytest.raises(InvalidFile, match="makes its decoder crash"):
        run(sandbox, "send_raw", message.encode())


@pytest.mark.parametrize("size", [(2**40, 0, False), (10, 2**40, False), (10, 2**40, True), (10, 2**20, True)])
def test_a_decoder_that_was_taken_over_cannot_fill_the_replicas_memory(
    sandbox: Sandbox, size: tuple[int, int, bool]
) -> None:
    with pytest.raises(InvalidFile, match="makes its decoder crash"):
        run(sandbox, "claim", *size)


@pytest.mark.parametrize("function", ["break_off", "dawdle"])
def test_half_a_message_keeps_nobody_waiting_after_the_deadline(sandbox: Sandbox, function: str) -> None:
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        run(sandbox, function, seconds=0.5)
    assert time.monotonic() - started < 5


def test_a_decoder_that_does_not_read_what_it_asked_for_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.sandbox.client._SEND_TIMEOUT_S", 0.3)
    started = Sandbox("tests.deployments.sandbox.work", 2**28)
    large = as_media(bytes(10 * 2**20))
    with pytest.raises(InvalidFile, match="makes its decoder crash"):
        list(started.run("refuse_to_read", large, cancellation=Cancellation(time.time() + 60)))
    started.close()


def test_memory_that_a_decoder_could_take_back_is_not_used(sandbox: Sandbox) -> None:
    with pytest.raises(InvalidFile, match="makes its decoder crash"):
        run(sandbox, "take_memory_back", False)
    values = sandbox.run("take_memory_back", MEDIA, True, cancellation=Cancellation(time.time() + 20))
    array = next(values)
    assert next(values) == "the kernel kept it"
    assert not array.any()
    values.close()


def test_a_replica_with_many_open_files_can_still_start_processes(sandbox: Sandbox) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        assert run(sandbox, "do_nothing") == [1]
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_process_that_cannot_be_started_is_not_the_files_fault() -> None:
    started = Sandbox("tests.deployments.sandbox.work", 2**28)
    try:
        resource.prlimit(started._server.pid, resource.RLIMIT_NOFILE, (3, 3))  # it can open no further file
        with pytest.raises(ServerBusy, match="No process could be started"):
            run(started, "do_nothing")
        assert started._server.poll() is None
    finally:
        started.close()


def test_a_fork_server_that_is_killed_is_not_the_files_fault() -> None:
    started = Sandbox("tests.deployments.sandbox.work", 2**28)
    values = started.run("hang", MEDIA, cancellation=Cancellation(time.time() + 60))
    next(values)
    started._server.kill()
    with pytest.raises(ProcessingFailed, match="has ended"):
        next(values)
    assert run(started, "do_nothing") == [1]
    started.close()


def test_a_fork_server_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_MAX_FORK_S", 0.2)
    started = Sandbox("tests.deployments.sandbox.work", 2**28)
    first = started._server
    first.send_signal(signal.SIGSTOP)
    assert run(started, "do_nothing") == [1]
    assert first.poll() is not None
    started.close()


def test_the_fork_server_has_one_thread(sandbox: Sandbox) -> None:
    assert psutil.Process(sandbox._server.pid).num_threads() == 1


def test_a_fork_server_outlives_the_thread_that_started_it() -> None:
    with ThreadPoolExecutor(1) as thread:
        started = thread.submit(Sandbox, "tests.deployments.sandbox.work", 2**28).result()
    time.sleep(0.2)
    assert run(started, "read_parts", [1]) == [b"\0"]
    assert started._server.poll() is None
    started.close()


def test_nothing_is_left_when_the_replica_is_killed() -> None:
    code = (
        "import time; from deployments.sandbox import Sandbox; from deployments.cancellation import Cancellation\n"
        "from deployments.media import as_media\n"
        "sandbox = Sandbox('tests.deployments.sandbox.work', 2**28)\n"
        "values = sandbox.run('hang', as_media(b'x'), cancellation=Cancellation(time.time() + 60))\n"
        "print(sandbox._server.pid, next(values), flush=True); next(values)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=project_folder()
    ) as replica:
        assert replica.stdout is not None
        pids = [int(pid) for pid in replica.stdout.readline().split()]
        replica.kill()
    assert len(pids) == 2
    assert not any(is_alive(pid) for pid in pids)


def test_two_files_are_decoded_at_once(sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(8) as threads:
        values = list(threads.map(lambda _: run(sandbox, "make_array", 400_000), range(40)))
    assert len({value["pid"] for [value] in values}) == 40


def test_a_fork_server_that_died_is_started_again(sandbox: Sandbox) -> None:
    sandbox._server.kill()
    sandbox._server.wait()
    assert run(sandbox, "read_parts", [1]) == [b"\0"]
