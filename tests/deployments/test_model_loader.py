import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from deployments.errors import ModelLoading, ModelNotLoaded
from deployments.model_loader import LoadedModel, ModelLoader, ReportProgress


class Loader:
    """Loads the word "model", when it is allowed to; fails as often as it is told to."""

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


def slot_of(loader: Loader, *, lazy: bool = False) -> ModelLoader[str]:
    return ModelLoader("m", loader, lazy=lazy, is_miniature=False)


def test_an_eager_model_tells_its_progress_until_it_is_there() -> None:
    loader = Loader()
    slot = slot_of(loader)
    wait_until(lambda: slot.status().detail != "")
    with pytest.raises(ModelLoading, match="reading 1 of 2 files"):
        asyncio.run(slot.get(time.time() + 5))
    loader.may_end.set()
    wait_until(lambda: slot.status().state == "loaded")
    assert asyncio.run(slot.get(time.time() + 5)) == "model"
    status = slot.status()
    assert (status.revision, status.weight_bytes, status.threads) == ("r1", 3, 2)
    assert loader.attempts == 1


def test_a_failed_load_tells_why_and_is_tried_again_on_demand() -> None:
    loader = Loader(failures=1)
    loader.may_end.set()
    slot = slot_of(loader)
    wait_until(lambda: slot.status().state == "failed")
    assert loader.attempts == 1
    loader.may_end.clear()
    for told in ("Another attempt has begun", "The last attempt failed"):
        with pytest.raises(ModelNotLoaded, match=f"Run the fetch command.*{told}|{told}.*Run the fetch command"):
            asyncio.run(slot.get(time.time() + 5))
    loader.may_end.set()
    wait_until(lambda: slot.status().state == "loaded")
    assert asyncio.run(slot.get(time.time() + 5)) == "model"


def test_a_lazy_model_is_loaded_by_its_first_request_which_waits_for_it() -> None:
    loader = Loader()
    slot = slot_of(loader, lazy=True)
    assert slot.status().state == "not_loaded"
    assert loader.attempts == 0
    loader.may_end.set()
    assert asyncio.run(slot.get(time.time() + 5)) == "model"


def test_an_unforeseen_error_while_loading_is_told_without_internals() -> None:
    def load(report: ReportProgress) -> LoadedModel[str]:
        raise KeyError("secret")

    slot = ModelLoader("m", load, lazy=False, is_miniature=False)
    wait_until(lambda: slot.status().state == "failed")
    assert "secret" not in slot.status().detail
    assert "KeyError" in slot.status().detail


def test_a_lazy_model_that_loads_past_the_deadline_says_so() -> None:
    loader = Loader()
    slot = slot_of(loader, lazy=True)
    with pytest.raises(ModelLoading, match="still loading"):
        asyncio.run(slot.get(time.time() + 0.1))
    loader.may_end.set()
