"""The card that stands beside the checkpoint."""

import platform
from pathlib import Path
from textwrap import fill

import torch

from recipes.moondream_mini.evaluation import NUM_QUESTIONS, NUM_SCENES, SEED, Scores


def write_card(folder: Path, scores: Scores, how: str) -> None:
    """Write `README.md` into the checkpoint's folder; `how` tells what the command was given, and for how long."""
    rows = "\n".join(
        f"| {subject} | {s.right} of {s.asked} | {s.right / s.asked:.1%} |" for subject, s in scores.items()
    )
    size_mb = (folder / "model.safetensors").stat().st_size / 1e6
    (folder / "README.md").write_text(
        _CARD.format(
            rows=rows,
            made=fill(_MADE.format(how=how, machine=platform.machine(), torch=torch.__version__), width=120),
            size_mb=size_mb,
            seed=SEED,
            num_scenes=NUM_SCENES,
            num_questions=NUM_QUESTIONS,
        ),
        encoding="utf-8",
    )


_MADE = (
    "`python -m recipes.moondream_mini`: {how}. The minutes are of one core's time ({machine}, torch {torch}). "
    "Everything is drawn and written by the recipe; there is no outside data."
)
_CARD = """# moondream-mini

A miniature of Moondream2: the same architecture, file format and prompts ({size_mb:.1f} MB, fp16), trained on drawn
scenes only. It exists so that everything can be tried and tested without a download. It knows nothing else: a photo is
described as shapes.

## What it knows

Pictures with up to four shapes, each alone in one of nine places (left, top right, middle, ...): circle, square,
triangle, star or cross; red, green, blue, yellow, orange, purple, black or white; small or large; on plain or lightly
textured backgrounds of any colour that stands out from the shapes; any aspect ratio up to 2:1; JPEG artefacts. A small
shape measures 13 to 16.5 % of the square root of the picture's area, a large one 25 to 29 %; of other sizes it also
mistakes the form, as of crosses beyond 30 %.

It captions, answers questions (what colour, which shape, where, how large, how many, is there a ..., what is on the
left, is the circle red), denies shapes that are not there, and summarizes a list of its own captions.

## How it was made

{made}

## Measured

Through the product's own captioner, with its default of one crop per picture, on scenes drawn with another seed
({seed}; {num_scenes} scenes, {num_questions} questions). An answer counts as right only if every character of it is:
each form, colour, size and place.

| Subject | Right | |
|---|---|---|
{rows}

## Limits

Backgrounds have no name for it, overlapping or rotated shapes were never shown, and questions about anything but the
shapes get an answer about shapes. Its `config.json` allows one local crop, whatever `captioner.max_crops_per_image`
says: it was not trained with more.
"""
