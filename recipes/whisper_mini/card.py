"""Writes the model card, `whisper-mini.md` beside the checkpoint."""

import os
import platform
import re
import subprocess
from pathlib import Path

import torch

from recipes.whisper_mini.evaluation import Evaluation, Recognition
from recipes.whisper_mini.voices import BASE_VOICES, HELD_OUT_VARIANTS, TRAINING_VARIANTS

_LANGUAGE_NAMES = {"en": "English", "es": "Spanish", "fr": "French"}


def write_card(
    checkpoint: Path,
    evaluation: Evaluation,
    seed: int,
    num_utterances: int,
    num_steps: int,
    minutes: float,
    *,
    is_fine_tuned: bool,
) -> None:
    """Write the card: the figures of `evaluation`, and how the checkpoint was trained.

    `num_utterances` are the sentences of the training set, `minutes` the CPU time of training. Needs espeak-ng, for its
    version.
    """
    training_voices, held_out_voices = evaluation.training_voices, evaluation.held_out_voices
    rows = [
        *(_row(f"{_LANGUAGE_NAMES[code]}, training voices", result) for code, result in training_voices.items()),
        _row("**all, training voices**", _sum(training_voices)),
        *(_row(f"{_LANGUAGE_NAMES[code]}, held-out voices", result) for code, result in held_out_voices.items()),
        _row("**all, held-out voices**", _sum(held_out_voices)),
        _row("3 to 7 sentences in one window", evaluation.short),
        _row("16 to 32 sentences in several windows", evaluation.long),
    ]
    boundary_rows = [
        f"| {name} | {errors.num_sentences} | {errors.num_segments} | {errors.median_s:.2f} s | "
        f"{errors.fraction_within_tolerance:.1%} |"
        for name, errors in evaluation.boundary_errors.items()
    ]
    times = evaluation.word_times
    espeak = subprocess.run(["espeak-ng", "--version"], capture_output=True, check=True, text=True).stdout
    checkpoint.with_suffix(".md").write_text(
        CARD.format(
            size_mb=checkpoint.stat().st_size / 1e6,
            seed=seed,
            num_utterances=num_utterances,
            num_steps=num_steps,
            minutes=minutes,
            start="from an earlier checkpoint of this recipe" if is_fine_tuned else "from scratch",
            espeak=re.findall(r"\d+\.\d+\S*", espeak)[0],
            torch=torch.__version__,
            cores=os.cpu_count(),
            machine=platform.machine(),
            rows="\n".join(rows),
            boundary_rows="\n".join(boundary_rows),
            num_words=times.num_words,
            inside=times.num_inside / max(times.num_words, 1),
            num_in_order=times.num_in_order,
            num_recordings=times.num_recordings,
            noise_rows="\n".join(f"| {kind} | {n} of {total} |" for kind, (n, total) in evaluation.num_empty.items()),
            bases=", ".join(dict.fromkeys(base for bases in BASE_VOICES.values() for base in bases)),
            variants=", ".join(dict.fromkeys(variant for variant in TRAINING_VARIANTS if variant)),
            held_out_variants=", ".join(HELD_OUT_VARIANTS),
        ),
        encoding="utf-8",
    )


def _row(name: str, result: Recognition) -> str:
    return (
        f"| {name} | {result.num_recordings} | {result.wer:.1%} | {result.num_exact / result.num_recordings:.1%} | "
        f"{result.num_correct_language / result.num_recordings:.1%} |"
    )


def _sum(results: dict[str, Recognition]) -> Recognition:
    return Recognition(
        num_recordings=sum(result.num_recordings for result in results.values()),
        num_words=sum(result.num_words for result in results.values()),
        num_errors=sum(result.num_errors for result in results.values()),
        num_exact=sum(result.num_exact for result in results.values()),
        num_correct_language=sum(result.num_correct_language for result in results.values()),
    )


CARD = """# whisper-mini

A miniature Whisper in openai-whisper's own checkpoint format (`whisper.load_model("whisper-mini.pt")`; {size_mb:.1f}
MB, fp16; 3 encoder and 2 decoder layers of width 128). With it, you can try and test everything without a download. It
understands the voices of a speech synthesizer, not people.

## What it knows

English, Spanish and French, a few hundred words of each: animals, people, objects, colours, sizes, drawn shapes and
their places, numbers up to a hundred, days, months, weather, food, and everyday actions. It was trained on sentences of
3 to about 12 words, spoken by espeak-ng at 130 to 195 words per minute, clean or with moderate noise. It detects the
language, sets timestamps for each sentence, transcribes recordings longer than 30 s, and returns no text where nobody
speaks. All its words are in `recipes/whisper_mini/language.py`.

- Voices: {bases}.
- Variants: none, {variants}.

## How it was trained

`python -m recipes.whisper_mini`: {num_utterances} sentences synthesized with eSpeak NG {espeak}, composed into windows
with pauses and noise (seed {seed}); {num_steps} steps in {minutes:.0f} minutes of CPU time, {start}, on one of {cores}
cores ({machine}, in bf16 where the layers allow it, torch {torch}). Training ends after this CPU time, not after
a number of steps, so another run gives a similar checkpoint, but not the same bytes. There is no outside data.

## Evaluation

Evaluated with the product's own engine in its default precision (int8), with language detection and without speech
detection, on sentences that are not in the training set. WER is the word error rate: the fewest words to insert, delete
or replace, divided by the number of words in the reference. Text is compared in lower case; a word is a run of letters,
digits, apostrophes and hyphens. A recording counts as correct if its whole text is, word for word.

| Recordings | Number | WER | Correct | Correct language |
|---|---|---|---|---|
{rows}

The held-out voices are the variants {held_out_variants} of the same voices; training does not use
them.

Start and end times of segments, compared with those of the sentences (each sentence with the segment that overlaps it
most):

| Recordings | Sentences | Segments | Median error | Within 0.3 s |
|---|---|---|---|---|
{boundary_rows}

Word timestamps: of {num_words} words, {inside:.1%} have their middle within a sentence that contains them. In
{num_in_order} of {num_recordings} recordings, the words are in chronological order.

Recordings without speech that gave no text (2, 12 and 40 s long; at -60, -45, -30, -18 and -6 dB of full scale):

| Sound | No text |
|---|---|
{noise_rows}

## Limits

It transcribes other words as similar ones that it knows, other languages as one of the three, and human speech as
nonsense. Whisper's decoding rules require a window's first segment to begin within the first second: where speech
begins later, the segment begins too early.
"""
