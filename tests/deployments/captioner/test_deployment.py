import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import torch

from deployments.captioner.checkpoint import load_moondream
from deployments.captioner.deployment import CaptionerDeployment
from deployments.captioner.settings import CaptionerConfig
from deployments.captioner.types import Caption, CaptionTask
from deployments.errors import DeadlineExceeded, InvalidFile, ModelNotLoaded
from deployments.media import as_media
from deployments.settings import LimitsConfig, WeightsConfig
from deployments.weights import INT8_FILE, MoondreamFiles
from tests.deployments.captioner.checkpoints import colored_noise, shapes
from tests.deployments.captioner.test_captioner import encoded_png

TASK = CaptionTask(max_new_tokens=12)
Replica = CaptionerDeployment.func_or_class
"""The class itself, as Serve runs it in a replica."""


def _soon() -> float:
    return time.time() + 30


@asynccontextmanager
async def _replica(folder: Path, *, lazy: bool = False, precision: str = "fp32") -> AsyncIterator[CaptionerDeployment]:
    config = CaptionerConfig.model_validate({"model": str(folder), "precision": precision, "threads": 1})
    replica = Replica(config, WeightsConfig(cache_dir=folder / "cache"), LimitsConfig(), lazy=lazy)
    while not lazy and (await replica.status()).state == "loading":
        await asyncio.sleep(0.01)
    yield replica


def test_a_loaded_replica_tells_what_it_serves(small_checkpoint: Path) -> None:
    async def run() -> None:
        async with _replica(small_checkpoint) as replica:
            status = await replica.status()
            assert (status.state, status.name, status.is_miniature, status.threads) == ("loaded", "small", True, 1)
            assert status.weight_bytes == 4 * sum(torch.Size(shape).numel() for shape in shapes().values())

    asyncio.run(run())


@pytest.mark.parametrize("precision", ["int8", "fp32", "bf16"])
def test_a_replica_answers_every_call(precision: str, small_checkpoint: Path) -> None:
    async def run() -> None:
        async with _replica(small_checkpoint, precision=precision) as replica:
            image, frames, summary = await asyncio.gather(
                replica.caption_image(encoded_png(colored_noise(1)), TASK, _soon()),
                replica.caption_frames([colored_noise(1), colored_noise(2)], TASK, _soon()),
                replica.summarize(["A dog runs."], 12, _soon()),
            )
            assert frames[0] == image.caption
            assert frames[0] != frames[1]
            assert isinstance(summary, Caption)

    asyncio.run(run())


def test_a_lazy_replica_loads_at_its_first_call(small_checkpoint: Path) -> None:
    async def run() -> None:
        async with _replica(small_checkpoint, lazy=True) as replica:
            assert (await replica.status()).state == "not_loaded"
            assert (await replica.summarize(["A dog runs."], 12, _soon())).text
            assert (await replica.status()).state == "loaded"

    asyncio.run(run())


def test_the_setting_kernel_reaches_the_model(small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx2": True})

    async def run() -> None:
        async with _replica(small_checkpoint, precision="int8", kernel="onednn") as replica:
            assert (await replica.summarize(["A dog runs."], 12, _soon())).text
        async with _replica(small_checkpoint, precision="int8", kernel="vnni") as replica:
            with pytest.raises(ModelNotLoaded, match="Set it to auto or onednn"):
                await replica.summarize(["A dog runs."], 12, _soon())

    asyncio.run(run())


def test_weights_that_are_only_here_in_int8_serve_int8_and_nothing_else(
    small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounded = tmp_path / INT8_FILE
    config, weights = small_checkpoint / "config.json", [small_checkpoint / "model.safetensors"]
    load_moondream(config, weights, "int8", lambda progress: None, keep_int8=rounded)
    files = MoondreamFiles("moondream2", "r", config, (rounded,), small_checkpoint / "tokenizer.json", False, True)
    monkeypatch.setattr("deployments.weights.ensure_moondream", lambda *arguments: files)

    async def run() -> None:
        async with _replica(tmp_path, precision="int8") as replica:
            assert (await replica.summarize(["A dog runs."], 12, _soon())).text
        async with _replica(tmp_path, precision="fp32") as replica:
            with pytest.raises(ModelNotLoaded, match="only the int8 weights are here"):
                await replica.summarize(["A dog runs."], 12, _soon())

    asyncio.run(run())


def test_a_checkpoint_that_does_not_load_leaves_the_replica_up_with_the_reason(tmp_path: Path) -> None:
    async def run() -> None:
        async with _replica(tmp_path / "nothing") as replica:
            status = await replica.status()
            assert status.state == "failed"
            assert "does not exist" in status.detail
            with pytest.raises(ModelNotLoaded, match="does not exist"):
                await replica.summarize(["A dog runs."], 12, _soon())

    asyncio.run(run())


def test_a_bad_picture_and_a_late_one_fail_with_their_own_errors(small_checkpoint: Path) -> None:
    async def run() -> None:
        async with _replica(small_checkpoint) as replica:
            with pytest.raises(InvalidFile):
                await replica.caption_image(as_media(b"no picture"), TASK, _soon())
            with pytest.raises(DeadlineExceeded):
                await replica.caption_image(encoded_png(colored_noise(1)), CaptionTask(1200), time.time() + 0.1)

    asyncio.run(run())


def test_cancelled_calls_end_and_free_their_places(small_checkpoint: Path) -> None:
    async def run() -> None:
        async with _replica(small_checkpoint) as replica:
            calls = [
                asyncio.create_task(replica.caption_image(encoded_png(colored_noise(k)), CaptionTask(1200), _soon()))
                for k in range(2)
            ]
            await asyncio.sleep(0.1)
            assert not any(call.done() for call in calls)
            for call in calls:
                call.cancel()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 2
            assert (await replica.summarize(["A dog runs."], 12, _soon())).text

    asyncio.run(run())
