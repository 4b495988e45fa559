"""Describes images and frames in words; one model, shared by concurrent requests."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from tokenizers import Tokenizer

from deployments.cancellation import Cancellation, WorkCancelled
from deployments.captioner.answer_cache import AnswerCache, answer_key
from deployments.captioner.answer_progress import AnswerProgress, SendProgress
from deployments.captioner.fair_lock import FairLock
from deployments.captioner.generation import GeneratedTokens, check_fits_context, generate, prompt_length
from deployments.captioner.kv_cache_budget import KVCacheBudget
from deployments.captioner.moondream import CheckCancelled, Moondream
from deployments.captioner.preprocessing import DecodedImage, decode_and_crop, make_crops
from deployments.captioner.prompts import caption_prompt, summary_prompt
from deployments.captioner.settings import CaptionerConfig
from deployments.captioner.types import Caption, CaptionTask, FrameFailure, ImageCaption, Reused
from deployments.errors import DeadlineExceeded, ServiceError
from deployments.inference.kv_cache import KeyValueCache
from deployments.log import logger
from deployments.lru_cache import LRUCache
from deployments.malloc import trim_freed_memory
from deployments.media import Media, MediaReader, Pixels
from deployments.sandbox import Sandbox
from deployments.units import MEGABYTE

FRAME_FAILURE = FrameFailure("The frame could not be described; the server's log has the reason.")


@dataclass(frozen=True)
class CachedImage:
    cache: KeyValueCache
    """Holds the image's prefix: bos and the image embeddings."""
    size: tuple[int, int]
    """Width and height in pixels, after EXIF orientation."""


class Captioner:
    """Describes images. Several threads may call it at once; they take turns, one layer or decode step each.

    Every call stops within one layer or decode step when it is cancelled or late: it raises WorkCancelled, or
    DeadlineExceeded with how far it had got. `sandbox` runs functions of preprocessing.py; without one, images are
    decoded in this process, and decoding is not interrupted: for files that can be trusted.
    """

    def __init__(
        self,
        model: Moondream,
        tokenizer: Tokenizer,
        config: CaptionerConfig,
        *,
        max_image_pixels: int,
        sandbox: Sandbox | None = None,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._max_crops_per_image = min(config.max_crops_per_image, model.config.vision.max_crops)
        self._max_crops_per_frame = min(config.max_crops_per_frame, model.config.vision.max_crops)
        self._max_image_pixels = max_image_pixels
        self._sandbox = sandbox
        self._model_lock = FairLock(on_idle=trim_freed_memory)
        self._image_cache: LRUCache[CachedImage] = LRUCache(config.image_cache_mb * MEGABYTE)
        self._answer_cache = AnswerCache(config.answer_cache_mb * MEGABYTE)
        self._kv_cache_budget = KVCacheBudget(config.cache_mb * MEGABYTE, self._image_cache)

    def caption_image(
        self,
        media: Media,
        task: CaptionTask,
        cancellation: Cancellation,
        send: SendProgress | None = None,
    ) -> ImageCaption:
        """Return what the model says about an encoded image; `send` gets the progress meanwhile.

        Raises InvalidRequest if prompt and answer do not fit the model's context, InvalidFile if the image cannot be
        decoded or has too many pixels.
        """
        prompt_ids, capacity = self._prompt_and_capacity(task)
        image_hash = hashlib.sha256(media.data).digest()
        key = answer_key(image_hash, prompt_ids, task.max_new_tokens)
        num_prompt_tokens = capacity - task.max_new_tokens
        cached_answer = self._answer_cache.get(key)
        if cached_answer is not None:
            caption = replace(cached_answer.caption, reused="answer")
            return ImageCaption(caption, *cached_answer.image_size, num_prompt_tokens)
        # Taken out of the image cache, because decoding appends to its KV cache.
        image = self._image_cache.pop(image_hash)
        kv_cache_bytes = max(self._model.kv_cache_bytes(capacity), image.cache.nbytes if image else 0)
        with self._kv_cache_budget.reserve(kv_cache_bytes, 1):
            reused: Reused = "nothing" if image is None else "image"
            if image is None:
                decoded = self._decode(media, cancellation)
                image = CachedImage(self._model.new_kv_cache(capacity), (decoded.width, decoded.height))
            with self._model_lock.held():
                check_cancelled = self._yielding_check(cancellation)
                progress = None
                if send is not None:
                    num_crops = 0 if reused == "image" else len(decoded.crops.values)
                    progress = AnswerProgress(send, self._model.num_layers(num_crops), self._to_text)
                    check_cancelled = progress.counting(check_cancelled)
                if reused == "nothing":
                    self._model.prefill_image(
                        self._model.encode_image(decoded.crops, check_cancelled), image.cache, check_cancelled
                    )
                image = CachedImage(image.cache.with_capacity(capacity), image.size)
                try:
                    [answer] = generate(
                        self._model,
                        prompt_ids,
                        [image.cache],
                        task.max_new_tokens,
                        check_cancelled,
                        (lambda answers: None) if progress is None else (lambda answers: progress.write(answers[0])),
                    )
                finally:
                    self._truncate_to_prefix(image.cache)
                    self._image_cache.put(image_hash, image, image.cache.nbytes)
        caption = self._to_caption(answer)
        self._answer_cache.put(key, caption, image.size)
        return ImageCaption(replace(caption, reused=reused), *image.size, num_prompt_tokens)

    def caption_frames(
        self, frames: Sequence[Pixels], task: CaptionTask, cancellation: Cancellation
    ) -> list[Caption | FrameFailure]:
        """Return one outcome for each frame, in order; no frames give an empty list.

        As many frames are decoded together as memory allows: a decode step of several sequences takes little longer
        than a step of one. A frame that fails does not affect the others. Raises InvalidRequest like `caption_image`.
        """
        prompt_ids, capacity = self._prompt_and_capacity(task)
        outcomes: list[Caption | FrameFailure] = []

        def check_cancelled(progress: str) -> None:
            self._model_lock.yield_to_waiters()
            cancellation.check(
                f"{len(outcomes)} of {len(frames)} frames were described; for the next frame, {progress}"
            )

        while len(outcomes) < len(frames):
            remaining = frames[len(outcomes) :]
            kv_cache_bytes = self._model.kv_cache_bytes(capacity)
            with self._kv_cache_budget.reserve(kv_cache_bytes, len(remaining)) as num_frames, self._model_lock.held():
                outcomes += self._caption_batch(remaining[:num_frames], prompt_ids, task, capacity, check_cancelled)
        return outcomes

    def summarize(self, descriptions: Sequence[str], max_new_tokens: int, cancellation: Cancellation) -> Caption:
        """Return a summary of a video, which the language model writes from descriptions of its frames in time order.

        There may be any number of descriptions, of any length. Blank ones are ignored; without any, the summary is
        empty. Raises InvalidRequest if `max_new_tokens` alone exceeds the model's context.
        """
        descriptions = [text for text in descriptions if text.strip()]
        if not descriptions:
            return Caption("", "stop")
        config = self._model.config
        prompt_ids = summary_prompt(config, self._tokenizer, descriptions, max_new_tokens)
        num_prompt_positions = prompt_length(config, len(prompt_ids), has_image=False)
        check_fits_context(config, num_prompt_positions, max_new_tokens)
        capacity = num_prompt_positions + max_new_tokens
        with self._kv_cache_budget.reserve(self._model.kv_cache_bytes(capacity), 1), self._model_lock.held():
            cache = self._model.new_kv_cache(capacity)
            check_cancelled = self._yielding_check(cancellation)
            [answer] = generate(self._model, prompt_ids, [cache], max_new_tokens, check_cancelled)
        return self._to_caption(answer)

    def warm_up(self) -> None:
        """Generate two tokens, so that a model that cannot run fails before it is reported as loaded.

        Captioning an image instead would take ten times as long, and did not make the first request any faster when
        that was measured.
        """
        self.summarize(["A picture."], max_new_tokens=2, cancellation=Cancellation(math.inf))

    def _decode(self, media: Media, cancellation: Cancellation) -> DecodedImage:
        arguments = (self._model.config.vision, self._max_crops_per_image, self._max_image_pixels)
        try:
            if self._sandbox is None:
                [decoded] = decode_and_crop(MediaReader(media), *arguments, cancellation)
            else:
                [decoded] = self._sandbox.run("decode_and_crop", media, *arguments, cancellation=cancellation)
            return decoded
        except DeadlineExceeded:
            raise DeadlineExceeded("the image was being decoded") from None

    def _prompt_and_capacity(self, task: CaptionTask) -> tuple[list[int], int]:
        """Return the prompt's ids, and the KV cache capacity that image, prompt and answer need, in positions.

        Raises InvalidRequest, before any work is done, if they do not fit the model's context.
        """
        config = self._model.config
        prompt_ids = caption_prompt(config, self._tokenizer, task)
        num_prompt_positions = prompt_length(config, len(prompt_ids), has_image=True)
        check_fits_context(config, num_prompt_positions, task.max_new_tokens)
        return prompt_ids, num_prompt_positions + task.max_new_tokens

    def _yielding_check(self, cancellation: Cancellation) -> CheckCancelled:
        """Return a check that also lets waiting threads use the model first."""

        def check_cancelled(progress: str) -> None:
            self._model_lock.yield_to_waiters()
            cancellation.check(progress)

        return check_cancelled

    def _caption_batch(
        self,
        frames: Sequence[Pixels],
        prompt_ids: Sequence[int],
        task: CaptionTask,
        capacity: int,
        check_cancelled: CheckCancelled,
    ) -> list[Caption | FrameFailure]:
        """Return one outcome for each frame. Frames that are not in the answer cache are decoded together."""
        keys = [answer_key(_frame_hash(frame), prompt_ids, task.max_new_tokens) for frame in frames]
        cached_answers = [self._answer_cache.get(key) for key in keys]
        caches_or_outcomes = [
            replace(cached.caption, reused="answer")
            if cached
            else self._prefill_frame(frame, capacity, check_cancelled)
            for frame, cached in zip(frames, cached_answers, strict=True)
        ]
        caches = [outcome for outcome in caches_or_outcomes if isinstance(outcome, KeyValueCache)]
        answers = iter(self._generate_batch(prompt_ids, caches, task, check_cancelled))
        outcomes: list[Caption | FrameFailure] = []
        for frame, key, outcome in zip(frames, keys, caches_or_outcomes, strict=True):
            if isinstance(outcome, KeyValueCache):
                answer = next(answers)
                outcome = FRAME_FAILURE if answer is None else self._to_caption(answer)
                if isinstance(outcome, Caption):
                    self._answer_cache.put(key, outcome, (frame.shape[1], frame.shape[0]))
            outcomes.append(outcome)
        return outcomes

    def _generate_batch(
        self,
        prompt_ids: Sequence[int],
        caches: Sequence[KeyValueCache],
        task: CaptionTask,
        check_cancelled: CheckCancelled,
    ) -> list[GeneratedTokens | None]:
        """Return the answer for each KV cache. If the batch fails, each is tried alone; None if that fails too."""
        try:
            return list(generate(self._model, prompt_ids, caches, task.max_new_tokens, check_cancelled))
        except (ServiceError, WorkCancelled):
            raise
        except Exception:
            logger.exception("%d frames could not be described", len(caches))
        if len(caches) == 1:
            return [None]
        for cache in caches:
            self._truncate_to_prefix(cache)
        return [
            answer for cache in caches for answer in self._generate_batch(prompt_ids, [cache], task, check_cancelled)
        ]

    def _prefill_frame(
        self, frame: Pixels, capacity: int, check_cancelled: CheckCancelled
    ) -> KeyValueCache | FrameFailure:
        """Return a KV cache that holds the frame's prefix."""
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or frame.size == 0:
            return FrameFailure(f"The frame is not an image: {frame.dtype} of shape {frame.shape}.")
        try:
            crops = make_crops(frame, self._model.config.vision, self._max_crops_per_frame)
            cache = self._model.new_kv_cache(capacity)
            self._model.prefill_image(self._model.encode_image(crops, check_cancelled), cache, check_cancelled)
            return cache
        except (ServiceError, WorkCancelled):
            raise
        except Exception:
            logger.exception("A frame of shape %s could not be encoded", frame.shape)
            return FRAME_FAILURE

    def _truncate_to_prefix(self, cache: KeyValueCache) -> None:
        """Drop everything from a KV cache that follows the image."""
        cache.length = self._model.config.text.prefix_attn

    def _to_caption(self, answer: GeneratedTokens) -> Caption:
        is_cut_off = answer.finish_reason == "length"
        text = self._to_text(answer.ids, is_cut_off=is_cut_off)
        return Caption(text, answer.finish_reason, num_tokens=len(answer.ids))

    def _to_text(self, ids: Sequence[int], *, is_cut_off: bool = True) -> str:
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        # The end may lack a part of a character of several tokens.
        return (text.rstrip("\ufffd") if is_cut_off else text).strip()


def _frame_hash(frame: Pixels) -> bytes:
    return hashlib.sha256(f"frame {frame.shape} {frame.dtype} ".encode() + frame.tobytes()).digest()
