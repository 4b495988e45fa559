"""Training in two stages: first the vision encoder on patch labels, then the whole model on captions and answers.

Trained on captions alone, a vision encoder this small needs hours before it can tell forms apart. With a label for
every patch it needs minutes.
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
from recipes.moondream_mini.attention import PackedAttention
from recipes.moondream_mini.dataset import MASK_CELLS, SceneDataset
from recipes.moondream_mini.model import encode_crops
from recipes.moondream_mini.sequences import IGNORED, Batch, make_batch, scene_segments, summary_segments
from recipes.moondream_mini.world import COLOURS, FORMS, PLACES, SIZES, Scene, mirrored
from recipes.optimizer import Optimizer, cosine_with_warmup

Report = Callable[[str], None]
"""Called with one line about the progress of training."""
SaveCheckpoint = Callable[[str], None]
"""Called when the model should be saved, with when that is: "after 200 steps"."""

VISION_BATCH_SIZE, VISION_LEARNING_RATE = 32, 1.2e-3
LANGUAGE_BATCH_SIZE, LANGUAGE_LEARNING_RATE = 24, 1.5e-3
FINE_TUNING_LEARNING_RATE = 1e-3
SUMMARY_WEIGHT = 1.0
"""Weight of the summary loss; the loss of captions and answers has weight 1."""
PATCH_WEIGHT = 0.1
"""Weight of the auxiliary patch loss."""
FEW_SHAPES_FRACTION = 1 / 12
"""The fraction of training, at its beginning, that uses only scenes of at most two shapes."""
MASK_WEIGHT = 4.0
"""Weight of the mask loss within the patch loss; the loss of each label has weight 1."""
BACKGROUND_WEIGHT = 0.2
"""Total weight of all patches without a shape; all patches with one have a total weight of 1."""
WARMUP = 0.025
"""Fraction of a stage's time."""
WEIGHT_DECAY = 0.02
MUON_FACTOR = 5.0
FINAL_RATE_FACTOR = 0.02
"""Learning rate at the end of the cosine, as a fraction of the peak."""
REPORT_EVERY_STEPS = 100
SAVE_EVERY_STEPS = 200

NUM_CLASSES = (len(FORMS), len(COLOURS), len(SIZES), len(PLACES))
"""Of form, colour, size and place, without the class 0 for a patch without a shape."""
MIRRORED_PLACES = np.array([0, *(1 + row * 3 + 2 - column for row in range(3) for column in range(3))])
"""The class of a place in the mirrored picture, indexed by its class in the original; 0 is no shape."""


class PatchClassifier(nn.Module):
    """Auxiliary heads that train the vision encoder; the checkpoint leaves them out.

    For every patch they predict the form, colour, size and place of the shape that covers it, or that there is none.
    They also predict which parts of the patch are covered: without this mask, forms are learned several times more
    slowly.
    """

    def __init__(self, enc_dim: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self._sizes = [*(size + 1 for size in NUM_CLASSES), MASK_CELLS**2]
        self._heads = nn.Linear(enc_dim, sum(self._sizes))

    def forward(self, features: Tensor, targets: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss, and the accuracy of each of the four labels on covered patches, shape (4,)."""
        *label_logits, mask_logits = self._heads(features).split(self._sizes, dim=-1)
        is_covered = targets[..., 0] > 0
        weights = torch.where(is_covered, 1 / is_covered.sum().clamp(min=1), BACKGROUND_WEIGHT / (~is_covered).sum())
        losses = [
            (functional.cross_entropy(logits.transpose(1, 2), targets[..., k], reduction="none") * weights).sum()
            for k, logits in enumerate(label_logits)
        ]
        mask_losses = functional.binary_cross_entropy_with_logits(mask_logits, masks, reduction="none").mean(dim=-1)
        is_correct = torch.stack([logits.argmax(-1) == targets[..., k] for k, logits in enumerate(label_logits)])
        loss = torch.stack(losses).sum() + MASK_WEIGHT * (mask_losses * weights).sum()
        return loss, is_correct[:, is_covered].float().mean(dim=1)


def train_vision(
    model: Moondream, classifier: PatchClassifier, scenes: SceneDataset, minutes: float, seed: int, report: Report
) -> int:
    """Train the vision encoder alone for `minutes` of CPU time; return the number of steps."""
    rng = random.Random(seed)
    optimizer = _optimizer(model, [([*_vision_parameters(model), *classifier.parameters()], VISION_LEARNING_RATE)])
    for step, progress in _steps(minutes):
        crops, targets, masks, _ = _image_batch(scenes, rng.sample(range(len(scenes)), VISION_BATCH_SIZE), rng)
        loss, accuracies = classifier(encode_crops(model, crops), targets, masks)
        optimizer.step(loss, _rate_factor(progress))
        if step % REPORT_EVERY_STEPS == 0:
            report(f"vision {step} ({progress:.0%}): loss {loss:.3f}; {_accuracy_text(accuracies)}")
    return step


def train_language(
    model: Moondream,
    classifier: PatchClassifier,
    tokenizer: Tokenizer,
    scenes: SceneDataset,
    minutes: float,
    seed: int,
    report: Report,
    save: SaveCheckpoint,
) -> int:
    """Train the whole model on captions, questions and summaries, with the patch loss as an auxiliary loss.

    Stops after `minutes` of CPU time and returns the number of steps. Calls `save` every SAVE_EVERY_STEPS steps.
    """
    rng = random.Random(seed)
    vision_parameters = [*_vision_parameters(model), *classifier.parameters()]
    optimizer = _optimizer(
        model, [(_language_parameters(model), LANGUAGE_LEARNING_RATE), (vision_parameters, VISION_LEARNING_RATE / 2)]
    )
    few_shapes = [row for row, scene in enumerate(scenes.scenes) if len(scene.shapes) <= 2]
    for step, progress in _steps(minutes):
        # Few shapes first: the model must describe one shape before it can learn which of several a question means.
        candidates: Sequence[int] = few_shapes if progress < FEW_SHAPES_FRACTION else range(len(scenes))
        crops, targets, masks, batch_scenes = _image_batch(scenes, rng.sample(candidates, LANGUAGE_BATCH_SIZE), rng)
        with torch.autocast("cpu", torch.bfloat16):
            features = encode_crops(model, crops)
            patch_loss, accuracies = classifier(features, targets, masks)
            image_loss, summary_loss = _language_losses(model, tokenizer, features, batch_scenes, rng)
        loss = image_loss + SUMMARY_WEIGHT * summary_loss + PATCH_WEIGHT * patch_loss
        optimizer.step(loss, _rate_factor(progress))
        if step % REPORT_EVERY_STEPS == 0:
            report(
                f"language {step} ({progress:.0%}): loss {image_loss:.4f}, summaries {summary_loss:.4f}, "
                f"patches {patch_loss:.3f}; {_accuracy_text(accuracies)}"
            )
        if step % SAVE_EVERY_STEPS == 0:
            save(f"after {step} steps")
    return step


def fine_tune_language(
    model: Moondream,
    tokenizer: Tokenizer,
    scenes: SceneDataset,
    minutes: float,
    seed: int,
    report: Report,
    save: SaveCheckpoint,
) -> int:
    """Fine-tune the language model and the projection of a trained model; all else is as in `train_language`.

    The vision encoder stays frozen: a trained model often misreads the question, but hardly ever the picture.
    """
    rng = random.Random(seed)
    model.requires_grad_(True)
    optimizer = _optimizer(model, [(_language_parameters(model), FINE_TUNING_LEARNING_RATE)])
    for step, progress in _steps(minutes):
        crops, _, _, batch_scenes = _image_batch(scenes, rng.sample(range(len(scenes)), LANGUAGE_BATCH_SIZE), rng)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                features = encode_crops(model, crops)
            image_loss, summary_loss = _language_losses(model, tokenizer, features, batch_scenes, rng)
        optimizer.step(image_loss + SUMMARY_WEIGHT * summary_loss, _rate_factor(progress))
        if step % REPORT_EVERY_STEPS == 0:
            report(f"fine-tuning {step} ({progress:.0%}): loss {image_loss:.4f}, summaries {summary_loss:.4f}")
        if step % SAVE_EVERY_STEPS == 0:
            save(f"after {step} steps")
    return step


def _language_losses(
    model: Moondream, tokenizer: Tokenizer, features: Tensor, scenes: Sequence[Scene], rng: random.Random
) -> tuple[Tensor, Tensor]:
    """Return the loss of captions and questions about `scenes`, and that of summaries."""
    images = model.vision.proj_mlp(torch.cat([features, features], dim=-1))
    rows = [scene_segments(model.config, tokenizer, scene, rng) for scene in scenes]
    summaries = [[segment] for segment in summary_segments(model.config, tokenizer, rng)]
    image_loss = _answer_loss(model, images, make_batch(rows, model.config.text.prefix_attn))
    return image_loss, _answer_loss(model, None, make_batch(summaries, 1))


def _optimizer(model: Moondream, groups: Sequence[tuple[list[nn.Parameter], float]]) -> Optimizer:
    """Return an optimizer of these groups, each with its peak learning rate.

    Only the vision encoder uses Muon, and learns forms in half as many steps with it. The language model would not
    learn to copy a list with it.
    """
    return Optimizer(groups, [model.vision.blocks], muon_factor=MUON_FACTOR, weight_decay=WEIGHT_DECAY)


def _rate_factor(progress: float) -> float:
    return cosine_with_warmup(progress, WARMUP, FINAL_RATE_FACTOR)


def _steps(minutes: float) -> Iterator[tuple[int, float]]:
    """Yield the number of each step, from 1, and the progress of training, from 0 to 1.

    Progress is the fraction of CPU time used, so that the learning-rate schedule completes even on a slow or busy
    machine.
    """
    started = time.process_time()
    step, progress = 0, 0.0
    while progress < 1:
        step += 1
        progress = min(1.0, (time.process_time() - started + 0.5) / (60 * minutes))
        yield step, progress


def _language_parameters(model: Moondream) -> list[nn.Parameter]:
    return [*model.vision.proj_mlp.parameters(), *model.text.parameters()]


def _vision_parameters(model: Moondream) -> list[nn.Parameter]:
    """Return the parameters of the vision encoder, without those of the projection."""
    return [parameter for name, parameter in model.vision.named_parameters() if not name.startswith("proj_mlp")]


def _image_batch(
    scenes: SceneDataset, rows: Sequence[int], rng: random.Random
) -> tuple[Tensor, Tensor, Tensor, list[Scene]]:
    """Return crops, patch labels (0 for no shape), masks and scenes of these rows; about half of them are mirrored."""
    crops, targets, masks, batch_scenes = [], [], [], []
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
        batch_scenes.append(scene)
    crop_batch, target_batch, mask_batch = (torch.from_numpy(np.stack(arrays)) for arrays in (crops, targets, masks))
    return crop_batch, target_batch, mask_batch, batch_scenes


def _accuracy_text(accuracies: Tensor) -> str:
    return "accuracy of form, colour, size, place: " + ", ".join(f"{a:.1%}" for a in accuracies.tolist())


def _answer_loss(model: Moondream, images: Tensor | None, batch: Batch) -> Tensor:
    """Return the mean cross-entropy over all answer tokens. Each segment sees only the prefix and itself.

    So the model is trained as if each question were asked alone, but the prefix is computed only once per row.
    """
    ids = torch.from_numpy(batch.ids)
    num_rows, length = ids.shape
    embeddings = model.text.wte(torch.cat([torch.full((num_rows, 1), model.config.tokenizer.bos_id), ids], 1))
    if images is not None:
        embeddings = torch.cat([embeddings[:, :1], images, embeddings[:, 1:]], dim=1)
    num_prefix = embeddings.shape[1] - length
    positions = torch.cat([torch.arange(num_prefix).expand(num_rows, -1), torch.from_numpy(batch.positions)], dim=1)
    rotation = model.rotary(positions)
    attention = PackedAttention(batch.segments, num_prefix)

    def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return attention(rotate(queries, rotation), rotate(keys, rotation), values)

    hidden = embeddings
    for block in model.text.blocks:
        hidden = block(hidden, attend)
    targets = torch.from_numpy(batch.targets)
    is_answer = targets != IGNORED
    logits = model.text.lm_head(model.text.post_ln(hidden[:, num_prefix:][is_answer]))
    return functional.cross_entropy(logits.float(), targets[is_answer])
