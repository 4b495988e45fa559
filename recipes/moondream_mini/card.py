"""Writes the model card, `README.md` in the checkpoint's folder.

Two parts of the committed card are written by hand: how its several runs followed each other, and the paragraph on
further evaluations below the table.
"""

import platform
from pathlib import Path
from textwrap import fill

import torch

from recipes.moondream_mini.evaluation import NUM_QUESTIONS, NUM_SCENES, SEED, Scores


def write_card(folder: Path, scores: Scores, history: str) -> None:
    """Write `README.md` into the checkpoint's folder; `history` says what was trained for how long."""
    rows = "\n".join(
        f"| {name} | {s.num_correct} of {s.num_total} | {s.num_correct / s.num_total:.1%} |"
        for name, s in scores.items()
    )
    size_mb = (folder / "model.safetensors").stat().st_size / 1e6
    (folder / "README.md").write_text(
        CARD.format(
            rows=rows,
            history=fill(
                _HISTORY.format(history=history, machine=platform.machine(), torch=torch.__version__), width=120
            ),
            size_mb=size_mb,
            seed=SEED,
            num_scenes=NUM_SCENES,
            num_questions=NUM_QUESTIONS,
        ),
        encoding="utf-8",
    )


_HISTORY = (
    "`python -m recipes.moondream_mini`: {history}. The minutes are CPU time of one core ({machine}, torch {torch}). "
    "The recipe draws all pictures and writes all texts itself; there is no outside data."
)
CARD = """# moondream-mini

A miniature of Moondream2 with the same architecture, file format and prompts ({size_mb:.1f} MB, fp16), trained on drawn
scenes only. With it, you can try and test everything without a download. It knows nothing but these scenes: it
describes a photo as shapes.

## What it knows

- Pictures with up to four shapes, at most one in each of nine places (left, top right, middle, ...), with an aspect
  ratio up to 2:1, with or without JPEG artefacts.
- Forms: circle, square, triangle, star, cross.
- Colours: red, green, blue, yellow, orange, purple, black, white.
- Sizes: a small shape measures 13 to 16.5 % of the square root of the picture's area, a large one 25 to 29 %. With
  other sizes it makes mistakes: for example, it gets the form of crosses larger than 30 % wrong.
- Backgrounds: plain or lightly textured, of any colour that stands out from the shapes.

It writes captions, answers questions (what colour, which shape, where, how large, how many, is there a ..., what is on
the left, is the circle red), says no when asked for a shape that is absent, and summarizes a list of its own captions.

## How it was trained

{history}

## Evaluation

The test set has {num_scenes} scenes and {num_questions} questions, drawn with a seed that training does not use
({seed}). The answers come from the product's own captioner with its default of one crop per picture. An answer is
correct only if it equals the expected one character by character: each form, colour, size and place.

| Test | Correct | |
|---|---|---|
{rows}

## Limits

It has no words for backgrounds. Overlapping or rotated shapes are not in its training data. It answers questions about
anything else as if they were about shapes. Its `config.json` allows one local crop, whatever
`captioner.max_crops_per_image` says, because it was not trained with more.
"""
