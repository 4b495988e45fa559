import io
import logging
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer

from deployments.cancellation import Cancellation, WorkCancelled
from deployments.captioner import answer_progress
from deployments.captioner.captioner import Captioner
from deployments.captioner.moondream import Moondream
from deployments.captioner.types import Caption, CaptionProgress, CaptionTask, FrameFailure, ImageCaption
from deployments.errors import DeadlineExceeded, InvalidFile, InvalidRequest
from deployments.media import Media, Pixels, as_media
from tests.deployments.captioner.checkpoints import colored_noise
from tests.deployments.captioner.conftest import MakeCaptioner

TASK = CaptionTask(max_new_tokens=12)


def encoded_png(pixels: Pixels) -> Media:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return as_media(content.getvalue())


def test_an_image_gets_a_caption_and_its_size(captioner: Captioner, never_cancelled: Cancellation) -> None:
    answer = captioner.caption_image(encoded_png(colored_noise(1, width=50, height=20)), TASK, never_cancelled)
    assert (answer.width, answer.height) == (50, 20)
    assert answer.caption.finish_reason == "length"
    assert len(answer.caption.text) >= 12
    assert answer.caption.num_tokens == 12
    assert answer.caption.text == answer.caption.text.strip()


def test_the_same_image_gets_the_same_caption(captioner: Captioner, never_cancelled: Cancellation) -> None:
    image = encoded_png(colored_noise(1))
    first = captioner.caption_image(image, TASK, never_cancelled)
    assert captioner.caption_image(image, TASK, never_cancelled) == first


def test_length_and_question_change_the_caption(captioner: Captioner, never_cancelled: Cancellation) -> None:
    image = encoded_png(colored_noise(1))
    tasks = [TASK, CaptionTask(12, "short"), CaptionTask(12, "long"), CaptionTask(12, question="Which color?")]
    assert len({captioner.caption_image(image, task, never_cancelled).caption.text for task in tasks}) > 1


def test_images_and_frames_get_as_many_local_crops_as_configured(
    captioner: Captioner, model: Moondream, never_cancelled: Cancellation
) -> None:
    passes = []
    handle = model.vision.post_ln.register_forward_hook(lambda *_: passes.append(1))
    large = colored_noise(1, width=86, height=60)
    captioner.caption_image(encoded_png(large), TASK, never_cancelled)
    assert len(passes) == 1 + 6
    captioner.caption_frames([large], TASK, never_cancelled)
    assert len(passes) == 1 + 6 + 1
    handle.remove()


def test_an_answer_that_is_too_long_is_rejected_before_the_image_is_decoded(
    captioner: Captioner, never_cancelled: Cancellation
) -> None:
    with pytest.raises(InvalidRequest, match="max_length must be between 1 and 1238"):
        captioner.caption_image(as_media(b"not an image"), CaptionTask(1239), never_cancelled)


def test_a_question_that_is_too_long_is_rejected_with_how_much_to_cut(
    captioner: Captioner, never_cancelled: Cancellation
) -> None:
    task = CaptionTask(10, question="why? " * 2000)
    with pytest.raises(InvalidRequest, match=r"The prompt is too long.*Shorten it by at least \d+ tokens"):
        captioner.caption_frames([colored_noise(1)], task, never_cancelled)


def test_an_image_over_the_pixel_limit_is_rejected(captioner: Captioner, never_cancelled: Cancellation) -> None:
    with pytest.raises(InvalidFile, match="more than 1,000,000 pixels"):
        captioner.caption_image(encoded_png(np.zeros((1001, 1000, 3), np.uint8)), TASK, never_cancelled)


def test_frames_get_the_same_captions_in_a_batch_as_alone(
    make_captioner: MakeCaptioner, never_cancelled: Cancellation
) -> None:
    frames = [colored_noise(seed) for seed in range(9)]
    together = make_captioner().caption_frames(frames, TASK, never_cancelled)
    assert together == make_captioner(cache_mb=0).caption_frames(frames, TASK, never_cancelled)
    assert len(set(together)) > 4


def test_no_frames_give_no_captions(captioner: Captioner, never_cancelled: Cancellation) -> None:
    assert captioner.caption_frames([], TASK, never_cancelled) == []


@pytest.mark.parametrize(
    "broken",
    [np.zeros((0, 10, 3), np.uint8), np.zeros((10, 10), np.uint8), np.zeros((10, 10, 3), np.float32)],
)
def test_one_broken_frame_fails_alone(broken: Pixels, captioner: Captioner, never_cancelled: Cancellation) -> None:
    frames = [colored_noise(1), broken, colored_noise(2)]
    first, failure, last = captioner.caption_frames(frames, TASK, never_cancelled)
    assert isinstance(failure, FrameFailure)
    assert "not an image" in failure.message
    assert [first, last] == captioner.caption_frames([frames[0], frames[2]], TASK, never_cancelled)


def test_a_frame_that_hits_an_internal_error_fails_alone_and_is_logged(
    captioner: Captioner, model: Moondream, never_cancelled: Cancellation, caplog: pytest.LogCaptureFixture
) -> None:
    frames = [colored_noise(1), colored_noise(2)]
    calls = []

    def fail_first(*_: object) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("secret detail")

    handle = model.vision.post_ln.register_forward_hook(fail_first)
    with caplog.at_level(logging.ERROR, "ray.serve"):
        failure, caption = captioner.caption_frames(frames, TASK, never_cancelled)
    handle.remove()
    assert isinstance(failure, FrameFailure)
    assert "secret" not in failure.message
    assert isinstance(caption, Caption)
    assert "secret detail" in caplog.text


def test_a_frame_that_fails_during_decoding_fails_alone(
    captioner: Captioner, model: Moondream, never_cancelled: Cancellation, caplog: pytest.LogCaptureFixture
) -> None:
    frames = [colored_noise(seed) for seed in range(3)]
    alone = [captioner.caption_frames([frame], TASK, never_cancelled)[0] for frame in frames]
    calls = []

    def fail(*_: object) -> None:
        calls.append(1)
        if len(calls) in (5, 7):  # once while all are decoded together, once while the first is tried alone
            raise RuntimeError("secret detail")

    handle = model.text.lm_head.register_forward_hook(fail)
    with caplog.at_level(logging.ERROR, "ray.serve"):
        outcomes = captioner.caption_frames(frames, TASK, never_cancelled)
    handle.remove()
    assert isinstance(outcomes[0], FrameFailure)
    assert outcomes[1:] == alone[1:]


def test_a_short_request_does_not_wait_for_a_long_one(captioner: Captioner, model: Moondream) -> None:
    finished, started = [], threading.Event()
    image = encoded_png(colored_noise(1))

    def caption(name: str, max_new_tokens: int) -> None:
        captioner.caption_image(image, CaptionTask(max_new_tokens), Cancellation(float("inf")))
        finished.append(name)

    handle = model.vision.post_ln.register_forward_hook(lambda *_: started.set())
    long = threading.Thread(daemon=True, target=caption, args=("long", 400))
    long.start()
    started.wait()
    caption("short", 5)
    long.join(timeout=60)
    handle.remove()
    assert finished == ["short", "long"]


def test_cancellation_ends_the_whole_call(captioner: Captioner) -> None:
    cancellation = Cancellation(float("inf"))
    cancellation.cancel()
    with pytest.raises(WorkCancelled):
        captioner.caption_frames([colored_noise(1)], TASK, cancellation)
    with pytest.raises(WorkCancelled):
        captioner.caption_image(encoded_png(colored_noise(1)), TASK, cancellation)
    with pytest.raises(WorkCancelled):
        captioner.summarize(["A dog."], 10, cancellation)


def test_the_deadline_error_says_how_many_frames_were_described(
    make_captioner: MakeCaptioner, model: Moondream
) -> None:
    one_at_a_time, cancellation = make_captioner(cache_mb=0), Cancellation(float("inf"))
    frames = [colored_noise(seed) for seed in range(6)]
    passes = []

    def pass_the_deadline(*_: object) -> None:
        passes.append(1)
        if len(passes) == 3:
            cancellation.deadline = 0.0

    handle = model.vision.post_ln.register_forward_hook(pass_the_deadline)
    with pytest.raises(
        DeadlineExceeded, match="^2 of 6 frames were described; for the next frame, the model was processing the image$"
    ):
        one_at_a_time.caption_frames(frames, TASK, cancellation)
    handle.remove()


def test_another_question_about_a_recent_image_does_not_encode_it_again(
    make_captioner: MakeCaptioner, captioner: Captioner, model: Moondream, never_cancelled: Cancellation
) -> None:
    caching = make_captioner(image_cache_mb=1)
    images = [encoded_png(colored_noise(seed, width=50, height=20)) for seed in (1, 2)]
    # The last task needs a larger KV cache than the first one left.
    tasks = [TASK, CaptionTask(12, question="Which color?"), CaptionTask(60, "long")]
    passes = []
    handle = model.vision.post_ln.register_forward_hook(lambda *_: passes.append(1))
    for num_tasks, (task, reused) in enumerate(zip(tasks, ["nothing", "image", "image"], strict=True), start=1):
        for image in images:
            answer = caching.caption_image(image, task, never_cancelled)
            assert answer.caption.reused == reused
            fresh = captioner.caption_image(image, task, never_cancelled)
            assert replace(answer, caption=replace(answer.caption, reused="nothing")) == fresh
        # `caching` encodes each image once; `captioner`, which caches nothing, encodes each for every task.
        assert len(passes) == len(images) * (1 + num_tasks)
    handle.remove()


def test_the_text_is_sent_as_it_is_written_after_the_layers_that_read_the_image(
    make_captioner: MakeCaptioner, never_cancelled: Cancellation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_progress, "PERIOD_S", 0.0)
    captioner, image = make_captioner(image_cache_mb=1), encoded_png(colored_noise(1, width=50, height=20))
    for task in (TASK, replace(TASK, question="What colour?")):  # the second has the image's KV cache
        sent: list[CaptionProgress] = []
        caption = captioner.caption_image(image, task, never_cancelled, sent.append).caption
        texts = [progress.text for progress in sent if progress.text]
        assert len(set(texts)) > 3
        assert all(later.startswith(text) for text, later in zip(texts, [*texts[1:], caption.text], strict=True))
        fractions = [progress.fraction_read for progress in sent]
        assert fractions == sorted(fractions)
        assert fractions[0] == 0.0
        reading = [progress.fraction_read for progress in sent if not progress.text]
        assert len(set(reading)) == len(reading)
        assert 0.0 < reading[-1] < 1.0
        assert fractions[-1] == 1.0


def test_a_cancelled_question_leaves_the_cached_image_intact(
    make_captioner: MakeCaptioner, captioner: Captioner, model: Moondream, never_cancelled: Cancellation
) -> None:
    caching, image = make_captioner(image_cache_mb=1), encoded_png(colored_noise(1))
    steps = []

    def cancel_at_4(*_: object) -> None:
        steps.append(1)
        if len(steps) == 4:
            cancellation.cancel()

    cancellation = Cancellation(float("inf"))
    handle = model.text.lm_head.register_forward_hook(cancel_at_4)
    with pytest.raises(WorkCancelled):
        caching.caption_image(image, TASK, cancellation)
    handle.remove()
    again = caching.caption_image(image, TASK, never_cancelled).caption
    assert again.reused == "image"
    assert again.text == captioner.caption_image(image, TASK, never_cancelled).caption.text


def test_the_same_question_again_is_answered_at_once(
    make_captioner: MakeCaptioner, model: Moondream, never_cancelled: Cancellation
) -> None:
    caching, image = make_captioner(answer_cache_mb=1), encoded_png(colored_noise(1))
    first = caching.caption_image(image, TASK, never_cancelled)
    frames = caching.caption_frames([colored_noise(2), colored_noise(3)], TASK, never_cancelled)
    steps = []
    handle = model.text.blocks[0].register_forward_hook(lambda *_: steps.append(1))
    again = caching.caption_image(image, TASK, never_cancelled)
    assert again == replace(first, caption=replace(first.caption, reused="answer"))
    second_frame = caching.caption_frames([colored_noise(3)], TASK, never_cancelled)
    assert second_frame == [replace(frames[1], reused="answer")]  # type: ignore[type-var]
    assert steps == []
    for other in (CaptionTask(11), CaptionTask(12, "short"), CaptionTask(12, question="Why?")):
        assert caching.caption_image(image, other, never_cancelled).caption.reused == "nothing"
    handle.remove()


def test_nothing_is_cached_when_caching_is_off(captioner: Captioner, never_cancelled: Cancellation) -> None:
    image = encoded_png(colored_noise(1))
    captioner.caption_image(image, TASK, never_cancelled)
    assert captioner.caption_image(image, TASK, never_cancelled).caption.reused == "nothing"


def test_concurrent_images_get_their_own_captions(captioner: Captioner) -> None:
    images = {seed: encoded_png(colored_noise(seed, width=86, height=60)) for seed in range(4)}
    alone = {seed: captioner.caption_image(image, TASK, Cancellation(float("inf"))) for seed, image in images.items()}
    assert len({answer.caption.text for answer in alone.values()}) == len(images)
    wrong: list[ImageCaption] = []
    start = threading.Barrier(2)

    def work(order: list[int]) -> None:
        start.wait()
        for seed in order * 6:
            answer = captioner.caption_image(images[seed], TASK, Cancellation(float("inf")))
            if answer != alone[seed]:
                wrong.append(answer)

    threads = [threading.Thread(target=work, args=(order,)) for order in ([0, 1, 2, 3], [3, 1, 0, 2])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_summary_depends_on_its_descriptions(captioner: Captioner, never_cancelled: Cancellation) -> None:
    summaries = [
        captioner.summarize([text], 12, never_cancelled).text for text in ("A dog runs.", "Rain falls on a city.")
    ]
    assert summaries[0]
    assert summaries[0] != summaries[1]


def test_a_summary_of_32_very_long_descriptions_is_written(captioner: Captioner, never_cancelled: Cancellation) -> None:
    descriptions = [f"Picture {k} " + "shows a very long street. " * 400 for k in range(32)]
    summary = captioner.summarize(descriptions, 20, never_cancelled)
    assert summary.text
    assert summary == captioner.summarize(descriptions, 20, never_cancelled)


@pytest.mark.parametrize("descriptions", [[], ["", "  \n"]])
def test_a_summary_of_nothing_is_empty(
    descriptions: list[str], captioner: Captioner, never_cancelled: Cancellation
) -> None:
    assert captioner.summarize(descriptions, 10, never_cancelled) == Caption("", "stop")


def test_blank_descriptions_are_left_out_of_a_summary(captioner: Captioner, never_cancelled: Cancellation) -> None:
    summary = captioner.summarize(["A dog runs.", "It jumps."], 12, never_cancelled)
    assert captioner.summarize(["A dog runs.", " ", "It jumps."], 12, never_cancelled) == summary


def test_a_summary_longer_than_the_context_is_rejected(captioner: Captioner, never_cancelled: Cancellation) -> None:
    with pytest.raises(InvalidRequest, match="Lower max_length"):
        captioner.summarize(["A dog."], 1279, never_cancelled)


def test_a_character_cut_by_the_token_limit_is_left_out(
    captioner: Captioner, model: Moondream, small_checkpoint: Path, never_cancelled: Cancellation
) -> None:
    # Byte-level tokenizers write byte 0xE2, the first of the three bytes of "€", as "â".
    first_byte = Tokenizer.from_file(str(small_checkpoint / "tokenizer.json")).token_to_id("â")
    bias = model.get_parameter("text.lm_head.bias").data
    before = bias.clone()
    bias[first_byte] = 1e6
    caption = captioner.caption_image(encoded_png(colored_noise(1)), CaptionTask(1), never_cancelled).caption
    bias.copy_(before)
    assert caption == Caption("", "length", num_tokens=1)


def test_warming_up_runs_the_language_model(captioner: Captioner, model: Moondream) -> None:
    steps = []
    handle = model.text.lm_head.register_forward_hook(lambda *_: steps.append(1))
    captioner.warm_up()
    handle.remove()
    assert len(steps) == 2
