"""The embedder's replica: queries first, a bounded number of threads, and its state in health."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from inspect import signature
from pathlib import Path

import pytest

from deployments.embedder.deployment import EmbedderDeployment
from deployments.embedder.protocol import EmbedderService
from deployments.embedder.settings import EmbedderConfig
from deployments.errors import DeadlineExceeded, ModelLoading, ModelNotLoaded
from deployments.project import project_folder
from deployments.settings import WeightsConfig
from serve_app.graph import EMBEDDER

PASSAGE = "The quick brown fox jumps over the lazy dog, and then it sleeps in the sun until the evening. " * 8


def soon() -> float:
    # Background threads get little of a busy machine.
    return time.time() + 300


@asynccontextmanager
async def replica_of(cache: Path, *, lazy: bool = False, **settings: object) -> AsyncIterator[EmbedderDeployment]:
    config = EmbedderConfig.model_validate(settings)
    replica = EmbedderDeployment(config, WeightsConfig(cache_dir=cache), lazy=lazy)
    while not lazy and (await replica.status()).state == "loading":
        await asyncio.sleep(0.01)
    yield replica


@pytest.mark.parametrize("method", ["embed_query", "embed_passages", "count_tokens"])
def test_the_protocol_has_the_signatures_of_the_deployment(method: str) -> None:
    assert signature(getattr(EmbedderService, method)) == signature(getattr(EmbedderDeployment, method))


def test_a_lazy_replica_loads_at_its_first_call_and_answers_every_call(model_cache: Path) -> None:
    async def run() -> None:
        async with replica_of(model_cache, lazy=True, threads=2) as replica:
            assert (await replica.status()).state == "not_loaded"
            assert await replica.count_tokens(["a cat", ""], deadline=soon()) == [2, 0]
            query = await replica.embed_query("a cat", deadline=soon())
            passages = await replica.embed_passages(["a cat", "a car"], deadline=soon())
            same, other = passages @ query[0]
            assert same == pytest.approx(1, abs=1e-5)
            assert other < 0.5
            status = await replica.status()
            assert (status.state, status.name, status.revision) == ("loaded", "all-MiniLM-L6-v2", "c9745ed1d9f2")
            assert status.threads == 2
            assert status.weight_bytes is not None
            assert 85e6 < status.weight_bytes < 95e6
            replica.check_health()

    asyncio.run(run())


def test_a_query_does_not_wait_for_passages(model_cache: Path) -> None:
    async def run() -> None:
        async with replica_of(model_cache) as replica:
            passages = [
                asyncio.create_task(replica.embed_passages([PASSAGE] * 5_000, deadline=soon())) for _ in range(3)
            ]
            await asyncio.sleep(0.5)
            assert (await replica.embed_query("a cat", deadline=soon())).shape == (1, 384)
            assert not any(task.done() for task in passages)
            for task in passages:
                task.cancel()
            outcomes = await asyncio.gather(*passages, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 3
            assert (await replica.embed_passages(["free again"], deadline=soon())).shape == (1, 384)

    asyncio.run(run())


def test_a_repeated_query_is_not_computed_again(model_cache: Path) -> None:
    async def run() -> None:
        async with replica_of(model_cache) as replica:
            first = await replica.embed_query("a cat", deadline=soon())
            # Its deadline has passed: there is no time to compute anything.
            assert await replica.embed_query("a cat", deadline=time.time() - 1) is first
            with pytest.raises(DeadlineExceeded):
                await replica.embed_query("another cat", deadline=time.time() - 1)

    asyncio.run(run())


def test_while_the_weights_are_fetched_calls_get_the_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.embedder.deployment.MAX_LOAD_WAIT_S", 0.3)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")

    async def run() -> None:
        async with replica_of(tmp_path, lazy=True) as replica:
            with pytest.raises(ModelLoading, match=r"still loading \(.*model\.safetensors"):
                await replica.embed_query("a cat", deadline=soon())

    asyncio.run(run())


def test_a_checkpoint_that_is_not_there_leaves_the_replica_up_with_the_reason(tmp_path: Path) -> None:
    async def run() -> None:
        async with replica_of(tmp_path, model=str(tmp_path / "nothing")) as replica:
            assert (await replica.status()).state == "failed"
            with pytest.raises(ModelNotLoaded, match=r"does not exist.*`embedder\.model`"):
                await replica.embed_query("a cat", deadline=soon())

    asyncio.run(run())


def test_passages_that_several_threads_embed_keep_their_order(model_cache: Path) -> None:
    texts = ["a cat", "two dogs", "three grey horses", "a house by the sea", "rain"]

    async def run() -> None:
        async with replica_of(model_cache, lazy=True, threads=3) as replica:
            vectors = await replica.embed_passages(texts, deadline=soon())
            assert len(vectors) == len(texts)
            for text, vector in zip(texts, vectors, strict=True):
                [alone] = await replica.embed_passages([text], deadline=soon())
                assert abs(vector - alone).max() <= 1e-5
            assert len(await replica.embed_passages([], deadline=soon())) == 0

    asyncio.run(run())


COUNT_THREADS = """
import asyncio, sys, time
from pathlib import Path
from deployments.embedder.deployment import EmbedderDeployment
from deployments.embedder.settings import EmbedderConfig
from deployments.settings import WeightsConfig
from tests.deployments.threads import threads_by_niceness

async def main():
    replica = EmbedderDeployment(EmbedderConfig(threads=3), WeightsConfig(cache_dir=Path(sys.argv[1])), lazy=True)
    deadline = time.time() + 300
    await replica.embed_query("warm up", deadline=deadline)
    before = threads_by_niceness()
    await asyncio.gather(
        replica.embed_query("a cat on a mat", deadline=deadline),
        replica.embed_passages(["a cat on a mat"] * 200, deadline=deadline),
        replica.count_tokens(["a cat on a mat"] * 200, deadline=deadline),
    )
    sys.stdout.write(repr((before, threads_by_niceness(), "torch" in sys.modules)))

asyncio.run(main())
"""


def test_passages_have_their_threads_at_the_lowest_priority_and_queries_one_at_normal(model_cache: Path) -> None:
    from collections import Counter

    command = [sys.executable, "-c", COUNT_THREADS, str(model_cache)]
    environment = {**os.environ, **EMBEDDER.environment}
    output = subprocess.run(command, cwd=project_folder(), env=environment, capture_output=True, text=True, timeout=600)
    assert output.returncode == 0, output.stderr
    before, after, has_torch = eval(output.stdout, {"Counter": Counter})
    assert not has_torch  # it would take 150 MB
    # The passages' three threads, and the one that counts.
    assert after[19] == 4
    # The queries' thread is there before, and starts no others.
    assert after[0] == before[0]
