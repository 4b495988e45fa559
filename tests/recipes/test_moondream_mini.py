"""The world is drawn as it is told, and the recipe runs from scenes to a checkpoint that the product loads."""

import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from deployments.cancellation import Cancellation
from deployments.captioner.checkpoint import load_moondream
from deployments.captioner.types import CaptionTask
from deployments.media import as_media
from recipes.moondream_mini import training
from recipes.moondream_mini.__main__ import save
from recipes.moondream_mini.attention import BlockAttention
from recipes.moondream_mini.dataset import draw_example, prepare_scenes
from recipes.moondream_mini.evaluation import load_captioner
from recipes.moondream_mini.language import (
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
from recipes.moondream_mini.model import GRID, SIDE, fresh_model
from recipes.moondream_mini.questions import random_question
from recipes.moondream_mini.texts import make_tokenizer
from recipes.moondream_mini.training import PatchTeacher, refine_language, train_language, train_vision
from recipes.moondream_mini.wordings import CHECKS, CLAUSES, FRAMES, HELD_OUT, TRAINING
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


def test_captions_tell_every_shape_in_reading_order() -> None:
    assert short_caption(SCENE) == "A small blue square and a large red circle."
    assert normal_caption(SCENE) == "A small blue square at the top right and a large red circle on the left."
    assert long_caption(SCENE).startswith("There are two shapes: a small blue square at the top right and ")
    assert {normal_caption(EMPTY), short_caption(EMPTY), long_caption(EMPTY)} == {"There is nothing in the picture."}


def test_a_summary_tells_the_scenes_in_order() -> None:
    captions = [short_caption(SCENE), short_caption(EMPTY)]
    assert summary(captions) == (
        "The video shows: 1. A small blue square and a large red circle. 2. There is nothing in the picture."
    )


def test_answers_are_true() -> None:
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


def test_no_wording_of_the_examination_was_trained_on() -> None:
    assert set(HELD_OUT) == set(TRAINING)
    trained = {text for texts in (*TRAINING.values(), *CHECKS.values()) for text in texts}
    trained |= {frame.format(clause) for frame in FRAMES for clauses in CLAUSES.values() for clause in clauses}
    assert not {text for texts in HELD_OUT.values() for text in texts} & trained


@pytest.mark.parametrize("is_held_out", [True, False])
def test_a_yes_is_only_said_of_what_is_there(is_held_out: bool) -> None:
    said = set()
    for seed in range(600):
        rng = random.Random(seed)
        scene = random_scene(rng, rng.randint(0, 3))
        question = random_question(scene, rng, is_held_out=is_held_out)
        said.add(question.kind)
        assert "{" not in question.text
        if question.kind == "presence" and question.answer.startswith("Yes"):
            shapes = [f"{shape.size} {shape.colour} {shape.form}" for shape in scene.shapes]
            assert any(shape in question.answer for shape in shapes)
    assert said == set(TRAINING)


def test_a_mirror_swaps_left_and_right() -> None:
    assert [shape.place for shape in mirrored(SCENE).shapes] == ["top left", "right"]
    assert mirrored(mirrored(SCENE)) == SCENE


def test_examples_are_the_same_for_the_same_seed_and_differ_from_another() -> None:
    (scene, drawing), (again, drawn_again) = draw_example(1, 5), draw_example(1, 5)
    assert scene == again
    assert drawing.image.tobytes() == drawn_again.image.tobytes()
    assert [draw_example(1, n)[0] for n in range(5)] != [draw_example(2, n)[0] for n in range(5)]


def test_the_recipe_makes_a_checkpoint_that_the_product_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    # As many steps each time, and few: they follow the clock otherwise.
    monkeypatch.setattr(training, "_steps", lambda minutes: [(1, 0.5), (2, 1.0)])
    lines: list[str] = []
    scenes = prepare_scenes(tmp_path / "scenes.pickle", 64, SIDE, GRID, seed=1, processes=1)
    contents = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        tokenizer = make_tokenizer(seed=1)
        model = fresh_model(tokenizer.get_vocab_size(), seed=1)
        teacher = PatchTeacher(model.config.vision.enc_dim, seed=1)
        train_vision(model, teacher, scenes, 2, 1, lines.append)
        train_language(model, teacher, tokenizer, scenes, 2, 1, lines.append, lines.append)
        save(model, tokenizer, folder)
        contents.append((folder / "model.safetensors").read_bytes())
    assert contents[0] == contents[1]
    captioner = load_captioner(tmp_path / "first", "int8")
    _, drawing = draw_example(1, 0)
    drawing.image.save(tmp_path / "scene.png")
    media = as_media((tmp_path / "scene.png").read_bytes())
    answer = captioner.caption_image(media, CaptionTask(max_new_tokens=5), Cancellation(math.inf))
    assert (answer.width, answer.height) == drawing.image.size


def test_refining_trains_the_language_part_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(training, "_steps", lambda minutes: [(1, 0.5), (2, 1.0)])
    scenes = prepare_scenes(tmp_path / "scenes.pickle", 64, SIDE, GRID, seed=1, processes=1)
    tokenizer = make_tokenizer(seed=1)
    save(fresh_model(tokenizer.get_vocab_size(), seed=1), tokenizer, tmp_path)
    model = load_moondream(tmp_path / "config.json", [tmp_path / "model.safetensors"], "fp32", lambda progress: None)
    before = {name: weights.clone() for name, weights in model.named_parameters()}
    assert refine_language(model, tokenizer, scenes, 2, 1, lambda progress: None, lambda progress: None) == 2
    changed = {name for name, weights in model.named_parameters() if not torch.equal(weights, before[name])}
    assert changed == {name for name in before if name.startswith(("text.", "vision.proj_mlp."))}


def test_attention_over_blocks_is_that_of_a_masked_row() -> None:
    torch.manual_seed(1)
    blocks, num_prefix = np.array([[0] * 5 + [1] * 3 + [2] * 7, [0] * 9 + [1] * 2 + [-1] * 4]), 6
    is_in_block = torch.from_numpy(blocks >= 0)
    mask = torch.zeros(2, 21, 21, dtype=torch.bool)
    mask[:, :, :num_prefix] = True
    numbers = torch.from_numpy(blocks)
    mask[:, num_prefix:, num_prefix:] = (numbers[:, :, None] == numbers[:, None]).tril()
    parts = [torch.randn(2, 21, 5, 8, requires_grad=True) for _ in range(3)]
    wanted = torch.randn(2, 21, 5, 8)
    wanted[:, num_prefix:] *= is_in_block[..., None, None]

    def fused(*parts: Tensor) -> Tensor:
        heads = (part.transpose(1, 2) for part in parts)
        return functional.scaled_dot_product_attention(*heads, attn_mask=mask[:, None]).transpose(1, 2)

    found = []
    for attend in (BlockAttention(blocks, num_prefix), fused):
        read = attend(*parts) * (wanted != 0)
        found.append([read, *torch.autograd.grad(read, parts, wanted)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)
