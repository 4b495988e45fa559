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
from deployments.captioner.captioner import Captioner
from deployments.captioner.moondream import Moondream
from deployments.captioner.types import Caption, CaptionTask, FrameFailure, ImageCaption
from deployments.errors import DeadlineExceeded, InvalidFile, InvalidRequest
from deployments.media import Media, Pixels, as_media
from tests.deployments.captioner.checkpoints import colored_noise
from tests.deployments.captioner.conftest import MakeCaptioner

TASK = CaptionTask(max_new_tokens=12)


def encoded_png(pixels: Pixels) -> Media:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return as_media(content.getvalue())


def test_a_picture_gets_words_and_its_size(captioner: Captioner, unhurried: Cancellation) -> None:
    answer = captioner.caption_image(encoded_png(colored_noise(1, width=50, height=20)), TASK, unhurried)
    assert (answer.width, answer.height) == (50, 20)
    assert answer.caption.finish_reason == "length"
    assert len(answer.caption.text) >= 12
    assert answer.caption.text == answer.caption.text.strip()


def test_the_same_picture_gets_the_same_words(captioner: Captioner, unhurried: Cancellation) -> None:
    picture = encoded_png(colored_noise(1))
    first = captioner.caption_image(picture, TASK, unhurried)
    assert captioner.caption_image(picture, TASK, unhurried) == first


def test_length_and_question_change_the_words(captioner: Captioner, unhurried: Cancellation) -> None:
    picture = encoded_png(colored_noise(1))
    tasks = [TASK, CaptionTask(12, "short"), CaptionTask(12, "long"), CaptionTask(12, question="Which color?")]
    assert len({captioner.caption_image(picture, task, unhurried).caption.text for task in tasks}) > 1


def test_a_picture_is_seen_in_the_tiles_it_is_allowed(
    captioner: Captioner, model: Moondream, unhurried: Cancellation
) -> None:
    views = []
    handle = model.vision.post_ln.register_forward_hook(lambda *_: views.append(1))
    large = colored_noise(1, width=86, height=60)
    captioner.caption_image(encoded_png(large), TASK, unhurried)
    assert len(views) == 1 + 6
    captioner.caption_frames([large], TASK, unhurried)
    assert len(views) == 1 + 6 + 1
    handle.remove()


def test_too_long_an_answer_is_refused_before_the_picture_is_looked_at(
    captioner: Captioner, unhurried: Cancellation
) -> None:
    with pytest.raises(InvalidRequest, match="max_length must be between 1 and 1238"):
        captioner.caption_image(as_media(b"no picture"), CaptionTask(1239), unhurried)


def test_too_long_a_question_is_refused_with_how_much_to_cut(captioner: Captioner, unhurried: Cancellation) -> None:
    task = CaptionTask(10, question="why? " * 2000)
    with pytest.raises(InvalidRequest, match=r"The prompt is too long.*Shorten it by at least \d+ tokens"):
        captioner.caption_frames([colored_noise(1)], task, unhurried)


def test_a_picture_over_the_limit_is_refused(captioner: Captioner, unhurried: Cancellation) -> None:
    with pytest.raises(InvalidFile, match="more than 1,000,000 pixels"):
        captioner.caption_image(encoded_png(np.zeros((1001, 1000, 3), np.uint8)), TASK, unhurried)


def test_frames_get_the_words_they_would_get_alone(make_captioner: MakeCaptioner, unhurried: Cancellation) -> None:
    frames = [colored_noise(seed) for seed in range(9)]
    together = make_captioner().caption_frames(frames, TASK, unhurried)
    assert together == make_captioner(cache_mb=0).caption_frames(frames, TASK, unhurried)
    assert len(set(together)) > 4


def test_no_frames_give_no_captions(captioner: Captioner, unhurried: Cancellation) -> None:
    assert captioner.caption_frames([], TASK, unhurried) == []


@pytest.mark.parametrize(
    "broken",
    [np.zeros((0, 10, 3), np.uint8), np.zeros((10, 10), np.uint8), np.zeros((10, 10, 3), np.float32)],
)
def test_one_broken_frame_fails_alone(broken: Pixels, captioner: Captioner, unhurried: Cancellation) -> None:
    frames = [colored_noise(1), broken, colored_noise(2)]
    first, failure, last = captioner.caption_frames(frames, TASK, unhurried)
    assert isinstance(failure, FrameFailure)
    assert "not a picture" in failure.message
    assert [first, last] == captioner.caption_frames([frames[0], frames[2]], TASK, unhurried)


def test_a_frame_that_trips_over_our_own_error_fails_alone_and_is_logged(
    captioner: Captioner, model: Moondream, unhurried: Cancellation, caplog: pytest.LogCaptureFixture
) -> None:
    frames = [colored_noise(1), colored_noise(2)]
    calls = []

    def fail_first(*_: object) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("secret detail")

    handle = model.vision.post_ln.register_forward_hook(fail_first)
    with caplog.at_level(logging.ERROR, "ray.serve"):
        failure, caption = captioner.caption_frames(frames, TASK, unhurried)
    handle.remove()
    assert isinstance(failure, FrameFailure)
    assert "secret" not in failure.message
    assert isinstance(caption, Caption)
    assert "secret detail" in caplog.text


def test_frames_that_trip_while_they_are_described_fail_alone(
    captioner: Captioner, model: Moondream, unhurried: Cancellation, caplog: pytest.LogCaptureFixture
) -> None:
    frames = [colored_noise(seed) for seed in range(3)]
    alone = [captioner.caption_frames([frame], TASK, unhurried)[0] for frame in frames]
    calls = []

    def fail(*_: object) -> None:
        calls.append(1)
        if len(calls) in (5, 7):  # while all are decoded together, then while the first is tried alone
            raise RuntimeError("secret detail")

    handle = model.text.lm_head.register_forward_hook(fail)
    with caplog.at_level(logging.ERROR, "ray.serve"):
        outcomes = captioner.caption_frames(frames, TASK, unhurried)
    handle.remove()
    assert isinstance(outcomes[0], FrameFailure)
    assert outcomes[1:] == alone[1:]


def test_a_short_request_does_not_wait_for_a_long_one(captioner: Captioner, model: Moondream) -> None:
    ended, begun = [], threading.Event()
    picture = encoded_png(colored_noise(1))

    def describe(name: str, max_new_tokens: int) -> None:
        captioner.caption_image(picture, CaptionTask(max_new_tokens), Cancellation(float("inf")))
        ended.append(name)

    handle = model.vision.post_ln.register_forward_hook(lambda *_: begun.set())
    long = threading.Thread(daemon=True, target=describe, args=("long", 400))
    long.start()
    begun.wait()
    describe("short", 5)
    long.join(timeout=60)
    handle.remove()
    assert ended == ["short", "long"]


def test_a_caller_who_leaves_ends_the_whole_call(captioner: Captioner) -> None:
    cancellation = Cancellation(float("inf"))
    cancellation.cancel()
    with pytest.raises(WorkCancelled):
        captioner.caption_frames([colored_noise(1)], TASK, cancellation)
    with pytest.raises(WorkCancelled):
        captioner.caption_image(encoded_png(colored_noise(1)), TASK, cancellation)
    with pytest.raises(WorkCancelled):
        captioner.summarize(["A dog."], 10, cancellation)


def test_late_frames_tell_how_many_were_described(
    make_captioner: MakeCaptioner, model: Moondream, unhurried: Cancellation
) -> None:
    one_at_a_time = make_captioner(cache_mb=0)
    frames = [colored_noise(seed) for seed in range(6)]
    seen = []

    def pass_the_deadline(*_: object) -> None:
        seen.append(1)
        if len(seen) == 3:
            unhurried.deadline = 0.0

    handle = model.vision.post_ln.register_forward_hook(pass_the_deadline)
    with pytest.raises(
        DeadlineExceeded, match="^2 of 6 frames were described; of the next, the picture was being read$"
    ):
        one_at_a_time.caption_frames(frames, TASK, unhurried)
    handle.remove()


def test_another_question_on_a_recent_picture_costs_no_second_look(
    make_captioner: MakeCaptioner, captioner: Captioner, model: Moondream, unhurried: Cancellation
) -> None:
    keeping = make_captioner(image_cache_mb=1)
    pictures = [encoded_png(colored_noise(seed, width=50, height=20)) for seed in (1, 2)]
    # The last one needs more room than the first left behind it.
    tasks = [TASK, CaptionTask(12, question="Which color?"), CaptionTask(60, "long")]
    looks = []
    handle = model.vision.post_ln.register_forward_hook(lambda *_: looks.append(1))
    for task, reused, num_looks in zip(tasks, ["nothing", "image", "image"], [2, 2, 2], strict=True):
        for picture in pictures:
            answer = keeping.caption_image(picture, task, unhurried)
            assert answer.caption.reused == reused
            fresh = captioner.caption_image(picture, task, unhurried)
            assert replace(answer, caption=replace(answer.caption, reused="nothing")) == fresh
        assert len(looks) - len(pictures) * (tasks.index(task) + 1) == num_looks
    handle.remove()


def test_a_stopped_question_leaves_the_picture_as_it_was_seen(
    make_captioner: MakeCaptioner, captioner: Captioner, model: Moondream, unhurried: Cancellation
) -> None:
    keeping, picture = make_captioner(image_cache_mb=1), encoded_png(colored_noise(1))
    steps = []

    def leave(*_: object) -> None:
        steps.append(1)
        if len(steps) == 4:
            cancellation.cancel()

    cancellation = Cancellation(float("inf"))
    handle = model.text.lm_head.register_forward_hook(leave)
    with pytest.raises(WorkCancelled):
        keeping.caption_image(picture, TASK, cancellation)
    handle.remove()
    again = keeping.caption_image(picture, TASK, unhurried).caption
    assert again.reused == "image"
    assert again.text == captioner.caption_image(picture, TASK, unhurried).caption.text


def test_the_same_question_again_is_answered_at_once(
    make_captioner: MakeCaptioner, model: Moondream, unhurried: Cancellation
) -> None:
    keeping, picture = make_captioner(answer_cache_mb=1), encoded_png(colored_noise(1))
    first = keeping.caption_image(picture, TASK, unhurried)
    frames = keeping.caption_frames([colored_noise(2), colored_noise(3)], TASK, unhurried)
    steps = []
    handle = model.text.blocks[0].register_forward_hook(lambda *_: steps.append(1))
    again = keeping.caption_image(picture, TASK, unhurried)
    assert again == replace(first, caption=replace(first.caption, reused="answer"))
    second_frame = keeping.caption_frames([colored_noise(3)], TASK, unhurried)
    assert second_frame == [replace(frames[1], reused="answer")]  # type: ignore[type-var]
    assert steps == []
    for other in (CaptionTask(11), CaptionTask(12, "short"), CaptionTask(12, question="Why?")):
        assert keeping.caption_image(picture, other, unhurried).caption.reused == "nothing"
    handle.remove()


def test_nothing_is_kept_where_that_is_switched_off(captioner: Captioner, unhurried: Cancellation) -> None:
    picture = encoded_png(colored_noise(1))
    captioner.caption_image(picture, TASK, unhurried)
    assert captioner.caption_image(picture, TASK, unhurried).caption.reused == "nothing"


def test_two_pictures_at_once_get_their_own_words(captioner: Captioner) -> None:
    pictures = {seed: encoded_png(colored_noise(seed, width=86, height=60)) for seed in range(4)}
    alone = {
        seed: captioner.caption_image(picture, TASK, Cancellation(float("inf"))) for seed, picture in pictures.items()
    }
    assert len({answer.caption.text for answer in alone.values()}) == len(pictures)
    wrong: list[ImageCaption] = []
    start = threading.Barrier(2)

    def work(order: list[int]) -> None:
        start.wait()
        for seed in order * 6:
            answer = captioner.caption_image(pictures[seed], TASK, Cancellation(float("inf")))
            if answer != alone[seed]:
                wrong.append(answer)

    threads = [threading.Thread(target=work, args=(order,)) for order in ([0, 1, 2, 3], [3, 1, 0, 2])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_summary_depends_on_what_is_told(captioner: Captioner, unhurried: Cancellation) -> None:
    summaries = [captioner.summarize([text], 12, unhurried).text for text in ("A dog runs.", "Rain falls on a city.")]
    assert summaries[0]
    assert summaries[0] != summaries[1]


def test_a_summary_of_32_very_long_descriptions_is_written(captioner: Captioner, unhurried: Cancellation) -> None:
    descriptions = [f"Picture {k} " + "shows a very long street. " * 400 for k in range(32)]
    summary = captioner.summarize(descriptions, 20, unhurried)
    assert summary.text
    assert summary == captioner.summarize(descriptions, 20, unhurried)


@pytest.mark.parametrize("descriptions", [[], ["", "  \n"]])
def test_a_summary_of_nothing_is_empty(descriptions: list[str], captioner: Captioner, unhurried: Cancellation) -> None:
    assert captioner.summarize(descriptions, 10, unhurried) == Caption("", "stop")


def test_blank_descriptions_are_left_out_of_a_summary(captioner: Captioner, unhurried: Cancellation) -> None:
    told = captioner.summarize(["A dog runs.", "It jumps."], 12, unhurried)
    assert captioner.summarize(["A dog runs.", " ", "It jumps."], 12, unhurried) == told


def test_a_summary_longer_than_the_context_is_refused(captioner: Captioner, unhurried: Cancellation) -> None:
    with pytest.raises(InvalidRequest, match="Lower max_length"):
        captioner.summarize(["A dog."], 1279, unhurried)


def test_a_character_cut_in_its_middle_is_left_out(
    captioner: Captioner, model: Moondream, small_checkpoint: Path, unhurried: Cancellation
) -> None:
    # Byte-level tokenizers write byte 0xE2, the first of the three of "€", as "â".
    first_byte = Tokenizer.from_file(str(small_checkpoint / "tokenizer.json")).token_to_id("â")
    bias = model.get_parameter("text.lm_head.bias").data
    before = bias.clone()
    bias[first_byte] = 1e6
    caption = captioner.caption_image(encoded_png(colored_noise(1)), CaptionTask(1), unhurried).caption
    bias.copy_(before)
    assert caption == Caption("", "length")


def test_warming_up_runs_the_language_model(captioner: Captioner, model: Moondream) -> None:
    steps = []
    handle = model.text.lm_head.register_forward_hook(lambda *_: steps.append(1))
    captioner.warm_up()
    handle.remove()
    assert len(steps) == 2
