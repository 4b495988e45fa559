"""The library as a deployment, without Ray."""

import asyncio
import inspect
import os
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from deployments.errors import ModelLoading, ModelNotLoaded, NotFound
from deployments.library import deployment as deployment_module
from deployments.library.deployment import LibraryDeployment
from deployments.library.library import Library
from deployments.library.protocol import LibraryService
from deployments.library.settings import LibraryConfig
from deployments.library.types import FileFilter, SearchRequest
from deployments.media import as_media
from tests.deployments.library.contents import IN_EACH_WAY, new_chunks, new_file, vectors_of

T = TypeVar("T")


def soon() -> float:
    return time.time() + 30


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def test_it_has_the_methods_of_its_protocol() -> None:
    methods = {name for name, method in vars(LibraryService).items() if inspect.iscoroutinefunction(method)}
    assert methods == {
        name
        for name, method in vars(LibraryDeployment).items()
        if inspect.iscoroutinefunction(method) and not name.startswith("_")
    }


@IN_EACH_WAY
def test_a_file_goes_all_its_way(config: LibraryConfig) -> None:
    async def work() -> None:
        library = LibraryDeployment(config)
        added = await library.add_file(as_media(b"a"), new_file("a.txt"), deadline=soon(), request_id="1")
        job = await library.lease_job("tests", 30, deadline=soon())
        assert job is not None
        lease = (job.job_id, job.lease)
        assert await library.report_progress(*lease, "reading", 0.5, "", 30, deadline=soon())
        texts = ["the budget", "the weather"]
        assert await library.add_chunks(*lease, 0, new_chunks(texts), vectors_of(texts), deadline=soon())
        assert await library.complete_job(*lease, 2, deadline=soon())
        file_id = added.file.file_id
        assert (await library.file(file_id, deadline=soon())).status == "completed"
        [hit] = await library.search(SearchRequest("budget", 10), vectors_of(["budget"]), deadline=soon())
        assert hit.chunk.text == "the budget"
        assert await library.chunk(hit.chunk.chunk_id, deadline=soon()) == hit.chunk
        assert len(await library.chunks(file_id, 0, 10, deadline=soon())) == 2
        assert bytes(await library.original(file_id, deadline=soon())) == b"a"
        assert await library.original_part(file_id, 0, 1, deadline=soon()) == b"a"
        await library.add_history("budget", 1, 1.0, deadline=soon())
        assert (await library.history(10, 0, deadline=soon())).total == 1
        assert await library.clear_history(deadline=soon()) == 1
        assert (await library.verify(deadline=soon())).problems == []
        assert (await library.rebuild(deadline=soon())).problems == []
        await library.checkpoint(deadline=soon())
        await library.delete_file(file_id, deadline=soon(), request_id="2")
        await library.compact(deadline=soon())
        assert (await library.files(FileFilter(), 10, 0, deadline=soon())).total == 0
        assert (await library.stats(deadline=soon())).total_chunks == 0
        with pytest.raises(NotFound):
            await library.retry_file(file_id, deadline=soon())
        library.check_health()

    run(work())


def test_who_waits_for_events_is_woken(config: LibraryConfig) -> None:
    async def work() -> None:
        library = LibraryDeployment(config)
        assert await library.events(None, 10, deadline=soon()) == []
        start = time.monotonic()
        assert await library.events(0, 0.2, deadline=soon()) == []
        assert time.monotonic() - start >= 0.2
        # More of them than threads: waiting takes none.
        waiting = [asyncio.create_task(library.events(0, 20, deadline=soon())) for _ in range(20)]
        await asyncio.sleep(0.3)
        added = await library.add_file(as_media(b"a"), new_file("a.txt"), deadline=soon())
        for events in await asyncio.gather(*waiting):
            assert [event.file_id for event in events] == [added.file.file_id]
        assert time.monotonic() - start < 15

    run(work())


def test_a_folder_that_another_process_has_is_waited_for(
    config: LibraryConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = Library(config)

    async def work() -> None:
        monkeypatch.setattr(deployment_module, "LOCK_WAIT_S", 0.2)
        library = LibraryDeployment(config)
        with pytest.raises(ModelNotLoaded, match=f"in use by process {os.getpid()} on "):
            await library.stats(deadline=soon())
        monkeypatch.setattr(deployment_module, "LOCK_WAIT_S", 20.0)
        stats = asyncio.create_task(library.stats(deadline=soon()))
        await asyncio.sleep(0.5)
        holder.close()
        assert (await stats).total_files == 0

    run(work())


def test_a_library_that_is_still_being_opened_is_loading(config: LibraryConfig) -> None:
    holder = Library(config)

    async def work() -> None:
        library = LibraryDeployment(config)
        with pytest.raises(ModelLoading):
            await library.stats(deadline=time.time() + 0.2)
        holder.close()
        assert (await library.stats(deadline=soon())).total_files == 0

    run(work())


def test_a_folder_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")

    async def work() -> None:
        library = LibraryDeployment(LibraryConfig(folder=tmp_path / "file"))
        with pytest.raises(ModelNotLoaded, match="could not be opened.*File exists"):
            await library.stats(deadline=soon())

    run(work())
