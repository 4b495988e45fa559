"""The captioner decodes images in processes that can be killed."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deployments.cancellation import Cancellation
from deployments.captioner.captioner import Captioner
from deployments.captioner.model_config import VisionConfig
from deployments.captioner.moondream import Moondream
from deployments.captioner.preprocessing import DecodedImage, make_crops
from deployments.captioner.prompts import read_tokenizer
from deployments.captioner.settings import CaptionerConfig
from deployments.captioner.types import CaptionTask
from deployments.errors import DeadlineExceeded, InvalidFile
from deployments.images import decoding_memory_bytes
from deployments.images.decoding import MAX_SIDE_PX, decode_image
from deployments.media import as_media
from deployments.sandbox import Sandbox
from tests.deployments.images.heif_files import coded_picture, heif, same_tiles
from tests.deployments.images.images import encoded, noise, png_of_one_column

MODULE = "deployments.captioner.preprocessing"
MAX_PIXELS = 64_000_000
MOONDREAM2 = VisionConfig()
TASK = CaptionTask(max_new_tokens=12)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    started = Sandbox(MODULE, decoding_memory_bytes(MAX_PIXELS))
    yield started
    started.close()


def decode(sandbox: Sandbox, content: bytes, max_crops: int = 1) -> DecodedImage:
    cancellation = Cancellation(time.time() + 60)
    [image] = sandbox.run(
        "decode_and_crop", as_media(content), MOONDREAM2, max_crops, MAX_PIXELS, cancellation=cancellation
    )
    assert isinstance(image, DecodedImage)
    return image


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"])
@pytest.mark.parametrize("max_crops", [1, 6])
def test_the_crops_are_those_of_the_same_process(sandbox: Sandbox, image_format: str, max_crops: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(noise(900, 500), image_format, exif=exif)
    pixels = decode_image(as_media(content), MAX_PIXELS)
    crops = make_crops(pixels, MOONDREAM2, max_crops)
    image = decode(sandbox, content, max_crops)
    assert (image.height, image.width) == pixels.shape[:2]
    assert image.crops.tiling == crops.tiling
    np.testing.assert_array_equal(image.crops.values, crops.values)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_an_image_of_64_megapixels_fits_into_the_limit_of_memory(sandbox: Sandbox, image_format: str) -> None:
    image = Image.new("RGBA" if image_format != "JPEG" else "RGB", (8000, 8000), (200, 30, 30))
    image.paste((0, 0, 255), (0, 0, 1000, 1000))
    options = {"JPEG": {"progressive": True, "subsampling": 0}, "PNG": {"compress_level": 1}, "WEBP": {"method": 0}}
    content = encoded(image, image_format, quality=50, **options[image_format])
    del image
    assert decode(sandbox, content).width == 8000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("codec", "pix_fmt"), [("hvc1", "yuv420p"), ("hvc1", "yuv420p10le"), ("av01", "yuv420p"), ("av01", "yuv420p10le")]
)
def test_a_heif_picture_of_64_megapixels_in_tiles_fits_too(sandbox: Sandbox, codec: str, pix_fmt: str) -> None:
    tile = coded_picture(Image.new("RGB", (1000, 1000), (200, 30, 30)), codec, pix_fmt)
    brand = b"heic" if codec == "hvc1" else b"avif"
    assert decode(sandbox, heif(*same_tiles(tile, 8, 8, 8000, 8000), brand=brand)).width == 8000


@pytest.mark.slow
def test_a_tiff_of_64_megapixels_with_transparency_fits_too(sandbox: Sandbox) -> None:
    image = Image.new("RGBA", (8000, 8000), (200, 30, 30, 100))
    assert decode(sandbox, encoded(image, "TIFF", compression="tiff_lzw")).width == 8000


@pytest.mark.parametrize("height", [MAX_SIDE_PX + 1, MAX_PIXELS])
def test_a_picture_too_narrow_to_be_scaled_is_refused_at_once(sandbox: Sandbox, height: int) -> None:
    content = png_of_one_column(height)
    started = time.monotonic()
    with pytest.raises(InvalidFile, match=f"1 x {height:,} pixels; cut out a part"):
        decode(sandbox, content)
    assert time.monotonic() - started < 2


def test_a_picture_of_one_column_is_decoded(sandbox: Sandbox) -> None:
    assert decode(sandbox, png_of_one_column(MAX_SIDE_PX)).height == MAX_SIDE_PX


def test_an_image_that_cannot_be_decoded_is_refused_as_in_the_same_process(sandbox: Sandbox) -> None:
    with pytest.raises(InvalidFile, match="damaged or incomplete.*save it again"):
        decode(sandbox, encoded(noise(), "PNG")[:500])


def captioner_with(sandbox: Sandbox, model: Moondream, checkpoint: Path) -> Captioner:
    config = CaptionerConfig(max_crops_per_image=6)
    tokenizer = read_tokenizer(checkpoint / "tokenizer.json", model.config)
    return Captioner(model, tokenizer, config, max_image_pixels=MAX_PIXELS, sandbox=sandbox)


def test_a_captioner_with_a_sandbox_answers_as_one_without(
    sandbox: Sandbox, model: Moondream, small_checkpoint: Path, captioner: Captioner, never_cancelled: Cancellation
) -> None:
    media = as_media(encoded(noise(90, 50), "JPEG"))
    answer = captioner_with(sandbox, model, small_checkpoint).caption_image(media, TASK, never_cancelled)
    assert answer == captioner.caption_image(media, TASK, never_cancelled)


def test_the_caches_are_asked_before_anything_is_decoded(
    sandbox: Sandbox, model: Moondream, small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captioner = captioner_with(sandbox, model, small_checkpoint)
    media = as_media(encoded(noise(90, 50), "JPEG"))
    never_cancelled = Cancellation(float("inf"))
    captioner.caption_image(media, TASK, never_cancelled)
    monkeypatch.setattr(sandbox, "run", None)
    assert captioner.caption_image(media, TASK, never_cancelled).caption.reused == "answer"
    other = CaptionTask(max_new_tokens=13)
    assert captioner.caption_image(media, other, never_cancelled).caption.reused == "image"


def test_decoding_that_does_not_end_is_killed_at_the_deadline(model: Moondream, small_checkpoint: Path) -> None:
    module = "tests.deployments.captioner.endless_decoder"
    with closing(Sandbox(module, decoding_memory_bytes(MAX_PIXELS))) as sandbox:
        captioner = captioner_with(sandbox, model, small_checkpoint)
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="the image was being decoded"):
            captioner.caption_image(as_media(encoded(noise(), "JPEG")), TASK, Cancellation(time.time() + 0.5))
        assert time.monotonic() - started < 2
