"""Evaluation of moondream-mini on a test set of new scenes and held-out questions, with the product's own captioner."""

import io
import math
import random
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from deployments.cancellation import Cancellation
from deployments.captioner.captioner import Captioner
from deployments.captioner.loading import load_moondream
from deployments.captioner.prompts import read_tokenizer
from deployments.captioner.settings import CaptionerConfig, MoondreamPrecision
from deployments.captioner.types import Caption, CaptionTask
from deployments.media import as_media
from recipes.moondream_mini.captions_and_answers import normal_caption, short_caption, summary
from recipes.moondream_mini.dataset import draw_example
from recipes.moondream_mini.questions import random_question
from recipes.moondream_mini.world import MAX_SHAPES, Scene, draw_scene, random_scene

SEED = 20_000
"""Seed of the test set; the training set has another one."""
NUM_SCENES = 200
NUM_QUESTIONS = 500
NUM_SUMMARIES = 60
COMMON_PROMPTS = ("Describe this image", "What's in this image?")
MAX_NEW_TOKENS = 256
_KIND_NAMES = {
    "describe": "the whole picture",
    "colour": "the colour of a shape",
    "form": "the form of a shape",
    "place": "the place of a shape",
    "size": "the size of a shape",
    "count": "the number of shapes",
    "presence": "whether a shape is present",
    "content": "what is in a place",
    "check": "whether a shape has an attribute",
    "unknown": "things that are never drawn",
}
"""What the card calls the kinds of questions."""


@dataclass
class Score:
    num_correct: int = 0
    num_total: int = 0
    mistakes: list[str] = field(default_factory=list)

    def add(self, answer: str, expected: str, source: str) -> None:
        """Count one answer; `source` names the scene or question in the list of mistakes."""
        self.num_total += 1
        self.num_correct += answer == expected
        if answer != expected:
            self.mistakes.append(f"{source}: {answer!r} instead of {expected!r}")


Scores = dict[str, Score]
"""By test; the names are those in the card."""


def load_captioner(folder: Path, precision: MoondreamPrecision) -> Captioner:
    """Return the captioner that the product serves with this checkpoint."""
    model = load_moondream(folder / "config.json", [folder / "model.safetensors"], precision, lambda progress: None)
    tokenizer = read_tokenizer(folder / "tokenizer.json", model.config)
    return Captioner(model, tokenizer, CaptionerConfig(), max_image_pixels=64_000_000)


def evaluate(folder: Path, report: Callable[[str], None], precision: MoondreamPrecision = "int8") -> Scores:
    """Return the scores. An answer is correct only if it equals the expected one character by character."""
    captioner = load_captioner(folder, precision)
    scores: Scores = defaultdict(Score)
    cancellation = Cancellation(math.inf)
    started = time.monotonic()

    def ask(image: Image.Image, question: str | None) -> str:
        media = as_media(_png(image))
        return captioner.caption_image(media, CaptionTask(MAX_NEW_TOKENS, question=question), cancellation).caption.text

    for number in range(NUM_SCENES):
        scene, drawing = draw_example(SEED, number)
        expected = normal_caption(scene)
        caption = ask(drawing.image, None)
        scores["captions"].add(caption, expected, f"scene {number}")
        scores[f"captions, number of shapes: {len(scene.shapes)}"].add(caption, expected, f"scene {number}")
        task = CaptionTask(MAX_NEW_TOKENS, "short")
        [frame] = captioner.caption_frames([np.asarray(drawing.image)], task, cancellation)
        assert isinstance(frame, Caption)
        scores["short captions, as for video frames"].add(frame.text, short_caption(scene), f"scene {number}")
    for number in range(NUM_SCENES // 4):
        scene, drawing = draw_example(SEED + 1, number)
        for prompt in COMMON_PROMPTS:
            scores[f'"{prompt}"'].add(ask(drawing.image, prompt), normal_caption(scene), f"scene {number}")
        rng = random.Random(number)
        large = draw_scene(scene, 1920, 1080, rng).image
        scores["captions of pictures of 1920x1080 pixels"].add(
            ask(large, None), normal_caption(scene), f"scene {number}"
        )
    report(f"captions: {scores['captions'].num_correct}/{scores['captions'].num_total}")
    _ask_questions(ask, scores)
    report(f"questions: {scores['questions'].num_correct}/{scores['questions'].num_total}")
    for number in range(NUM_SUMMARIES):
        captions = _random_captions(random.Random(f"summary {number}"))
        text = captioner.summarize(captions, MAX_NEW_TOKENS, cancellation).text
        scores["summaries of 2 to 8 captions"].add(text, summary(captions), f"summary {number}")
    report(f"summaries: {scores['summaries of 2 to 8 captions'].num_correct}; {time.monotonic() - started:.0f} s")
    return dict(scores)


def _ask_questions(ask: Callable[[Image.Image, str], str], scores: Scores) -> None:
    for number in range(NUM_QUESTIONS):
        scene, drawing = draw_example(SEED + 2, number)
        is_held_out = number % 2 == 1
        question = random_question(scene, random.Random(f"question {number}"), is_held_out=is_held_out)
        answer = ask(drawing.image, question.text)
        wording = "held-out wordings" if is_held_out else "wordings as in training"
        for name in ("questions", f"questions in {wording}", f"questions about {_KIND_NAMES[question.kind]}"):
            scores[name].add(answer, question.answer, f"question {number} ({question.text})")
        if question.kind in ("presence", "unknown"):
            is_present = question.answer.startswith("Yes")
            name = "yes to shapes that are present" if is_present else "no to shapes and things that are absent"
            scores[name].add(answer[:3], question.answer[:3], f"question {number} ({question.text})")


def _random_captions(rng: random.Random) -> list[str]:
    scenes: list[Scene] = [random_scene(rng, rng.randint(1, MAX_SHAPES)) for _ in range(rng.randint(2, 8))]
    return [short_caption(scene) for scene in scenes]


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
