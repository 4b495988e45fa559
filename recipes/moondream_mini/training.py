"""Training in two stages: the vision tower learns to name what lies over each patch, the language model to tell of it.

Taught by captions alone, a tower this small needs hours before it tells forms apart; with a target on every patch it
needs minutes.
"""

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from deployments.captioner.moondream import Moondream
from deployments.inference.rotary import rotate
from recipes.moondream_mini.attention import BlockAttention
from recipes.moondream_mini.dataset import MASK_CELLS, Scenes
from recipes.moondream_mini.model import encode_crops
from recipes.moondream_mini.texts import IGNORED, Batch, make_batch, scene_blocks, summary_blocks
from recipes.moondream_mini.world import COLOURS, FORMS, PLACES, SIZES, Scene, mirrored
from recipes.optimizer import Optimizer, warmed_up_cosine

ReportProgress = Callable[[str], None]

VISION_BATCH, VISION_RATE = 32, 1.2e-3
LANGUAGE_BATCH, LANGUAGE_RATE = 24, 1.5e-3
REFINING_RATE = 1e-3
SUMMARY_WEIGHT = 1.0
PATCH_WEIGHT = 0.1
FEW_SHAPES_SHARE = 1 / 12
"""Of the steps, at their beginning."""
OUTLINE_WEIGHT = 4.0
BACKGROUND_WEIGHT = 0.2
"""Of all patches without a shape, against all with one, which are far fewer."""
WARM_UP = 0.025
"""Of a stage's time."""
WEIGHT_DECAY = 0.02
MUON_FACTOR = 5.0
FINAL_RATE = 0.02
"""Of the highest, at the end of the cosine."""
REPORT_EVERY = 100

TARGET_SIZES = (len(FORMS), len(COLOURS), len(SIZES), len(PLACES))
MIRRORED_PLACES = np.array([0, *(1 + row * 3 + 2 - column for row in range(3) for column in range(3))])
"""The target of a place in the mirror, by the target it has outside; 0 is nothing."""


class PatchTeacher(nn.Module):
    """Asks of every patch which shape lies over it (form, colour, size, place, or nothing), and where in the patch.

    The outline is what forms are told by: without it they are learned several times more slowly.
    """

    def __init__(self, enc_dim: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self._sizes = [*(size + 1 for size in TARGET_SIZES), MASK_CELLS**2]
        self._heads = nn.Linear(enc_dim, sum(self._sizes))

    def forward(self, features: Tensor, targets: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and, for each of the four, the share of covered patches that are told right."""
        *told, outline = self._heads(features).split(self._sizes, dim=-1)
        is_covered = targets[..., 0] > 0
        weights = torch.where(is_covered, 1 / is_covered.sum().clamp(min=1), BACKGROUND_WEIGHT / (~is_covered).sum())
        losses = [
            (functional.cross_entropy(head.transpose(1, 2), targets[..., k], reduction="none") * weights).sum()
            for k, head in enumerate(told)
        ]
        outline_losses = functional.binary_cross_entropy_with_logits(outline, masks, reduction="none").mean(dim=-1)
        right = torch.stack([head.argmax(-1) == targets[..., k] for k, head in enumerate(told)])
        loss = torch.stack(losses).sum() + OUTLINE_WEIGHT * (outline_losses * weights).sum()
        return loss, right[:, is_covered].float().mean(dim=1)


def train_vision(
    model: Moondream, teacher: PatchTeacher, scenes: Scenes, minutes: float, seed: int, report: ReportProgress
) -> int:
    """Train the vision tower alone, for so many minutes of the processor's time; return the number of steps."""
    rng = random.Random(seed)
    optimizer = _optimizer(model, [([*_tower(model), *teacher.parameters()], VISION_RATE)])
    for step, progress in _steps(minutes):
        crops, targets, masks, _ = _draw_rows(scenes, rng.sample(range(len(scenes)), VISION_BATCH), rng)
        loss, right = teacher(encode_crops(model, crops), targets, masks)
        optimizer.step(loss, _rate_share(progress))
        if step % REPORT_EVERY == 0:
            report(f"vision {step} ({progress:.0%}): loss {loss:.3f}; {_shares(right)}")
    return step


def train_language(
    model: Moondream,
    teacher: PatchTeacher,
    tokenizer: Tokenizer,
    scenes: Scenes,
    minutes: float,
    seed: int,
    report: ReportProgress,
    keep: ReportProgress,
) -> int:
    """Train all parts on captions, questions and summaries, the vision tower on its patches as well.

    Ends after so many minutes of the processor's time and returns the number of steps. `keep` is called now and then,
    so that the weights of the moment can be saved.
    """
    rng = random.Random(seed)
    vision = [*_tower(model), *teacher.parameters()]
    optimizer = _optimizer(model, [(_language(model), LANGUAGE_RATE), (vision, VISION_RATE / 2)])
    few_shapes = [row for row, scene in enumerate(scenes.scenes) if len(scene.shapes) <= 2]
    for step, progress in _steps(minutes):
        # Few shapes first: which of several is meant is learned once there is something to say about one.
        choice: Sequence[int] = few_shapes if progress < FEW_SHAPES_SHARE else range(len(scenes))
        crops, targets, masks, told = _draw_rows(scenes, rng.sample(choice, LANGUAGE_BATCH), rng)
        with torch.autocast("cpu", torch.bfloat16):
            features = encode_crops(model, crops)
            patch_loss, right = teacher(features, targets, masks)
            image_loss, summary_loss = _language_losses(model, tokenizer, features, told, rng)
        loss = image_loss + SUMMARY_WEIGHT * summary_loss + PATCH_WEIGHT * patch_loss
        optimizer.step(loss, _rate_share(progress))
        if step % REPORT_EVERY == 0:
            report(
                f"language {step} ({progress:.0%}): loss {image_loss:.4f}, summaries {summary_loss:.4f}, "
                f"patches {patch_loss:.3f}; {_shares(right)}"
            )
        if step % (2 * REPORT_EVERY) == 0:
            keep(f"after {step} steps")
    return step


def refine_language(
    model: Moondream,
    tokenizer: Tokenizer,
    scenes: Scenes,
    minutes: float,
    seed: int,
    report: ReportProgress,
    keep: ReportProgress,
) -> int:
    """Train a trained model's language part once more, its vision tower as it is; all else as in `train_language`.

    What a trained model gets wrong is what was asked, hardly ever what it sees.
    """
    rng = random.Random(seed)
    model.requires_grad_(True)
    optimizer = _optimizer(model, [(_language(model), REFINING_RATE)])
    for step, progress in _steps(minutes):
        crops, _, _, told = _draw_rows(scenes, rng.sample(range(len(scenes)), LANGUAGE_BATCH), rng)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                features = encode_crops(model, crops)
            image_loss, summary_loss = _language_losses(model, tokenizer, features, told, rng)
        optimizer.step(image_loss + SUMMARY_WEIGHT * summary_loss, _rate_share(progress))
        if step % REPORT_EVERY == 0:
            report(f"refining {step} ({progress:.0%}): loss {image_loss:.4f}, summaries {summary_loss:.4f}")
        if step % (2 * REPORT_EVERY) == 0:
            keep(f"after {step} steps")
    return step


def _language_losses(
    model: Moondream, tokenizer: Tokenizer, features: Tensor, told: Sequence[Scene], rng: random.Random
) -> tuple[Tensor, Tensor]:
    """Return the losses of what is asked about scenes that were seen, and of summaries."""
    images = model.vision.proj_mlp(torch.cat([features, features], dim=-1))
    blocks = [scene_blocks(model.config, tokenizer, scene, rng) for scene in told]
    summaries = [[block] for block in summary_blocks(model.config, tokenizer, rng)]
    image_loss = _answer_loss(model, images, make_batch(blocks, model.config.text.prefix_attn))
    return image_loss, _answer_loss(model, None, make_batch(summaries, 1))


def _optimizer(model: Moondream, groups: Sequence[tuple[list[nn.Parameter], float]]) -> Optimizer:
    """Return what trains these groups, each at its highest rate.

    Muon is for the vision tower alone, which learns forms in half as many steps with it; the language model does not
    learn to copy a list with it.
    """
    return Optimizer(groups, [model.vision.blocks], muon_factor=MUON_FACTOR, weight_decay=WEIGHT_DECAY)


def _rate_share(progress: float) -> float:
    return warmed_up_cosine(progress, WARM_UP, FINAL_RATE)


def _steps(minutes: float) -> Iterator[tuple[int, float]]:
    """Yield the number of each step, from 1, and how far the time has gone; the last is at its end.

    Rates follow the processor's time, so that a slow machine gets to the end too, and a busy one is not cut short.
    """
    started = time.process_time()
    step, progress = 0, 0.0
    while progress < 1:
        step += 1
        progress = min(1.0, (time.process_time() - started + 0.5) / (60 * minutes))
        yield step, progress


def _language(model: Moondream) -> list[nn.Parameter]:
    return [*model.vision.proj_mlp.parameters(), *model.text.parameters()]


def _tower(model: Moondream) -> list[nn.Parameter]:
    """Return the vision tower's parameters, without those of the projection behind it."""
    return [parameter for name, parameter in model.vision.named_parameters() if not name.startswith("proj_mlp")]


def _draw_rows(scenes: Scenes, rows: Sequence[int], rng: random.Random) -> tuple[Tensor, Tensor, Tensor, list[Scene]]:
    """Return crops, targets (0 for nothing), masks and scenes of these rows, every second in the mirror."""
    crops, targets, masks, told = [], [], [], []
    grid = math.isqrt(scenes.targets.shape[1])
    for row in rows:
        crop, target, scene = scenes.crops[row], scenes.targets[row].astype(np.int64) + 1, scenes.scenes[row]
        mask = scenes.masks[row].astype(np.float32)
        if rng.random() < 0.5:
            crop, scene = crop[:, ::-1], mirrored(scene)
            target = target.reshape(grid, grid, -1)[:, ::-1].reshape(grid * grid, -1).copy()
            target[:, 3] = MIRRORED_PLACES[target[:, 3]]
            mask = mask.reshape(grid, grid, MASK_CELLS, MASK_CELLS)[:, ::-1, :, ::-1].reshape(grid * grid, -1)
        crops.append(crop)
        targets.append(target)
        masks.append(mask)
        told.append(scene)
    seen, wanted, outlines = (torch.from_numpy(np.stack(arrays)) for arrays in (crops, targets, masks))
    return seen, wanted, outlines, told


def _shares(right: Tensor) -> str:
    return "form, colour, size, place right: " + ", ".join(f"{share:.1%}" for share in right.tolist())


def _answer_loss(model: Moondream, images: Tensor | None, batch: Batch) -> Tensor:
    """Return the mean loss over all answer ids, every block seeing the prefix and itself only.

    This is what the model sees when each exchange is asked alone, for the price of one prefix.
    """
    ids = torch.from_numpy(batch.ids)
    num_rows, length = ids.shape
    embeddings = model.text.wte(torch.cat([torch.full((num_rows, 1), model.config.tokenizer.bos_id), ids], 1))
    if images is not None:
        embeddings = torch.cat([embeddings[:, :1], images, embeddings[:, 1:]], dim=1)
    num_prefix = embeddings.shape[1] - length
    positions = torch.cat([torch.arange(num_prefix).expand(num_rows, -1), torch.from_numpy(batch.positions)], dim=1)
    turn = model.rotary(positions)
    attention = BlockAttention(batch.blocks, num_prefix)

    def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return attention(rotate(queries, turn), rotate(keys, turn), values)

    hidden = embeddings
    for block in model.text.blocks:
        hidden = block(hidden, attend)
    targets = torch.from_numpy(batch.targets)
    learned = targets != IGNORED
    logits = model.text.lm_head(model.text.post_ln(hidden[:, num_prefix:][learned]))
    return functional.cross_entropy(logits.float(), targets[learned])
