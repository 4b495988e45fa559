"""Pictures match their captions and answers, and the recipe makes a checkpoint that the product loads."""

import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from deployments.cancellation import Cancellation
from deployments.captioner.loading import load_moondream
from deployments.captioner.types import CaptionTask
from deployments.media import as_media
from recipes.moondream_mini import training
from recipes.moondream_mini.__main__ import write_checkpoint
from recipes.moondream_mini.attention import PackedAttention
from recipes.moondream_mini.captions_and_answers import (
    Subject,
    attribute_answer,
    check_answer,
    content_answer,
    count_answer,
    long_caption,
    normal_caption,
    presence_answer,
    short_caption,
    summary,
)
from recipes.moondream_mini.dataset import draw_example, load_or_draw_scenes
from recipes.moondream_mini.evaluation import load_captioner
from recipes.moondream_mini.model import GRID, SIDE, initialize_model
from recipes.moondream_mini.questions import random_question
from recipes.moondream_mini.sequences import make_tokenizer
from recipes.moondream_mini.training import PatchClassifier, fine_tune_language, train_language, train_vision
from recipes.moondream_mini.wordings import (
    ATTRIBUTE_CHECKS,
    CARRIER_PHRASES,
    CLAUSES,
    HELD_OUT_WORDINGS,
    TRAINING_WORDINGS,
)
from recipes.moondream_mini.world import (
    PALETTE,
    PLACES,
    Scene,
    Shape,
    draw_mask,
    draw_scene,
    mirrored,
    random_image_size,
    random_scene,
)

SCENE = Scene((Shape("square", "blue", "small", "top right"), Shape("circle", "red", "large", "left")))
CIRCLES = Scene((Shape("circle", "red", "large", "left"), Shape("circle", "orange", "large", "middle")))
EMPTY = Scene(())


@pytest.mark.parametrize("seed", range(60))
def test_a_shape_is_drawn_in_its_place_and_colour_at_any_aspect_ratio(seed: int) -> None:
    rng = random.Random(seed)
    scene = random_scene(rng, 4)
    width, height = random_image_size(rng)
    drawing = draw_scene(scene, width, height, rng)
    mask = np.asarray(draw_mask(scene, drawing))
    for shape, (left, top, right, bottom) in zip(scene.shapes, drawing.boxes, strict=True):
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1
        x, y = (left + right) / 2, (top + bottom) / 2
        assert PLACES[int(y * 3) * 3 + int(x * 3)] == shape.place
        pixel = drawing.image.getpixel((int(x * width), int(y * height)))
        assert isinstance(pixel, tuple)
        assert math.dist(pixel, PALETTE[shape.colour]) < 30
        assert mask[int(y * height), int(x * width)] == 255
    covered = mask.mean() / 255
    assert 0 < covered < sum((right - left) * (bottom - top) for left, top, right, bottom in drawing.boxes)


def test_captions_name_every_shape_in_reading_order() -> None:
    assert short_caption(SCENE) == "A small blue square and a large red circle."
    assert normal_caption(SCENE) == "A small blue square at the top right and a large red circle on the left."
    assert long_caption(SCENE).startswith("There are two shapes: a small blue square at the top right and ")
    assert {normal_caption(EMPTY), short_caption(EMPTY), long_caption(EMPTY)} == {"There is nothing in the picture."}


def test_a_summary_lists_the_captions_in_order() -> None:
    captions = [short_caption(SCENE), short_caption(EMPTY)]
    assert summary(captions) == (
        "The video shows: 1. A small blue square and a large red circle. 2. There is nothing in the picture."
    )


def test_answers_are_correct() -> None:
    circle, cross = Subject(form="circle"), Subject(form="cross", colour="red")
    assert attribute_answer(SCENE, circle, "colour") == "The circle is red."
    assert attribute_answer(CIRCLES, circle, "colour") == "The circles are red and orange."
    assert attribute_answer(CIRCLES, circle, "size") == "The circles are large."
    assert attribute_answer(CIRCLES, circle, "place") == "The circles are on the left and in the middle."
    assert attribute_answer(SCENE, cross, "place") == "There is no red cross."
    assert attribute_answer(CIRCLES, Subject(colour="orange"), "form") == "A circle."
    assert count_answer(SCENE, Subject()) == "There are two shapes."
    assert count_answer(SCENE, cross) == "There are no red crosses."
    assert presence_answer(SCENE, circle) == "Yes, a large red circle on the left."
    assert presence_answer(SCENE, cross) == "No, there is no red cross."
    assert content_answer(SCENE, "left") == "A large red circle."
    assert content_answer(SCENE, "bottom") == "There is nothing at the bottom."
    assert check_answer(SCENE, circle, "colour", "red") == "Yes, the circle is red."
    assert check_answer(SCENE, circle, "colour", "blue") == "No, the circle is red."
    assert check_answer(SCENE, cross, "size", "large") == "No, there is no red cross."


def test_held_out_wordings_are_not_in_the_training_set() -> None:
    assert set(HELD_OUT_WORDINGS) == set(TRAINING_WORDINGS)
    training = {text for texts in (*TRAINING_WORDINGS.values(), *ATTRIBUTE_CHECKS.values()) for text in texts}
    training |= {
        phrase.format(clause) for phrase in CARRIER_PHRASES for clauses in CLAUSES.values() for clause in clauses
    }
    assert not {text for texts in HELD_OUT_WORDINGS.values() for text in texts} & training


@pytest.mark.parametrize("is_held_out", [True, False])
def test_the_answer_is_yes_only_if_the_shape_is_present(is_held_out: bool) -> None:
    kinds = set()
    for seed in range(600):
        rng = random.Random(seed)
        scene = random_scene(rng, rng.randint(0, 3))
        question = random_question(scene, rng, is_held_out=is_held_out)
        kinds.add(question.kind)
        assert "{" not in question.text
        if question.kind == "presence" and question.answer.startswith("Yes"):
            shapes = [f"{shape.size} {shape.colour} {shape.form}" for shape in scene.shapes]
            assert any(shape in question.answer for shape in shapes)
    assert kinds == set(TRAINING_WORDINGS)


def test_a_mirror_swaps_left_and_right() -> None:
    assert [shape.place for shape in mirrored(SCENE).shapes] == ["top left", "right"]
    assert mirrored(mirrored(SCENE)) == SCENE


def test_drawings_are_reproducible_and_differ_between_seeds() -> None:
    (scene, drawing), (same_scene, same_drawing) = draw_example(1, 5), draw_example(1, 5)
    assert scene == same_scene
    assert drawing.image.tobytes() == same_drawing.image.tobytes()
    assert [draw_example(1, n)[0] for n in range(5)] != [draw_example(2, n)[0] for n in range(5)]


@pytest.mark.slow
def test_the_recipe_makes_a_checkpoint_that_the_product_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    # A fixed, small number of steps: otherwise it would depend on the clock.
    monkeypatch.setattr(training, "_steps", lambda minutes: [(1, 0.5), (2, 1.0)])
    lines: list[str] = []
    scenes = load_or_draw_scenes(tmp_path / "scenes.pickle", 64, SIDE, GRID, seed=1, num_workers=1)
    contents = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        tokenizer = make_tokenizer(seed=1)
        model = initialize_model(tokenizer.get_vocab_size(), seed=1)
        classifier = PatchClassifier(model.config.vision.enc_dim, seed=1)
        train_vision(model, classifier, scenes, 2, 1, lines.append)
        train_language(model, classifier, tokenizer, scenes, 2, 1, lines.append, lines.append)
        write_checkpoint(model, tokenizer, folder)
        contents.append((folder / "model.safetensors").read_bytes())
    assert contents[0] == contents[1]
    captioner = load_captioner(tmp_path / "first", "int8")
    _, drawing = draw_example(1, 0)
    drawing.image.save(tmp_path / "scene.png")
    media = as_media((tmp_path / "scene.png").read_bytes())
    answer = captioner.caption_image(media, CaptionTask(max_new_tokens=5), Cancellation(math.inf))
    assert (answer.width, answer.height) == drawing.image.size


@pytest.mark.slow
def test_fine_tuning_changes_only_the_language_model_and_the_projection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(training, "_steps", lambda minutes: [(1, 0.5), (2, 1.0)])
    scenes = load_or_draw_scenes(tmp_path / "scenes.pickle", 64, SIDE, GRID, seed=1, num_workers=1)
    tokenizer = make_tokenizer(seed=1)
    write_checkpoint(initialize_model(tokenizer.get_vocab_size(), seed=1), tokenizer, tmp_path)
    model = load_moondream(tmp_path / "config.json", [tmp_path / "model.safetensors"], "fp32", lambda progress: None)
    before = {name: weights.clone() for name, weights in model.named_parameters()}
    assert fine_tune_language(model, tokenizer, scenes, 2, 1, lambda progress: None, lambda progress: None) == 2
    changed = {name for name, weights in model.named_parameters() if not torch.equal(weights, before[name])}
    assert changed == {name for name in before if name.startswith(("text.", "vision.proj_mlp."))}


def test_packed_attention_equals_masked_attention() -> None:
    torch.manual_seed(1)
    segments, num_prefix = np.array([[0] * 5 + [1] * 3 + [2] * 7, [0] * 9 + [1] * 2 + [-1] * 4]), 6
    is_in_segment = torch.from_numpy(segments >= 0)
    mask = torch.zeros(2, 21, 21, dtype=torch.bool)
    mask[:, :, :num_prefix] = True
    numbers = torch.from_numpy(segments)
    mask[:, num_prefix:, num_prefix:] = (numbers[:, :, None] == numbers[:, None]).tril()
    parts = [torch.randn(2, 21, 5, 8, requires_grad=True) for _ in range(3)]
    output_gradient = torch.randn(2, 21, 5, 8)
    output_gradient[:, num_prefix:] *= is_in_segment[..., None, None]

    def masked_attention(*parts: Tensor) -> Tensor:
        queries, keys, values = (part.transpose(1, 2) for part in parts)
        return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask[:, None]).transpose(1, 2)

    results = []
    for attend in (PackedAttention(segments, num_prefix), masked_attention):
        output = attend(*parts) * (output_gradient != 0)
        results.append([output, *torch.autograd.grad(output, parts, output_gradient)])
    for packed, masked in zip(*results, strict=True):
        torch.testing.assert_close(packed, masked)
