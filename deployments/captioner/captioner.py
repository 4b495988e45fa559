"""Pictures and frames in, words out; one model, shared by requests that run at once."""

import logging
import math
from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer
from torch import Tensor

from deployments.captioner.generation import Answer, check_fits, generate, prompt_length
from deployments.captioner.moondream import Check, Moondream, Prompt
from deployments.captioner.preprocessing import decode_image, make_crops
from deployments.captioner.prompts import caption_prompt, summary_prompt
from deployments.captioner.types import Caption, CaptionTask, FrameFailure, ImageCaption, Pixels
from deployments.errors import ServiceError
from deployments.media import Media
from deployments.work import Stop, WorkCancelled

FRAMES_DECODED_TOGETHER = 4
"""A decode step of a few sequences costs what one of a single sequence costs, but each sequence's keys and values of
moondream2 take 315 MB in fp32 (157 MB in bf16), and 32 frames may come in one call."""

logger = logging.getLogger("ray.serve")


class Captioner:
    """Describes pictures; may be called from several threads at once.

    Calls raise WorkCancelled or DeadlineExceeded (with how far they got) within one layer or one token of `stop`.
    """

    def __init__(
        self,
        model: Moondream,
        tokenizer: Tokenizer,
        *,
        max_crops_per_image: int,
        max_crops_per_frame: int,
        max_image_pixels: int,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._max_crops_per_image = min(max_crops_per_image, model.config.vision.max_crops)
        self._max_crops_per_frame = min(max_crops_per_frame, model.config.vision.max_crops)
        self._max_image_pixels = max_image_pixels

    def caption_image(self, image: Media, task: CaptionTask, stop: Stop) -> ImageCaption:
        """Return what the model says about an encoded picture.

        Raises InvalidRequest when prompt and answer do not fit the model's context, InvalidFile when the picture
        cannot be decoded or has too many pixels.
        """
        ids = self._prompt_ids(task)
        stop.check("the picture was being decoded")
        pixels = decode_image(image, self._max_image_pixels)
        height, width, _ = pixels.shape
        crops = make_crops(pixels, self._model.config.vision, self._max_crops_per_image)
        prompt = Prompt(ids, self._model.encode_image(crops, stop.check))
        [answer] = generate(self._model, [prompt], task.max_new_tokens, stop.check)
        return ImageCaption(self._caption(answer), width, height)

    def caption_frames(self, frames: Sequence[Pixels], task: CaptionTask, stop: Stop) -> list[Caption | FrameFailure]:
        """Return one outcome for each frame, in order; no frames give an empty list.

        A frame that cannot be encoded fails alone. Raises InvalidRequest as `caption_image` does.
        """
        ids = self._prompt_ids(task)
        outcomes: list[Caption | FrameFailure] = []

        def check(progress: str) -> None:
            stop.check(f"{len(outcomes)} of {len(frames)} frames were described")

        for start in range(0, len(frames), FRAMES_DECODED_TOGETHER):
            group = [self._encode_frame(frame, check) for frame in frames[start : start + FRAMES_DECODED_TOGETHER]]
            prompts = [Prompt(ids, image) for image in group if not isinstance(image, FrameFailure)]
            answers = iter(generate(self._model, prompts, task.max_new_tokens, check))
            outcomes += [image if isinstance(image, FrameFailure) else self._caption(next(answers)) for image in group]
        return outcomes

    def summarize(self, descriptions: Sequence[str], max_new_tokens: int, stop: Stop) -> Caption:
        """Return a summary of a video, written by the language model from descriptions of its frames in time order.

        Any number of descriptions of any length will do; blank ones are left out, and none give an empty summary.
        Raises InvalidRequest when `max_new_tokens` alone does not fit the model's context.
        """
        told = [text for text in descriptions if text.strip()]
        if not told:
            return Caption("", "stop")
        ids = summary_prompt(self._model.config, self._tokenizer, told, max_new_tokens)
        [answer] = generate(self._model, [Prompt(ids)], max_new_tokens, stop.check)
        return self._caption(answer)

    def warm_up(self) -> None:
        """Describe an empty picture in two tokens, so that the first request finds every kernel and page ready."""
        side = self._model.config.vision.crop_size
        never = Stop(math.inf)
        self.caption_frames([np.zeros((side, side, 3), np.uint8)], CaptionTask(max_new_tokens=2), never)

    def _prompt_ids(self, task: CaptionTask) -> list[int]:
        """Return the prompt's ids, having refused what cannot fit before any work is done."""
        ids = caption_prompt(self._model.config, self._tokenizer, task)
        check_fits(self._model.config, prompt_length(self._model.config, len(ids), has_image=True), task.max_new_tokens)
        return ids

    def _encode_frame(self, frame: Pixels, check: Check) -> Tensor | FrameFailure:
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or frame.size == 0:
            return FrameFailure(f"The frame is not a picture: {frame.dtype} of shape {frame.shape}.")
        try:
            crops = make_crops(frame, self._model.config.vision, self._max_crops_per_frame)
            return self._model.encode_image(crops, check)
        except (ServiceError, WorkCancelled):
            raise
        except Exception:
            logger.exception("A frame of shape %s could not be encoded", frame.shape)
            return FrameFailure("The frame could not be described; the server's log has the reason.")

    def _caption(self, answer: Answer) -> Caption:
        text = self._tokenizer.decode(answer.ids, skip_special_tokens=True)
        if answer.finish_reason == "length":
            text = text.rstrip("\ufffd")  # a character of several tokens may have been cut in its middle
        return Caption(text.strip(), answer.finish_reason)
