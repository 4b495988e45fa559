import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from inspect import signature
from pathlib import Path

import pytest
import torch

from deployments.captioner.deployment import CaptionerDeployment
from deployments.captioner.loading import load_moondream
from deployments.captioner.protocol import CaptionerService
from deployments.captioner.settings import CaptionerConfig
from deployments.captioner.types import Caption, CaptionTask
from deployments.captioner.weights import QUANTIZED_FILE, MoondreamFiles
from deployments.errors import DeadlineExceeded, InvalidFile, ModelNotLoaded
from deployments.media import as_media
from deployments.settings import LimitsConfig, WeightsConfig
from tests.deployments.captioner.checkpoints import colored_noise, shapes
from tests.deployments.captioner.test_captioner import encoded_png

TASK = CaptionTask(max_new_tokens=12)


def _soon() -> float:
    return time.time() + 30


@asynccontextmanager
async def _replica(
    folder: Path, *, lazy: bool = False, precision: str = "fp32", kernel: str = "auto"
) -> AsyncIterator[CaptionerDeployment]:
    settings = {"model": str(folder), "precision": precision, "kernel": kernel, "threads": 1}
    config = CaptionerConfig.model_validate(settings)
    replica = CaptionerDeployment(config, WeightsConfig(cache_dir=folder / "cache"), LimitsConfig(), lazy=lazy)
    while not lazy and (await replica.status()).state == "loading":
        await asyncio.sleep(0.01)
    yield replica


def test_the_status_of_a_loaded_replica_describes_the_model(small_checkpoint: Path) -> None:
    async def run() -> None:
        async with _replica(small_checkpoint) as replica:
            status = await replica.status()
            assert (status.state, status.name, status.is_miniature, status.threads) == ("loaded", "small", False, 1)
            assert status.weight_bytes == 4 * sum(torch.Size(shape).numel() for shape in shapes().values())

    asyncio.run(run())


@pytest.mark.parametrize("precision", ["int8", "fp32", "bf16"])
def test_a_replica_answers_every_call(precision: str, small_checkpoint: Path) -> None:
    async def run() -> None:
        async with _replica(small_checkpoint, precision=precision) as replica:
            image, frames, summary = await asyncio.gather(
                replica.caption_image(encoded_png(colored_noise(1)), TASK, deadline=_soon()),
                replica.caption_frames([colored_noise(1), colored_noise(2)], TASK, deadline=_soon()),
                replica.summarize(["A dog runs."], 12, deadline=_soon()),
            )
            assert frames[0] == image.caption
            assert frames[0] != frames[1]
            assert isinstance(summary, Caption)

    asyncio.run(run())


def test_a_lazy_replica_loads_at_its_first_call(small_checkpoint: Path) -> None:
    async def run() -> None:
        async with _replica(small_checkpoint, lazy=True) as replica:
            assert (await replica.status()).state == "not_loaded"
            assert (await replica.summarize(["A dog runs."], 12, deadline=_soon())).text
            assert (await replica.status()).state == "loaded"

    asyncio.run(run())


@pytest.mark.parametrize("method", ["caption_image", "caption_frames", "summarize"])
def test_the_protocol_has_the_signatures_of_the_deployment(method: str) -> None:
    assert signature(getattr(CaptionerService, method)) == signature(getattr(CaptionerDeployment, method))


def test_the_setting_kernel_reaches_the_model(small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx2": True})

    async def run() -> None:
        async with _replica(small_checkpoint, precision="int8", kernel="onednn") as replica:
            assert (await replica.summarize(["A dog runs."], 12, deadline=_soon())).text
        async with _replica(small_checkpoint, precision="int8", kernel="vnni") as replica:
            with pytest.raises(ModelNotLoaded, match="Set it to auto or onednn"):
                await replica.summarize(["A dog runs."], 12, deadline=_soon())

    asyncio.run(run())


def test_an_int8_copy_without_the_full_weights_serves_only_int8(
    small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    int8_copy = tmp_path / QUANTIZED_FILE
    config, weights = small_checkpoint / "config.json", [small_checkpoint / "model.safetensors"]
    load_moondream(config, weights, "int8", lambda progress: None, save_int8_to=int8_copy)
    files = MoondreamFiles("moondream2", "r", config, (int8_copy,), small_checkpoint / "tokenizer.json", True)
    monkeypatch.setattr("deployments.captioner.weights.ensure_moondream", lambda *arguments: files)

    async def run() -> None:
        async with _replica(tmp_path, precision="int8") as replica:
            assert (await replica.summarize(["A dog runs."], 12, deadline=_soon())).text
        async with _replica(tmp_path, precision="fp32") as replica:
            with pytest.raises(ModelNotLoaded, match="Only the int8 weights of moondream2 are available"):
                await replica.summarize(["A dog runs."], 12, deadline=_soon())

    asyncio.run(run())


def test_a_checkpoint_that_does_not_load_leaves_the_replica_up_with_the_reason(tmp_path: Path) -> None:
    async def run() -> None:
        async with _replica(tmp_path / "nothing") as replica:
            status = await replica.status()
            assert status.state == "failed"
            assert "does not exist" in status.detail
            with pytest.raises(ModelNotLoaded, match="does not exist"):
                await replica.summarize(["A dog runs."], 12, deadline=_soon())

    asyncio.run(run())


def test_a_damaged_image_and_a_late_call_raise_their_own_errors(small_checkpoint: Path) -> None:
    async def run() -> None:
        async with _replica(small_checkpoint) as replica:
            with pytest.raises(InvalidFile):
                await replica.caption_image(as_media(b"not an image"), TASK, deadline=_soon())
            with pytest.raises(DeadlineExceeded):
                await replica.caption_image(
                    encoded_png(colored_noise(1)), CaptionTask(1200), deadline=time.time() + 0.1
                )

    asyncio.run(run())


def test_cancelled_calls_stop_and_free_their_slots(small_checkpoint: Path) -> None:
    async def run() -> None:
        async with _replica(small_checkpoint) as replica:
            calls = [
                asyncio.create_task(
                    replica.caption_image(encoded_png(colored_noise(k)), CaptionTask(1200), deadline=_soon())
                )
                for k in range(2)
            ]
            await asyncio.sleep(0.1)
            assert not any(call.done() for call in calls)
            for call in calls:
                call.cancel()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 2
            assert (await replica.summarize(["A dog runs."], 12, deadline=_soon())).text

    asyncio.run(run())
