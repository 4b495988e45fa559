"""llama.cpp runs a GGUF file: deterministic, stopped within a token, and its memory is given back."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from deployments.answerer import llama
from deployments.answerer.llama import BATCH_TOKENS, LlamaModel
from deployments.cancellation import Cancellation, WorkCancelled
from deployments.errors import DeadlineExceeded, ModelNotLoaded, ProcessingFailed
from deployments.project import project_folder
from tests.deployments.answerer.conftest import REPLY
from tests.deployments.answerer.tiny_gguf import write_model


def soon() -> Cancellation:
    return Cancellation(time.time() + 30)


def reply(model: LlamaModel, prompt: str, max_tokens: int = 50) -> str:
    return "".join(model.complete("Answer.", prompt, max_tokens, soon()))


def test_a_reply_comes_in_pieces_and_is_the_same_each_time(tiny: LlamaModel) -> None:
    pieces = list(tiny.complete("Answer.", "What is the budget?", 50, soon()))
    assert pieces == ["The", " travel", " budget", " for", " 2024", " is", " 12,000", " euros."]
    assert reply(tiny, "And now?") == reply(tiny, "What is the budget?") == REPLY
    assert reply(tiny, "Shorter, please.", max_tokens=3) == "The travel budget"


def test_it_counts_tokens_and_measures_its_speed(tiny: LlamaModel) -> None:
    assert tiny.count_tokens("four") == 4  # the tiny model has a token for each byte
    assert tiny.count_tokens("<|im_end|>") == 10  # in a document, it is text
    before = tiny.prompt_tokens_per_s
    assert before > 100
    reply(tiny, "x" * (2 * BATCH_TOKENS))
    assert tiny.prompt_tokens_per_s != before


def test_the_beginning_of_the_last_prompt_is_reused_in_whole_batches(
    tiny: LlamaModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[tuple[int, int]] = []  # tokens that were reused and computed
    measure = LlamaModel._measure

    def record(self: LlamaModel, done: Any) -> None:
        requests.append((int(done.timings["cache_n"]), int(done.timings["prompt_n"])))
        measure(self, done)

    monkeypatch.setattr(LlamaModel, "_measure", record)
    passages = "The passages. " * 20
    for question in ("Who?", "When?", "When?"):
        assert reply(tiny, passages + question) == REPLY
    (first_reused, total), *others = requests
    assert first_reused == 0
    assert total > len(passages)
    for reused, computed in others:
        assert reused > len(passages) - BATCH_TOKENS
        assert reused % BATCH_TOKENS == 0
        assert computed <= 2 * BATCH_TOKENS


def test_closing_a_reply_stops_it_within_a_token(endless: LlamaModel) -> None:
    pieces = endless.complete("Answer.", "Go on.", 8000, soon())
    assert next(pieces)
    pieces.close()
    assert endless._reply is not None
    assert endless._reply.join(0.5)  # all 8000 tokens would take seconds
    assert endless._reply._pieces.qsize() < 4000
    assert "".join(endless.complete("Answer.", "Again.", 3, soon())) == "on and on"


def test_a_cancelled_reply_raises_at_once_and_the_next_one_works(endless: LlamaModel) -> None:
    cancellation = soon()
    pieces = endless.complete("Answer.", "Go on.", 8000, cancellation)
    next(pieces)
    cancellation.cancel()
    with pytest.raises(WorkCancelled):
        list(pieces)
    assert len(list(endless.complete("Answer.", "Again.", 5, soon()))) == 5


def test_a_late_reply_raises_even_while_the_prompt_is_read(endless: LlamaModel) -> None:
    with pytest.raises(DeadlineExceeded):
        list(endless.complete("Answer.", "Go on. " * 900, 8000, Cancellation(time.time() + 0.05)))


def test_other_threads_run_meanwhile(endless: LlamaModel) -> None:
    """The binding must not hold Python's lock, or the event loop would stand still."""
    ticks = 0

    def count() -> None:
        nonlocal ticks
        while not is_done.wait(0.001):
            ticks += 1

    is_done = threading.Event()
    counter = threading.Thread(target=count)
    counter.start()
    list(endless.complete("Answer.", "Go on.", 1000, soon()))
    is_done.set()
    counter.join()
    assert ticks > 20


def test_a_prompt_that_is_too_long_is_refused_and_harms_nothing(tiny: LlamaModel) -> None:
    with pytest.raises(ProcessingFailed, match="exceeds the available context"):
        reply(tiny, "x" * 2000)
    assert reply(tiny, "What is the budget?") == REPLY


def test_a_model_that_does_not_work_is_refused(tiny_gguf: Path) -> None:
    with pytest.raises(ModelNotLoaded, match="does not work.*exceeds the available context"):
        LlamaModel(tiny_gguf, "tiny", threads=1, context_tokens=256)


@pytest.mark.parametrize("content", ["cut", "random"])
def test_a_damaged_file_is_refused(tiny_gguf: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "damaged.gguf"
    data = tiny_gguf.read_bytes()
    path.write_bytes(data[: len(data) // 2] if content == "cut" else os.urandom(5000))
    with pytest.raises(ModelNotLoaded, match=r"damaged\.gguf cannot be loaded as a GGUF model"):
        LlamaModel(path, "damaged", threads=1, context_tokens=256)


def test_no_port_is_opened_and_nothing_is_left_behind(tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[Path] = []
    mkdtemp = llama.tempfile.mkdtemp

    def record(*args: Any, **keywords: Any) -> str:
        folders.append(Path(mkdtemp(*args, **keywords)))
        return str(folders[-1])

    monkeypatch.setattr(llama.tempfile, "mkdtemp", record)
    before = {connection.laddr for connection in psutil.Process().net_connections("inet")}
    model = LlamaModel(tiny_gguf, "tiny", threads=1, context_tokens=1024)
    assert {connection.laddr for connection in psutil.Process().net_connections("inet")} == before
    [folder] = folders
    assert folder.stat().st_mode & 0o777 == 0o700
    model.close()
    assert not folder.exists()


MEMORY = """
import gc, sys, time
from pathlib import Path
from deployments.answerer.llama import LlamaModel
from deployments.cancellation import Cancellation
from deployments.malloc import trim_freed_memory
import psutil

def rss_mb():
    return psutil.Process().memory_info().rss / 2**20

def use():
    model = LlamaModel(Path(sys.argv[1]), "large", threads=1, context_tokens=8192)
    list(model.complete("Answer.", "Go.", 5, Cancellation(time.time() + 60)))
    loaded = rss_mb()
    model.close()
    return loaded

use()
trim_freed_memory()
before = rss_mb()
loaded = use()
gc.collect()
trim_freed_memory()
print(before, loaded, rss_mb())
"""


def test_closing_gives_the_memory_back(tmp_path: Path) -> None:
    path = write_model(tmp_path / "large.gguf", "Large.", feed_forward=60_000)
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True, cwd=project_folder()
    )
    before, loaded, after = map(float, run.stdout.split())
    size_mb = path.stat().st_size / 2**20
    assert size_mb > 80
    assert loaded - before > 0.8 * size_mb
    assert after - before < 0.2 * size_mb
