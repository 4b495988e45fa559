"""Measures how well speakers are told apart: `prism benchmark speakers FOLDER [--weights FILE.pt]`.

FOLDER has a folder for each speaker, with recordings of that speaker alone. They are joined to recordings of two, three
and four speakers: turns of one recording each, or with `--short-turns` of one to four seconds, in random order, with
pauses of 0.2 to 1.5 s, for as long as there are new ones, up to `--seconds`. With `--split N`, only every second
recording that is made is measured: those of which the number modulo 2 is N.

The speaker error rate is the share of the time in which somebody speaks, according to how the recording was made, and
another speaker is named. Speakers are matched so that it is smallest. As usual, 0.25 s around each change do not count
(NIST's Rich Transcription evaluations). Time for which no speaker is named is given by itself: it is that of the pauses
within a turn, mostly. Without `--weights` (of a Whisper), who speaks when is compared as it is found; with them, that
of the transcript's segments, and each word's speaker.
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from deployments.cancellation import Cancellation
from deployments.media import as_media
from deployments.transcriber.audio import SAMPLE_RATE, Waveform
from deployments.transcriber.audio_files import decode_audio
from deployments.transcriber.engine import load_engine
from deployments.transcriber.speakers.labeler import SpeakerLabeler, load_labeler
from deployments.transcriber.speakers.weights import ensure_campplus
from deployments.transcriber.types import TranscribeTask, Transcript
from deployments.transcriber.voice_activity import VoiceActivityDetector, find_speech
from serve_app.settings import AppConfig

COLLAR_S = 0.25
PAUSE_S = (0.2, 1.5)
SHORT_TURN_S = (1.0, 4.0)
NUM_SPEAKERS = (2, 3, 4)
MIN_SECONDS = 120.0
"""Shorter recordings are left out: their speakers have too little to say."""
_STEP_S = 0.01
MAX_DURATION_S = 4 * 3600.0
NEVER = Cancellation(inf)


class Speech(NamedTuple):
    """A time in which a speaker, of any name, speaks."""

    start_s: float
    end_s: float
    speaker: str


class SpeakerErrors(NamedTuple):
    """Seconds that count, and of those the ones that another speaker got, or nobody."""

    confused_s: float
    unnamed_s: float
    total_s: float

    def plus(self, other: "SpeakerErrors") -> "SpeakerErrors":
        return SpeakerErrors(*(a + b for a, b in zip(self, other, strict=True)))


@dataclass(frozen=True)
class Conversation:
    waveform: Waveform
    turns: Sequence[Speech]

    @property
    def speakers(self) -> list[str]:
        return sorted({turn.speaker for turn in self.turns})


def count_speaker_errors(truth: Sequence[Speech], found: Sequence[Speech], collar_s: float = COLLAR_S) -> SpeakerErrors:
    """Compare who speaks when, in steps of 10 ms; in `truth`, nobody speaks at the same time as another one."""
    num_steps = 1 + round(max((speech.end_s for speech in (*truth, *found)), default=0.0) / _STEP_S)
    true_names, found_names = ({speech.speaker for speech in speeches} for speeches in (truth, found))
    true_numbers = _in_steps(truth, sorted(true_names), num_steps)
    found_numbers = _in_steps(found, sorted(found_names), num_steps)
    counts = true_numbers >= 0
    for speech in truth:
        for border_s in (speech.start_s, speech.end_s):
            counts[max(0, round((border_s - collar_s) / _STEP_S)) : round((border_s + collar_s) / _STEP_S)] = False
    together = np.zeros((len(true_names), len(found_names)), int)
    is_named = counts & (found_numbers >= 0)
    np.add.at(together, (true_numbers[is_named], found_numbers[is_named]), 1)
    return SpeakerErrors(
        (int(together.sum()) - best_match(together)) * _STEP_S,
        int((counts & (found_numbers < 0)).sum()) * _STEP_S,
        int(counts.sum()) * _STEP_S,
    )


def best_match(together: NDArray[np.int_]) -> int:
    """Return the largest sum of entries of a matrix of which no two are in one row or one column."""
    if together.shape[0] > together.shape[1]:
        together = together.T
    best = {0: 0}
    """The sum for each set of rows that are taken, as bits."""
    for column in together.T:
        for taken, total in list(best.items()):
            for row, count in enumerate(column.tolist()):
                if not taken >> row & 1:
                    best[taken | 1 << row] = max(best.get(taken | 1 << row, 0), total + count)
    return max(best.values())


def _in_steps(speeches: Sequence[Speech], names: Sequence[str], num_steps: int) -> NDArray[np.int_]:
    numbers = np.full(num_steps, -1)
    for speech in speeches:
        numbers[round(speech.start_s / _STEP_S) : round(speech.end_s / _STEP_S)] = names.index(speech.speaker)
    return numbers


def read_speakers(folder: Path) -> dict[str, list[Waveform]]:
    """Return each speaker's recordings."""
    return {
        speaker.name: [
            decode_audio(as_media(path.read_bytes()), NEVER, MAX_DURATION_S).waveform
            for path in sorted(speaker.iterdir())
            if path.is_file()
        ]
        for speaker in sorted(folder.iterdir())
        if speaker.is_dir()
    }


def make_conversations(
    recordings: Mapping[str, Sequence[Waveform]], per_number: int, seconds: float, *, short_turns: bool
) -> Iterator[Conversation]:
    """Yield up to `per_number` conversations of each number of speakers; the same every time."""
    chance = random.Random(1)
    detector = VoiceActivityDetector() if short_turns else None
    for num_speakers in NUM_SPEAKERS:
        groups = list(combinations(sorted(recordings), num_speakers))
        chance.shuffle(groups)
        for group in groups[:per_number]:
            turns = {speaker: list(recordings[speaker]) for speaker in group}
            for speaker in group:
                if detector is not None:
                    turns[speaker] = [part for turn in turns[speaker] for part in _parts(turn, detector, chance)]
                chance.shuffle(turns[speaker])
            conversation = _join(turns, seconds, chance)
            if len(conversation.waveform) >= MIN_SECONDS * SAMPLE_RATE:
                yield conversation


def _parts(recording: Waveform, detector: VoiceActivityDetector, chance: random.Random) -> Iterator[Waveform]:
    """Yield parts of a recording, cut in pauses."""
    speech = find_speech(detector.probabilities(recording, lambda: None), len(recording))
    start, margin = None, SAMPLE_RATE // 10
    for span in speech:
        start = span.start if start is None else start
        if span.end - start >= chance.uniform(*SHORT_TURN_S) * SAMPLE_RATE or span is speech[-1]:
            yield recording[max(0, start - margin) : span.end + margin]
            start = None


def _join(turns: dict[str, list[Waveform]], seconds: float, chance: random.Random) -> Conversation:
    parts: list[Waveform] = []
    speeches: list[Speech] = []
    now, before = 0, ""
    while now < seconds * SAMPLE_RATE and any(turns.values()):
        left = [speaker for speaker, rest in turns.items() if rest]
        speaker = chance.choice([speaker for speaker in left if speaker != before] or left)
        turn = turns[speaker].pop()
        pause = np.zeros(round(chance.uniform(*PAUSE_S) * SAMPLE_RATE), np.float32)
        start = now + len(pause)
        now = start + len(turn)
        parts += [pause, turn]
        speeches.append(Speech(start / SAMPLE_RATE, now / SAMPLE_RATE, speaker))
        before = speaker
    return Conversation(np.concatenate(parts), speeches)


def find_speakers(
    conversation: Conversation, labeler: SpeakerLabeler, transcript: Transcript | None, num_speakers: int | None
) -> tuple[list[Speech], list[Speech]]:
    """Return who speaks when, and the same of each word, which is empty without a transcript."""
    if transcript is None:
        turns = labeler.turns(conversation.waveform, num_speakers, NEVER)
        return [Speech(turn.start_s, turn.end_s, str(turn.speaker)) for turn in turns], []
    transcript = labeler.label(transcript, conversation.waveform, num_speakers, NEVER)
    segments = [Speech(one.start_s, one.end_s, one.speaker or "") for one in transcript.segments]
    words = [word for segment in transcript.segments for word in segment.words]
    return segments, [Speech(word.start_s, word.end_s, word.speaker or "") for word in words]


def main(arguments: Sequence[str] | None = None, prog: str = "python -m benchmarks.speakers") -> int:
    """Measure and write the table; returns the exit status."""
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--weights", type=Path, metavar="FILE.pt", help="a checkpoint of openai-whisper")
    parser.add_argument("--per-number", type=int, default=6, help="recordings of each number of speakers (6)")
    parser.add_argument("--seconds", type=float, default=150.0, help="of each recording (150)")
    parser.add_argument("--short-turns", action="store_true")
    parser.add_argument("--split", type=int, choices=(0, 1), help="only every second recording")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    settings = AppConfig()
    file = ensure_campplus(settings.speakers, settings.weights.cache_dir, _say)
    labeler = load_labeler(file.path)
    engine = load_engine(options.weights, "int8") if options.weights else None
    recordings = read_speakers(options.folder)
    conversations = make_conversations(recordings, options.per_number, options.seconds, short_turns=options.short_turns)
    sums: dict[tuple[int, str], list[SpeakerErrors]] = {}
    minutes = seconds = 0.0
    for number, conversation in enumerate(conversations):
        if options.split not in (None, number % 2):
            continue
        num_speakers = len(conversation.speakers)
        task = TranscribeTask(word_timestamps=True)
        transcript = engine.transcribe(conversation.waveform, task, NEVER) if engine else None
        for case, given in (("number not given", None), ("number given", num_speakers)):
            started = time.monotonic()
            speeches, words = find_speakers(conversation, labeler, transcript, given)
            seconds += time.monotonic() - started
            minutes += len(conversation.waveform) / SAMPLE_RATE / 60
            errors = count_speaker_errors(conversation.turns, speeches)
            sums.setdefault((num_speakers, case), []).append(errors)
            if transcript is not None:
                sums.setdefault((num_speakers, f"{case}, words"), []).append(
                    count_speaker_errors(conversation.turns, words)
                )
            found = len({speech.speaker for speech in speeches})
            _say(
                f"{number}: {', '.join(conversation.speakers)}; {case}: {found} found, "
                f"{100 * errors.confused_s / errors.total_s:.1f} % confused"
            )
    _say("")
    _say("| speakers | | recordings | speaker error rate | worst | nobody named |")
    _say("|---|---|---|---|---|---|")
    for (num_speakers, case), all_errors in sums.items():
        total = SpeakerErrors(0.0, 0.0, 0.0)
        for errors in all_errors:
            total = total.plus(errors)
        worst = max(errors.confused_s / errors.total_s for errors in all_errors)
        _say(
            f"| {num_speakers} | {case} | {len(all_errors)} | {100 * total.confused_s / total.total_s:.1f} % "
            f"| {100 * worst:.1f} % | {100 * total.unnamed_s / total.total_s:.1f} % |"
        )
    _say(
        f"\nTelling speakers apart takes {seconds / minutes:.1f} s for a minute of sound, on {options.threads} threads."
    )
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
