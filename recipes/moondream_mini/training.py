"""Training in two stages: the vision tower learns to name what lies over each patch, the language model to tell of it.

Taught by captions alone, a tower this small needs hours before it tells forms apart; with a target on every patch it
needs minutes.
"""

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from deployments.captioner.moondream import Moondream
from deployments.inference.rotary import rotate
from recipes.moondream_mini.dataset import MASK_CELLS, Scenes
from recipes.moondream_mini.model import encode_crops
from recipes.moondream_mini.texts import IGNORED, Batch, make_batch, scene_blocks, summary_blocks
from recipes.moondream_mini.world import COLOURS, FORMS, PLACES, SIZES, Scene, mirrored

Report = Callable[[str], None]

VISION_BATCH, VISION_RATE = 32, 1.2e-3
LANGUAGE_BATCH, LANGUAGE_RATE = 24, 1.5e-3
SUMMARY_WEIGHT = 1.0
PATCH_WEIGHT = 0.1
FEW_SHAPES_SHARE = 1 / 12
"""Of the steps, at their beginning."""
OUTLINE_WEIGHT = 4.0
BACKGROUND_WEIGHT = 0.2
"""Of all patches without a shape, against all with one, which are far fewer."""
WARM_UP_STEPS = 100
WEIGHT_DECAY = 0.02
FINAL_RATE = 0.02
"""Of the highest, at the end of the cosine."""
MAX_GRADIENT = 1.0
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
    model: Moondream, teacher: PatchTeacher, scenes: Scenes, num_steps: int, seed: int, report: Report
) -> None:
    """Train the vision tower alone."""
    rng = random.Random(seed)
    optimizer = Optimizer([([*_tower(model), *teacher.parameters()], VISION_RATE)], num_steps)
    for step in range(num_steps):
        crops, targets, masks, _ = _draw_rows(scenes, rng.sample(range(len(scenes)), VISION_BATCH), rng)
        loss, right = teacher(encode_crops(model, crops), targets, masks)
        optimizer.step(loss)
        if (step + 1) % REPORT_EVERY == 0:
            report(f"vision {step + 1}/{num_steps}: loss {loss:.3f}; {_shares(right)}")


def train_language(
    model: Moondream,
    teacher: PatchTeacher,
    tokenizer: Tokenizer,
    scenes: Scenes,
    num_steps: int,
    seed: int,
    report: Report,
    keep: Report,
) -> None:
    """Train all parts on captions, questions and summaries, the vision tower on its patches as well.

    `keep` is called now and then, so that the weights of the moment can be saved.
    """
    rng = random.Random(seed)
    language = [*model.vision.proj_mlp.parameters(), *model.text.parameters()]
    vision = [*_tower(model), *teacher.parameters()]
    optimizer = Optimizer([(language, LANGUAGE_RATE), (vision, VISION_RATE / 2)], num_steps)
    few_shapes = [row for row, scene in enumerate(scenes.scenes) if len(scene.shapes) <= 2]
    for step in range(num_steps):
        # Few shapes first: which of several is meant is learned once there is something to say about one.
        choice: Sequence[int] = few_shapes if step < num_steps * FEW_SHAPES_SHARE else range(len(scenes))
        crops, targets, masks, told = _draw_rows(scenes, rng.sample(choice, LANGUAGE_BATCH), rng)
        with torch.autocast("cpu", torch.bfloat16):
            features = encode_crops(model, crops)
            patch_loss, right = teacher(features, targets, masks)
            images = model.vision.proj_mlp(torch.cat([features, features], dim=-1))
            blocks = [scene_blocks(model.config, tokenizer, scene, rng) for scene in told]
            image_loss = _answer_loss(model, images, make_batch(blocks, model.config.text.prefix_attn))
            summaries = [[block] for block in summary_blocks(model.config, tokenizer, rng)]
            summary_loss = _answer_loss(model, None, make_batch(summaries, 1))
        optimizer.step(image_loss + SUMMARY_WEIGHT * summary_loss + PATCH_WEIGHT * patch_loss)
        if (step + 1) % REPORT_EVERY == 0:
            report(
                f"language {step + 1}/{num_steps}: loss {image_loss:.4f}, summaries {summary_loss:.4f}, "
                f"patches {patch_loss:.3f}; {_shares(right)}"
            )
        if (step + 1) % (2 * REPORT_EVERY) == 0:
            keep(f"after {step + 1} steps")


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


class Optimizer:
    """AdamW with warm-up, a cosine down to FINAL_RATE, and clipped gradients."""

    def __init__(self, groups: Sequence[tuple[list[nn.Parameter], float]], num_steps: int) -> None:
        """Train groups of parameters, each with its highest rate."""
        self._parameters = [parameter for group, _ in groups for parameter in group]
        options: list[dict[str, Any]] = [{"params": group, "lr": rate} for group, rate in groups]
        self._adamw = torch.optim.AdamW(options, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.98))

        def share(step: int) -> float:
            cosine = 0.5 + 0.5 * math.cos(math.pi * step / num_steps)
            return min(1.0, (step + 1) / WARM_UP_STEPS) * (FINAL_RATE + (1 - FINAL_RATE) * cosine)

        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._adamw, share)

    def step(self, loss: Tensor) -> None:
        self._adamw.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._parameters, MAX_GRADIENT)
        self._adamw.step()
        self._schedule.step()


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
    mask = _block_mask(torch.from_numpy(batch.blocks), num_prefix)

    def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        queries, keys, values = (part.transpose(1, 2) for part in (rotate(queries, turn), rotate(keys, turn), values))
        return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask).transpose(1, 2)

    hidden = embeddings
    for block in model.text.blocks:
        hidden = block(hidden, attend)
    targets = torch.from_numpy(batch.targets)
    learned = targets != IGNORED
    logits = model.text.lm_head(model.text.post_ln(hidden[:, num_prefix:][learned]))
    return functional.cross_entropy(logits.float(), targets[learned])


def _block_mask(blocks: Tensor, num_prefix: int) -> Tensor:
    """Return which position sees which, shape (num_rows, 1, n, n): all see the prefix, and a block backwards itself."""
    num_rows, length = blocks.shape
    total = num_prefix + length
    mask = torch.zeros(num_rows, total, total, dtype=torch.bool)
    mask[:, :, :num_prefix] = True
    mask[:, :num_prefix, num_prefix:] = False
    same = blocks[:, :, None] == blocks[:, None, :]
    mask[:, num_prefix:, num_prefix:] = same.tril()
    return mask[:, None]
