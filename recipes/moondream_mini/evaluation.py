"""The examination of moondream-mini: scenes and wordings it never saw, asked through the product's own captioner."""

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
from deployments.captioner.checkpoint import Precision, load_moondream
from deployments.captioner.prompts import read_tokenizer
from deployments.captioner.settings import CaptionerConfig
from deployments.captioner.types import Caption, CaptionTask
from deployments.media import as_media
from recipes.moondream_mini.dataset import draw_example
from recipes.moondream_mini.language import normal_caption, short_caption, summary
from recipes.moondream_mini.questions import random_question
from recipes.moondream_mini.world import MAX_SHAPES, Scene, draw_scene, random_scene

SEED = 20_000
"""Far from the seed of training: no scene of the examination was ever drawn for it."""
NUM_SCENES = 200
NUM_QUESTIONS = 500
NUM_SUMMARIES = 60
USUAL_PROMPTS = ("Describe this image", "What's in this image?")
MAX_NEW_TOKENS = 256


@dataclass
class Score:
    right: int = 0
    asked: int = 0
    mistakes: list[str] = field(default_factory=list)

    def add(self, said: str, true: str, asked: str) -> None:
        self.asked += 1
        self.right += said == true
        if said != true:
            self.mistakes.append(f"{asked}: {said!r} instead of {true!r}")


Scores = dict[str, Score]


def load_captioner(folder: Path, precision: Precision) -> Captioner:
    """Return the captioner that the product serves with this checkpoint."""
    model = load_moondream(folder / "config.json", [folder / "model.safetensors"], precision, lambda progress: None)
    tokenizer = read_tokenizer(folder / "tokenizer.json", model.config)
    return Captioner(model, tokenizer, CaptionerConfig(), max_image_pixels=64_000_000)


def examine(folder: Path, report: Callable[[str], None], precision: Precision = "int8") -> Scores:
    """Return the scores by subject; an answer is right only if every character of it is."""
    captioner = load_captioner(folder, precision)
    scores: Scores = defaultdict(Score)
    cancellation = Cancellation(math.inf)
    started = time.monotonic()

    def ask(image: Image.Image, question: str | None) -> str:
        media = as_media(_png(image))
        return captioner.caption_image(media, CaptionTask(MAX_NEW_TOKENS, question=question), cancellation).caption.text

    for number in range(NUM_SCENES):
        scene, drawing = draw_example(SEED, number)
        true = normal_caption(scene)
        said = ask(drawing.image, None)
        scores["captions"].add(said, true, f"scene {number}")
        scores[f"captions of {len(scene.shapes)} shapes"].add(said, true, f"scene {number}")
        task = CaptionTask(MAX_NEW_TOKENS, "short")
        [frame] = captioner.caption_frames([np.asarray(drawing.image)], task, cancellation)
        assert isinstance(frame, Caption)
        scores["short captions, as of frames"].add(frame.text, short_caption(scene), f"scene {number}")
    for number in range(NUM_SCENES // 4):
        scene, drawing = draw_example(SEED + 1, number)
        for prompt in USUAL_PROMPTS:
            scores[f'"{prompt}"'].add(ask(drawing.image, prompt), normal_caption(scene), f"scene {number}")
        rng = random.Random(number)
        large = draw_scene(scene, 1920, 1080, rng).image
        scores["captions of 1920x1080 pixels"].add(ask(large, None), normal_caption(scene), f"scene {number}")
    report(f"captions: {scores['captions'].right}/{scores['captions'].asked}")
    _ask_questions(ask, scores)
    report(f"questions: {scores['questions'].right}/{scores['questions'].asked}")
    for number in range(NUM_SUMMARIES):
        told = _moments(random.Random(f"summary {number}"))
        said = captioner.summarize(told, MAX_NEW_TOKENS, cancellation).text
        scores["summaries of 2 to 8 moments"].add(said, summary(told), f"list {number}")
    report(f"summaries: {scores['summaries of 2 to 8 moments'].right}; {time.monotonic() - started:.0f} s")
    return dict(scores)


def _ask_questions(ask: Callable[[Image.Image, str], str], scores: Scores) -> None:
    for number in range(NUM_QUESTIONS):
        scene, drawing = draw_example(SEED + 2, number)
        is_held_out = number % 2 == 1
        question = random_question(scene, random.Random(f"question {number}"), is_held_out=is_held_out)
        said = ask(drawing.image, question.text)
        wording = "in wordings never trained on" if is_held_out else "in wordings like those of training"
        for subject in ("questions", f"questions {wording}", f"questions of kind {question.kind}"):
            scores[subject].add(said, question.answer, f"question {number} ({question.text})")
        if question.kind in ("presence", "unknown"):
            is_there = question.answer.startswith("Yes")
            name = "shapes that are there are found" if is_there else "shapes that are not there are denied"
            scores[name].add(said[:3], question.answer[:3], f"question {number} ({question.text})")


def _moments(rng: random.Random) -> list[str]:
    scenes: list[Scene] = [random_scene(rng, rng.randint(1, MAX_SHAPES)) for _ in range(rng.randint(2, 8))]
    return [short_caption(scene) for scene in scenes]


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
