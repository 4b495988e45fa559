"""Pictures and frames in, words out; one model, shared by requests that run at once."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from tokenizers import Tokenizer

from deployments.cancellation import Cancellation, WorkCancelled
from deployments.captioner.generation import Answer, check_fits, generate, prompt_length
from deployments.captioner.memory import KeyValueMemory, RecentlyUsed
from deployments.captioner.moondream import Check, Moondream
from deployments.captioner.preprocessing import decode_image, make_crops
from deployments.captioner.prompts import caption_prompt, summary_prompt
from deployments.captioner.settings import CaptionerConfig
from deployments.captioner.turns import Turns
from deployments.captioner.types import Caption, CaptionTask, FrameFailure, ImageCaption, Reused
from deployments.errors import ServiceError
from deployments.inference.kv_cache import KeyValueCache
from deployments.log import logger
from deployments.malloc import trim_freed_memory
from deployments.media import Media, Pixels
from deployments.units import MEGABYTE

ANSWER_BYTES = 1024
"""What a kept answer takes beside its text; an estimate."""
FRAME_FAILURE = FrameFailure("The frame could not be described; the server's log has the reason.")


class Captioner:
    """Describes pictures; may be called from several threads at once, which then take turns, a layer or a token each.

    Calls raise WorkCancelled or DeadlineExceeded (with how far they got) within one layer or one
    token.
    """

    def __init__(
        self, model: Moondream, tokenizer: Tokenizer, config: CaptionerConfig, *, max_image_pixels: int
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._max_crops_per_image = min(config.max_crops_per_image, model.config.vision.max_crops)
        self._max_crops_per_frame = min(config.max_crops_per_frame, model.config.vision.max_crops)
        self._max_image_pixels = max_image_pixels
        self._turns = Turns(after_last=trim_freed_memory)
        self._images: RecentlyUsed[_SeenImage] = RecentlyUsed(config.image_cache_mb * MEGABYTE)
        self._answers: RecentlyUsed[_KnownAnswer] = RecentlyUsed(config.answer_cache_mb * MEGABYTE)
        self._memory = KeyValueMemory(config.cache_mb * MEGABYTE, self._images)

    def caption_image(self, image: Media, task: CaptionTask, cancellation: Cancellation) -> ImageCaption:
        """Return what the model says about an encoded picture.

        Raises InvalidRequest when prompt and answer do not fit the model's context, InvalidFile when the picture
        cannot be decoded or has too many pixels.
        """
        ids, length = self._prompt(task)
        key = hashlib.sha256(image.data).digest()
        question = _question(key, ids, task)
        known = self._answers.get(question)
        if known is not None:
            return ImageCaption(replace(known.caption, reused="answer"), *known.size)
        seen = self._images.take(key)
        with self._memory.reserve(max(self._model.cache_bytes(length), seen.cache.nbytes if seen else 0), 1):
            reused: Reused = "nothing" if seen is None else "image"
            if seen is None:
                cancellation.check("the picture was being decoded")
                pixels = decode_image(image, self._max_image_pixels)
                height, width, _ = pixels.shape
                crops = make_crops(pixels, self._model.config.vision, self._max_crops_per_image)
                seen = _SeenImage(self._model.new_cache(length), (width, height))
            with self._turns.taken():
                check = self._check(cancellation)
                if reused == "nothing":
                    self._model.read_image(self._model.encode_image(crops, check), seen.cache, check)
                seen = _SeenImage(seen.cache.with_capacity(length), seen.size)
                try:
                    [answer] = generate(self._model, ids, [seen.cache], task.max_new_tokens, check)
                finally:
                    seen.cache.length = self._model.config.text.prefix_attn
                    self._images.put(key, seen, seen.cache.nbytes)
        caption = self._caption(answer)
        self._answers.put(question, _KnownAnswer(caption, seen.size), _answer_bytes(caption))
        return ImageCaption(replace(caption, reused=reused), *seen.size)

    def caption_frames(
        self, frames: Sequence[Pixels], task: CaptionTask, cancellation: Cancellation
    ) -> list[Caption | FrameFailure]:
        """Return one outcome for each frame, in order; no frames give an empty list.

        As many are decoded together as memory allows: a step of several costs little more than a step of one. A frame
        that cannot be encoded fails alone. Raises InvalidRequest as `caption_image` does.
        """
        ids, length = self._prompt(task)
        outcomes: list[Caption | FrameFailure] = []

        def check(progress: str) -> None:
            self._turns.pass_on()
            cancellation.check(f"{len(outcomes)} of {len(frames)} frames were described; of the next, {progress}")

        while len(outcomes) < len(frames):
            rest = frames[len(outcomes) :]
            with self._memory.reserve(self._model.cache_bytes(length), len(rest)) as count, self._turns.taken():
                outcomes += self._caption_together(rest[:count], ids, task, length, check)
        return outcomes

    def summarize(self, descriptions: Sequence[str], max_new_tokens: int, cancellation: Cancellation) -> Caption:
        """Return a summary of a video, written by the language model from descriptions of its frames in time order.

        Any number of descriptions of any length will do; blank ones are left out, and none give an empty summary.
        Raises InvalidRequest when `max_new_tokens` alone does not fit the model's context.
        """
        told = [text for text in descriptions if text.strip()]
        if not told:
            return Caption("", "stop")
        config = self._model.config
        ids = summary_prompt(config, self._tokenizer, told, max_new_tokens)
        length = prompt_length(config, len(ids), has_image=False)
        check_fits(config, length, max_new_tokens)
        length += max_new_tokens
        with self._memory.reserve(self._model.cache_bytes(length), 1), self._turns.taken():
            cache = self._model.new_cache(length)
            [answer] = generate(self._model, ids, [cache], max_new_tokens, self._check(cancellation))
        return self._caption(answer)

    def warm_up(self) -> None:
        """Write two tokens, so that a model that cannot run is found out before it is called ready.

        A picture takes ten times as long, and made the first request no faster when that was measured.
        """
        self.summarize(["A picture."], max_new_tokens=2, cancellation=Cancellation(math.inf))

    def _prompt(self, task: CaptionTask) -> tuple[list[int], int]:
        """Return the prompt's ids, and the positions that image, prompt and answer take.

        What cannot fit is refused before any work is done.
        """
        config = self._model.config
        ids = caption_prompt(config, self._tokenizer, task)
        length = prompt_length(config, len(ids), has_image=True)
        check_fits(config, length, task.max_new_tokens)
        return ids, length + task.max_new_tokens

    def _check(self, cancellation: Cancellation) -> Check:
        def check(progress: str) -> None:
            self._turns.pass_on()
            cancellation.check(progress)

        return check

    def _caption_together(
        self, frames: Sequence[Pixels], ids: Sequence[int], task: CaptionTask, length: int, check: Check
    ) -> list[Caption | FrameFailure]:
        questions = [_question(_digest(frame), ids, task) for frame in frames]
        known = [self._answers.get(question) for question in questions]
        seen = [
            replace(answer.caption, reused="answer") if answer else self._see_frame(frame, length, check)
            for frame, answer in zip(frames, known, strict=True)
        ]
        caches = [outcome for outcome in seen if isinstance(outcome, KeyValueCache)]
        answers = iter(self._answer(ids, caches, task, check))
        outcomes: list[Caption | FrameFailure] = []
        for frame, question, outcome in zip(frames, questions, seen, strict=True):
            if isinstance(outcome, KeyValueCache):
                answer = next(answers)
                outcome = FRAME_FAILURE if answer is None else self._caption(answer)
                if isinstance(outcome, Caption):
                    known_answer = _KnownAnswer(outcome, (frame.shape[1], frame.shape[0]))
                    self._answers.put(question, known_answer, _answer_bytes(outcome))
            outcomes.append(outcome)
        return outcomes

    def _answer(
        self, ids: Sequence[int], caches: Sequence[KeyValueCache], task: CaptionTask, check: Check
    ) -> list[Answer | None]:
        """Return the answers after the caches' images; None for one that fails even when it is tried alone."""
        try:
            return list(generate(self._model, ids, caches, task.max_new_tokens, check))
        except (ServiceError, WorkCancelled):
            raise
        except Exception:
            logger.exception("%d frames could not be described", len(caches))
        if len(caches) == 1:
            return [None]
        for cache in caches:
            cache.length = self._model.config.text.prefix_attn
        return [answer for cache in caches for answer in self._answer(ids, [cache], task, check)]

    def _see_frame(self, frame: Pixels, length: int, check: Check) -> KeyValueCache | FrameFailure:
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or frame.size == 0:
            return FrameFailure(f"The frame is not a picture: {frame.dtype} of shape {frame.shape}.")
        try:
            crops = make_crops(frame, self._model.config.vision, self._max_crops_per_frame)
            cache = self._model.new_cache(length)
            self._model.read_image(self._model.encode_image(crops, check), cache, check)
            return cache
        except (ServiceError, WorkCancelled):
            raise
        except Exception:
            logger.exception("A frame of shape %s could not be encoded", frame.shape)
            return FRAME_FAILURE

    def _caption(self, answer: Answer) -> Caption:
        text = self._tokenizer.decode(answer.ids, skip_special_tokens=True)
        if answer.finish_reason == "length":
            text = text.rstrip("\ufffd")  # a character of several tokens may have been cut in its middle
        return Caption(text.strip(), answer.finish_reason)


@dataclass(frozen=True)
class _SeenImage:
    cache: KeyValueCache
    """Holds the prefix."""
    size: tuple[int, int]
    """Width and height in pixels, as a person sees it."""


@dataclass(frozen=True)
class _KnownAnswer:
    caption: Caption
    size: tuple[int, int]
    """Of the picture."""


def _question(image: bytes, ids: Sequence[int], task: CaptionTask) -> bytes:
    """Return the key of an answer: all that it depends on, as long as the model is the same."""
    return hashlib.sha256(b"%b %d %b" % (image, task.max_new_tokens, np.array(ids, np.int32).tobytes())).digest()


def _answer_bytes(caption: Caption) -> int:
    return ANSWER_BYTES + len(caption.text.encode())


def _digest(frame: Pixels) -> bytes:
    return hashlib.sha256(f"frame {frame.shape} {frame.dtype} ".encode() + frame.tobytes()).digest()
