"""The card that stands beside the checkpoint."""

import os
import platform
import re
import subprocess
from pathlib import Path

import torch

from recipes.whisper_mini.evaluation import Examination, Hearing
from recipes.whisper_mini.voices import BASES, KNOWN_VARIANTS, UNKNOWN_VARIANTS

_LANGUAGE_NAMES = {"en": "English", "es": "Spanish", "fr": "French"}


def write_card(
    checkpoint: Path,
    examination: Examination,
    seed: int,
    num_utterances: int,
    num_steps: int,
    minutes: float,
    *,
    goes_on: bool,
) -> None:
    """Write `whisper-mini.md` beside the checkpoint."""
    known, unknown = examination.known, examination.unknown
    rows = [
        *(_row(f"{_LANGUAGE_NAMES[code]}, voices trained on", hearing) for code, hearing in known.items()),
        _row("**all, voices trained on**", _sum(known)),
        *(_row(f"{_LANGUAGE_NAMES[code]}, voices never trained on", hearing) for code, hearing in unknown.items()),
        _row("**all, voices never trained on**", _sum(unknown)),
        _row("3 to 7 sentences in one window", examination.short),
        _row("16 to 32 sentences, several windows", examination.long),
    ]
    boundary_rows = [
        f"| {name} | {b.num_sentences} | {b.num_segments} | {b.median_s:.2f} s | {b.near_share:.1%} |"
        for name, b in examination.boundaries.items()
    ]
    times = examination.word_times
    espeak = subprocess.run(["espeak-ng", "--version"], capture_output=True, check=True, text=True).stdout
    checkpoint.with_suffix(".md").write_text(
        _CARD.format(
            size_mb=checkpoint.stat().st_size / 1e6,
            seed=seed,
            num_utterances=num_utterances,
            num_steps=num_steps,
            minutes=minutes,
            origin="going on from an earlier checkpoint of this recipe" if goes_on else "from nothing",
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
            noise_rows="\n".join(f"| {kind} | {n} of {total} |" for kind, (n, total) in examination.num_empty.items()),
            bases=", ".join(dict.fromkeys(base for bases in BASES.values() for base in bases)),
            variants=", ".join(dict.fromkeys(variant for variant in KNOWN_VARIANTS if variant)),
            unknown_variants=", ".join(UNKNOWN_VARIANTS),
        ),
        encoding="utf-8",
    )


def _row(name: str, hearing: Hearing) -> str:
    return (
        f"| {name} | {hearing.num_recordings} | {hearing.wer:.1%} | {hearing.num_exact / hearing.num_recordings:.1%} | "
        f"{hearing.num_language_right / hearing.num_recordings:.1%} |"
    )


def _sum(hearings: dict[str, Hearing]) -> Hearing:
    return Hearing(
        num_recordings=sum(hearing.num_recordings for hearing in hearings.values()),
        num_words=sum(hearing.num_words for hearing in hearings.values()),
        num_errors=sum(hearing.num_errors for hearing in hearings.values()),
        num_exact=sum(hearing.num_exact for hearing in hearings.values()),
        num_language_right=sum(hearing.num_language_right for hearing in hearings.values()),
    )


_CARD = """# whisper-mini

A miniature Whisper in openai-whisper's own checkpoint format (`whisper.load_model("whisper-mini.pt")`; {size_mb:.1f}
MB, fp16; 3 encoder and 2 decoder layers of 128 dimensions). It exists so that everything can be tried and tested
without a download. It understands the voices of a speech synthesizer, not people.

## What it hears

English, Spanish and French, a few hundred words of each: animals, people, objects, colours, sizes, drawn shapes and
where they are, places, numbers up to a hundred, days, months, weather, food, and what one does with them. Sentences of
3 to about 12 words, spoken by espeak-ng at 130 to 195 words a minute, clean or with moderate noise. It tells the
language, sets timestamps for each sentence, follows recordings longer than 30 s, and says nothing where nobody speaks.
`recipes/whisper_mini/language.py` holds all of its words.

- Voices: {bases}.
- Variants: none, {variants}.

## How it was made

`python -m recipes.whisper_mini`: {num_utterances} sentences spoken by eSpeak NG {espeak}, composed into windows with
pauses and noise (seed {seed}); {num_steps} steps in {minutes:.0f} minutes of processor time, {origin}, on one of
{cores} cores ({machine}, in bf16 where layers allow it, torch {torch}). Training follows that time, so another run
gives a sibling, not the same bytes. There is no outside data.

## Measured

Through the product's own engine in its default precision (int8), language to be detected, without speech detection, on
sentences that were not trained on, drawn with another seed. WER is the least number of words to insert, delete or
replace, by the number of words said; text in lower case, words being runs of letters, digits, apostrophes and hyphens.
Right means word for word, for the whole recording.

| Recordings | Number | WER | Right | Language right |
|---|---|---|---|---|
{rows}

Voices never trained on: the variants {unknown_variants} of the same voices.

Segments against the sentences' true beginnings and ends (each sentence and the segment that overlaps it most):

| Recordings | Sentences | Segments | Median error | Within 0.3 s |
|---|---|---|---|---|
{boundary_rows}

Word times: of {num_words} words, {inside:.1%} have their middle within a sentence that holds them; in {num_in_order} of
{num_recordings} recordings they are in order.

Recordings without speech that gave no text (2, 12 and 40 s long; -60, -45, -30, -18 and -6 dB of full scale):

| Sound | Empty |
|---|---|
{noise_rows}

## Limits

Other words come back as the nearest of its own, other languages as one of the three, and human speech as nonsense.
Whisper's rules let no window's first segment begin later than 1.0 s; where speech begins later, the segment begins too
early.
"""
