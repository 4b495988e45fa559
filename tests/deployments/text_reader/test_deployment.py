"""The text reader's replica: image files, memory that is given back, threads, silence."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from inspect import signature
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from deployments.errors import DeadlineExceeded, InvalidFile
from deployments.media import as_media
from deployments.project import project_folder
from deployments.text_reader import preprocessing
from deployments.text_reader.deployment import PROCESS_MODULE, SANDBOX_MODULE, TextReaderDeployment
from deployments.text_reader.protocol import TextReaderService
from deployments.text_reader.settings import TextReaderConfig
from tests.deployments.text_reader.pictures import Page, encoded


def soon() -> float:
    # Background threads get little of a busy machine.
    return time.time() + 300


def sign() -> Page:
    page = Page(500, 300)
    page.write("Harbour Office", 60, 60, 40)
    page.write("open 8 to 17", 60, 160, 40)
    return page


SIGN = ["Harbour Office", "open 8 to 17"]


@pytest.mark.parametrize("method", ["read_image", "read_pixels"])
def test_the_protocol_has_the_signatures_of_the_deployment(method: str) -> None:
    assert signature(getattr(TextReaderService, method)) == signature(getattr(TextReaderDeployment, method))


def test_a_replica_reads_every_kind_of_picture() -> None:
    page = sign()
    transparent = Image.new("RGBA", page.image.size, (0, 0, 0, 0))
    transparent.putalpha(Image.eval(page.image.convert("L"), lambda level: 255 - level))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    files = {
        "colours": encoded(page.image, "PNG"),
        "grey": encoded(page.image.convert("L"), "JPEG"),
        "black on transparent": encoded(transparent, "PNG"),
        "stored on its side": encoded(page.image.rotate(90, expand=True), "JPEG", exif=exif),
    }

    async def run() -> None:
        replica = TextReaderDeployment(TextReaderConfig(), lazy=True)
        assert (await replica.status()).state == "not_loaded"
        for kind, content in files.items():
            result = await replica.read_image(as_media(content), deadline=soon())
            assert (result.width, result.height) == (500, 300), kind
            assert [line.text for line in result.lines] == SIGN, kind
        status = await replica.status()
        assert (status.state, status.name) == ("loaded", "PP-OCRv6-small")
        result = await replica.read_pixels(page.pixels, deadline=soon())
        assert [line.text for line in result.lines] == SIGN
        replica.check_health()

    asyncio.run(run())


def test_the_size_is_that_of_the_file_even_if_it_is_scaled_down(monkeypatch: pytest.MonkeyPatch) -> None:
    large = sign().image.resize((5000, 3000))
    assert 5000 * 3000 > preprocessing.MAX_READ_PIXELS

    async def run() -> None:
        replica = TextReaderDeployment(TextReaderConfig(), lazy=True)
        result = await replica.read_image(as_media(encoded(large, "JPEG")), deadline=soon())
        assert (result.width, result.height) == (5000, 3000)
        assert [line.text for line in result.lines] == SIGN

    asyncio.run(run())


def test_bad_files_and_late_calls_raise_their_own_errors() -> None:
    async def run() -> None:
        replica = TextReaderDeployment(TextReaderConfig(max_image_pixels=10_000), lazy=True)
        with pytest.raises(InvalidFile, match="cannot be decoded"):
            await replica.read_image(as_media(b"not a picture"), deadline=soon())
        with pytest.raises(InvalidFile, match="more than 10,000 pixels"):
            await replica.read_image(as_media(encoded(sign().image, "PNG")), deadline=soon())
        with pytest.raises(DeadlineExceeded):
            await replica.read_pixels(sign().pixels, deadline=time.time() - 1)

    asyncio.run(run())


def test_the_models_leave_memory_when_idle_and_come_back() -> None:
    async def run() -> None:
        others = processes()
        replica = TextReaderDeployment(TextReaderConfig(idle_unload_s=0.2), lazy=True)
        assert (await replica.read_image(as_media(encoded(sign().image, "PNG")), deadline=soon())).lines
        assert (await replica.status()).state == "loaded"
        async with asyncio.timeout(60):
            while processes() - others:  # those of other replicas may end meanwhile
                await asyncio.sleep(0.05)
        status = await replica.status()
        assert (status.state, status.weight_bytes) == ("not_loaded", None)
        assert status.is_available
        assert (await replica.read_pixels(sign().pixels, deadline=soon())).lines

    asyncio.run(run())


def processes() -> set[psutil.Process]:
    """Return those of all replicas of the tests, with the networks or for decoders."""
    found = set()
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            if child.status() != psutil.STATUS_ZOMBIE and {PROCESS_MODULE, SANDBOX_MODULE} & set(child.cmdline()):
                found.add(child)
    return found


def test_a_process_that_has_died_is_replaced() -> None:
    async def run() -> None:
        others = processes()
        replica = TextReaderDeployment(TextReaderConfig(), lazy=True)
        assert (await replica.read_pixels(sign().pixels, deadline=soon())).lines
        [process] = processes() - others
        process.kill()
        process.wait()
        assert [line.text for line in (await replica.read_pixels(sign().pixels, deadline=soon())).lines] == SIGN

    asyncio.run(run())


def test_the_models_stay_while_pictures_wait() -> None:
    async def run() -> None:
        replica = TextReaderDeployment(TextReaderConfig(idle_unload_s=0), lazy=True)
        results = await asyncio.gather(*(replica.read_pixels(sign().pixels, deadline=soon()) for _ in range(3)))
        assert all([line.text for line in result.lines] == SIGN for result in results)

    asyncio.run(run())


COUNT_THREADS = """
import asyncio, sys, time
import psutil
from deployments.text_reader.deployment import PROCESS_MODULE, TextReaderDeployment
from deployments.text_reader.settings import TextReaderConfig
from tests.deployments.text_reader.test_deployment import sign
from tests.deployments.threads import threads_by_niceness

async def main():
    replica = TextReaderDeployment(TextReaderConfig(threads=3), lazy=True)
    before = threads_by_niceness()
    await replica.read_pixels(sign().pixels, deadline=time.time() + 300)
    after = threads_by_niceness()
    [process] = [child for child in psutil.Process().children() if PROCESS_MODULE in child.cmdline()]
    in_process = threads_by_niceness(process.pid)
    sys.stdout.write(f"{after[0] - before[0]} {after[19] - before[19]} {in_process[19]} {in_process.total()}")

asyncio.run(main())
"""


def test_reading_has_few_threads_all_at_the_lowest_priority_and_leaves_no_trace(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COUNT_THREADS]
    environment = {**os.environ, "HOME": str(tmp_path)}
    output = subprocess.run(command, cwd=project_folder(), env=environment, capture_output=True, text=True, timeout=600)
    assert output.returncode == 0, output.stderr
    assert output.stderr == ""
    # Some versions of onnxruntime keep a database of telemetry there, and send it.
    assert list(tmp_path.iterdir()) == []
    normal, lowest, lowest_in_process, all_in_process = map(int, output.stdout.split())
    # In the replica the thread that waits for the process.
    assert (normal, lowest) == (0, 1)
    # The thread that reads, and for each of the two large networks two more that help it.
    assert lowest_in_process == all_in_process == 1 + 2 * 2


READ_ONE_PICTURE = """
import asyncio, sys, time
from deployments.media import as_media
from deployments.text_reader.deployment import TextReaderDeployment
from deployments.text_reader.settings import TextReaderConfig

async def main() -> None:
    replica = TextReaderDeployment(TextReaderConfig(), lazy=True)
    picture = as_media(sys.stdin.buffer.read())
    answer = await replica.read_image(picture, deadline=time.time() + 300)
    sys.stdout.write("\\n".join(line.text for line in answer.lines))

asyncio.run(main())
"""


def test_a_process_that_has_imported_only_the_deployment_reads_a_picture() -> None:
    # As in Serve. A test's process has imported the decoder, too, which a replica never does.
    command = [sys.executable, "-c", READ_ONE_PICTURE]
    picture = encoded(sign().image, "PNG")
    output = subprocess.run(command, cwd=project_folder(), input=picture, capture_output=True, timeout=600)
    assert output.stdout.decode().splitlines() == SIGN, output.stderr.decode()


def test_one_pixel_is_no_text() -> None:
    async def run() -> None:
        replica = TextReaderDeployment(TextReaderConfig(), lazy=True)
        picture = encoded(Image.fromarray(np.zeros((1, 1, 3), np.uint8)), "PNG")
        assert (await replica.read_image(as_media(picture), deadline=soon())).lines == []

    asyncio.run(run())


READ_STANDARD_INPUT = """
import asyncio, sys, time
from deployments.media import as_media
from deployments.text_reader.deployment import TextReaderDeployment
from deployments.text_reader.settings import TextReaderConfig

picture = as_media(sys.stdin.buffer.read())
replica = TextReaderDeployment(TextReaderConfig(), lazy=True)
read = asyncio.run(replica.read_image(picture, deadline=time.time() + 300))
print(*[line.text for line in read.lines], sep="\\n")
"""


def test_a_process_that_has_imported_no_more_than_the_replica_reads_a_picture() -> None:
    """The decoder's process may only return what the replica has imported."""
    command = [sys.executable, "-c", READ_STANDARD_INPUT]
    picture = encoded(sign().image, "PNG")
    output = subprocess.run(command, cwd=project_folder(), input=picture, capture_output=True, timeout=600)
    assert output.returncode == 0, output.stderr.decode()
    assert output.stdout.decode().splitlines() == SIGN
