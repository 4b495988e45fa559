import io
import logging
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer

from deployments.captioner.captioner import FRAMES_DECODED_TOGETHER, Captioner
from deployments.captioner.moondream import Moondream
from deployments.captioner.types import Caption, CaptionTask, FrameFailure, ImageCaption, Pixels
from deployments.errors import DeadlineExceeded, InvalidFile, InvalidRequest
from deployments.media import Media, as_media
from deployments.work import Stop, WorkCancelled
from tests.deployments.captioner.checkpoints import colored_noise

TASK = CaptionTask(max_new_tokens=12)


def encoded_png(pixels: Pixels) -> Media:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return as_media(content.getvalue())


def test_a_picture_gets_words_and_its_size(captioner: Captioner, unhurried: Stop) -> None:
    answer = captioner.caption_image(encoded_png(colored_noise(1, width=50, height=20)), TASK, unhurried)
    assert (answer.width, answer.height) == (50, 20)
    assert answer.caption.finish_reason == "length"
    assert len(answer.caption.text) >= 12
    assert answer.caption.text == answer.caption.text.strip()


def test_the_same_picture_gets_the_same_words(captioner: Captioner, unhurried: Stop) -> None:
    picture = encoded_png(colored_noise(1))
    first = captioner.caption_image(picture, TASK, unhurried)
    assert captioner.caption_image(picture, TASK, unhurried) == first


def test_length_and_question_change_the_words(captioner: Captioner, unhurried: Stop) -> None:
    picture = encoded_png(colored_noise(1))
    tasks = [TASK, CaptionTask(12, "short"), CaptionTask(12, "long"), CaptionTask(12, question="Which color?")]
    assert len({captioner.caption_image(picture, task, unhurried).caption.text for task in tasks}) > 1


def test_a_picture_is_seen_in_the_tiles_it_is_allowed(captioner: Captioner, model: Moondream, unhurried: Stop) -> None:
    views = []
    handle = model.vision.post_layernorm.register_forward_hook(lambda *_: views.append(1))
    large = colored_noise(1, width=86, height=60)
    captioner.caption_image(encoded_png(large), TASK, unhurried)
    assert len(views) == 1 + 6
    captioner.caption_frames([large], TASK, unhurried)
    assert len(views) == 1 + 6 + 1
    handle.remove()


def test_too_long_an_answer_is_refused_before_the_picture_is_looked_at(captioner: Captioner, unhurried: Stop) -> None:
    with pytest.raises(InvalidRequest, match="max_length must be between 1 and 1238"):
        captioner.caption_image(as_media(b"no picture"), CaptionTask(1239), unhurried)


def test_too_long_a_question_is_refused_with_how_much_to_cut(captioner: Captioner, unhurried: Stop) -> None:
    task = CaptionTask(10, question="why? " * 2000)
    with pytest.raises(InvalidRequest, match=r"The prompt is too long.*Shorten it by at least \d+ tokens"):
        captioner.caption_frames([colored_noise(1)], task, unhurried)


def test_a_picture_over_the_limit_is_refused(captioner: Captioner, unhurried: Stop) -> None:
    with pytest.raises(InvalidFile, match="more than 1,000,000 pixels"):
        captioner.caption_image(encoded_png(np.zeros((1001, 1000, 3), np.uint8)), TASK, unhurried)


def test_frames_get_the_words_they_would_get_alone(captioner: Captioner, unhurried: Stop) -> None:
    frames = [colored_noise(seed) for seed in range(2 * FRAMES_DECODED_TOGETHER + 1)]
    together = captioner.caption_frames(frames, TASK, unhurried)
    assert together == [captioner.caption_frames([frame], TASK, unhurried)[0] for frame in frames]
    assert len(set(together)) > FRAMES_DECODED_TOGETHER


def test_no_frames_give_no_captions(captioner: Captioner, unhurried: Stop) -> None:
    assert captioner.caption_frames([], TASK, unhurried) == []


@pytest.mark.parametrize(
    "broken",
    [np.zeros((0, 10, 3), np.uint8), np.zeros((10, 10), np.uint8), np.zeros((10, 10, 3), np.float32)],
)
def test_one_broken_frame_fails_alone(broken: Pixels, captioner: Captioner, unhurried: Stop) -> None:
    frames = [colored_noise(1), broken, colored_noise(2)]
    first, failure, last = captioner.caption_frames(frames, TASK, unhurried)
    assert isinstance(failure, FrameFailure)
    assert "not a picture" in failure.message
    assert [first, last] == captioner.caption_frames([frames[0], frames[2]], TASK, unhurried)


def test_a_frame_that_trips_over_our_own_error_fails_alone_and_is_logged(
    captioner: Captioner, model: Moondream, unhurried: Stop, caplog: pytest.LogCaptureFixture
) -> None:
    frames = [colored_noise(1), colored_noise(2)]
    calls = []

    def fail_first(*_: object) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("secret detail")

    handle = model.vision.post_layernorm.register_forward_hook(fail_first)
    with caplog.at_level(logging.ERROR, "ray.serve"):
        failure, caption = captioner.caption_frames(frames, TASK, unhurried)
    handle.remove()
    assert isinstance(failure, FrameFailure)
    assert "secret" not in failure.message
    assert isinstance(caption, Caption)
    assert "secret detail" in caplog.text


def test_a_caller_who_leaves_ends_the_whole_call(captioner: Captioner) -> None:
    stop = Stop(float("inf"))
    stop.cancel()
    with pytest.raises(WorkCancelled):
        captioner.caption_frames([colored_noise(1)], TASK, stop)
    with pytest.raises(WorkCancelled):
        captioner.caption_image(encoded_png(colored_noise(1)), TASK, stop)
    with pytest.raises(WorkCancelled):
        captioner.summarize(["A dog."], 10, stop)


def test_late_frames_tell_how_many_were_described(captioner: Captioner, model: Moondream) -> None:
    stop = Stop(float("inf"))
    frames = [colored_noise(seed) for seed in range(FRAMES_DECODED_TOGETHER + 2)]
    seen = []

    def pass_the_deadline(*_: object) -> None:
        seen.append(1)
        if len(seen) == FRAMES_DECODED_TOGETHER + 1:
            stop.deadline = 0.0

    handle = model.vision.post_layernorm.register_forward_hook(pass_the_deadline)
    with pytest.raises(DeadlineExceeded, match=f"^{FRAMES_DECODED_TOGETHER} of {len(frames)} frames were described$"):
        captioner.caption_frames(frames, TASK, stop)
    handle.remove()


def test_two_pictures_at_once_get_their_own_words(captioner: Captioner) -> None:
    pictures = {seed: encoded_png(colored_noise(seed, width=86, height=60)) for seed in range(4)}
    alone = {seed: captioner.caption_image(picture, TASK, Stop(float("inf"))) for seed, picture in pictures.items()}
    assert len({answer.caption.text for answer in alone.values()}) == len(pictures)
    wrong: list[ImageCaption] = []
    start = threading.Barrier(2)

    def work(order: list[int]) -> None:
        start.wait()
        for seed in order * 6:
            answer = captioner.caption_image(pictures[seed], TASK, Stop(float("inf")))
            if answer != alone[seed]:
                wrong.append(answer)

    threads = [threading.Thread(target=work, args=(order,)) for order in ([0, 1, 2, 3], [3, 1, 0, 2])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_summary_depends_on_what_is_told(captioner: Captioner, unhurried: Stop) -> None:
    summaries = [captioner.summarize([text], 12, unhurried).text for text in ("A dog runs.", "Rain falls on a city.")]
    assert summaries[0]
    assert summaries[0] != summaries[1]


def test_a_summary_of_32_very_long_descriptions_is_written(captioner: Captioner, unhurried: Stop) -> None:
    descriptions = [f"Picture {k} " + "shows a very long street. " * 400 for k in range(32)]
    summary = captioner.summarize(descriptions, 20, unhurried)
    assert summary.text
    assert summary == captioner.summarize(descriptions, 20, unhurried)


@pytest.mark.parametrize("descriptions", [[], ["", "  \n"]])
def test_a_summary_of_nothing_is_empty(descriptions: list[str], captioner: Captioner, unhurried: Stop) -> None:
    assert captioner.summarize(descriptions, 10, unhurried) == Caption("", "stop")


def test_blank_descriptions_are_left_out_of_a_summary(captioner: Captioner, unhurried: Stop) -> None:
    told = captioner.summarize(["A dog runs.", "It jumps."], 12, unhurried)
    assert captioner.summarize(["A dog runs.", " ", "It jumps."], 12, unhurried) == told


def test_a_summary_longer_than_the_context_is_refused(captioner: Captioner, unhurried: Stop) -> None:
    with pytest.raises(InvalidRequest, match="Lower max_length"):
        captioner.summarize(["A dog."], 1279, unhurried)


def test_a_character_cut_in_its_middle_is_left_out(
    captioner: Captioner, model: Moondream, small_checkpoint: Path, unhurried: Stop
) -> None:
    # Byte-level tokenizers write byte 0xE2, the first of the three of "€", as "â".
    first_byte = Tokenizer.from_file(str(small_checkpoint / "tokenizer.json")).token_to_id("â")
    bias = model.get_parameter("lm_head.bias").data
    before = bias.clone()
    bias[first_byte] = 1e6
    caption = captioner.caption_image(encoded_png(colored_noise(1)), CaptionTask(1), unhurried).caption
    bias.copy_(before)
    assert caption == Caption("", "length")


def test_warming_up_runs_the_whole_model(captioner: Captioner, model: Moondream) -> None:
    steps = []
    handle = model.lm_head.register_forward_hook(lambda *_: steps.append(1))
    captioner.warm_up()
    handle.remove()
    assert len(steps) == 2
