import asyncio
import errno
import os
import threading
import time
from collections.abc import Callable

import pytest

from deployments.errors import ModelLoading, ModelNotLoaded
from deployments.model_loader import IdleUnloader, LoadedModel, ModelLoader, ReportProgress


class FakeLoad:
    """Loads the string "model" once `may_end` is set; the first `failures` attempts fail."""

    def __init__(self, failures: int = 0) -> None:
        self.may_end = threading.Event()
        self.failures = failures
        self.attempts = 0

    def __call__(self, report: ReportProgress) -> LoadedModel[str]:
        self.attempts += 1
        report("reading 1 of 2 files")
        assert self.may_end.wait(5)
        if self.attempts <= self.failures:
            raise ModelNotLoaded("the file is missing. Run the fetch command.")
        return LoadedModel("model", revision="r1", weight_bytes=3, threads=2)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def make_loader(load: FakeLoad, *, lazy: bool = False) -> ModelLoader[str]:
    return ModelLoader("m", load, lazy=lazy, is_miniature=False)


def test_an_eager_model_reports_its_progress_until_it_is_loaded() -> None:
    load = FakeLoad()
    model_loader = make_loader(load)
    wait_until(lambda: model_loader.status().detail != "")
    with pytest.raises(ModelLoading, match="reading 1 of 2 files"):
        asyncio.run(model_loader.get(time.time() + 5))
    load.may_end.set()
    wait_until(lambda: model_loader.status().state == "loaded")
    assert asyncio.run(model_loader.get(time.time() + 5)) == "model"
    status = model_loader.status()
    assert (status.revision, status.weight_bytes, status.threads) == ("r1", 3, 2)
    assert load.attempts == 1


def test_a_failed_load_reports_the_reason_and_is_repeated_on_demand() -> None:
    load = FakeLoad(failures=1)
    load.may_end.set()
    model_loader = make_loader(load)
    wait_until(lambda: model_loader.status().state == "failed")
    assert load.attempts == 1
    load.may_end.clear()
    for message in ("Loading it again now", "The last attempt failed"):
        with pytest.raises(ModelNotLoaded, match=f"Run the fetch command.*{message}|{message}.*Run the fetch command"):
            asyncio.run(model_loader.get(time.time() + 5))
    load.may_end.set()
    wait_until(lambda: model_loader.status().state == "loaded")
    assert asyncio.run(model_loader.get(time.time() + 5)) == "model"


def test_a_lazy_model_is_loaded_by_its_first_request_which_waits() -> None:
    load = FakeLoad()
    model_loader = make_loader(load, lazy=True)
    assert model_loader.status().state == "not_loaded"
    assert load.attempts == 0
    load.may_end.set()
    assert asyncio.run(model_loader.get(time.time() + 5)) == "model"


def test_an_unexpected_loading_error_is_reported_without_internals() -> None:
    def load(report: ReportProgress) -> LoadedModel[str]:
        raise KeyError("secret")

    model_loader = ModelLoader("m", load, lazy=False, is_miniature=False)
    wait_until(lambda: model_loader.status().state == "failed")
    assert "secret" not in model_loader.status().detail
    assert "KeyError" in model_loader.status().detail


def test_waiting_for_a_lazy_model_ends_at_the_deadline() -> None:
    load = FakeLoad()
    model_loader = make_loader(load, lazy=True)
    with pytest.raises(ModelLoading, match="still loading"):
        asyncio.run(model_loader.get(time.time() + 0.1))
    load.may_end.set()


def test_a_full_disk_is_named_with_its_file() -> None:
    def load(report: ReportProgress) -> LoadedModel[str]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/cache/model.safetensors")

    model_loader = ModelLoader("m", load, lazy=False, is_miniature=False)
    wait_until(lambda: model_loader.status().state == "failed")
    assert model_loader.status().detail == "The disk is full (/cache/model.safetensors): free some space."


def test_an_unloaded_model_is_handed_out_to_be_closed_and_loaded_again_when_it_is_needed() -> None:
    load = FakeLoad()
    loader = make_loader(load)
    assert loader.unload() is None
    load.may_end.set()
    wait_until(lambda: loader.status().state == "loaded")
    assert loader.unload() == "model"
    assert loader.status().state == "not_loaded"
    assert loader.unload() is None
    assert asyncio.run(loader.get(time.time() + 5)) == "model"
    assert load.attempts == 2


@pytest.mark.parametrize("max_idle_s", [0.0, 0.1])
def test_an_idle_model_is_unloaded_even_if_its_only_call_did_not_wait_for_it(max_idle_s: float) -> None:
    load = FakeLoad()
    loader = make_loader(load, lazy=True)
    freed: list[str] = []

    async def run() -> None:
        unloader = IdleUnloader(loader, max_idle_s, freed.append)
        with unloader.call(), pytest.raises(ModelLoading):
            await loader.get(time.time())
        await asyncio.sleep(2 * max_idle_s + 0.1)
        assert loader.status().state == "loading"
        load.may_end.set()
        async with asyncio.timeout(5):
            while not freed:
                await asyncio.sleep(0.01)
        assert loader.status().state == "not_loaded"

    asyncio.run(run())
    assert freed == ["model"]


def test_a_model_stays_loaded_during_every_call() -> None:
    load = FakeLoad()
    load.may_end.set()
    loader = make_loader(load, lazy=True)
    freed: list[str] = []

    async def run() -> None:
        unloader = IdleUnloader(loader, 0.05, freed.append)
        with unloader.call():
            with unloader.call():
                await loader.get(time.time() + 5)
            await asyncio.sleep(0.2)
            assert (loader.status().state, freed) == ("loaded", [])
        async with asyncio.timeout(5):
            while not freed:
                await asyncio.sleep(0.01)

    asyncio.run(run())
