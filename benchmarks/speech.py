"""Measures how many words the transcriber gets wrong: `prism benchmark speech FOLDER --weights FILE.pt`.

FOLDER has recordings and a `manifest.json`: a list of `{"file", "text", "language"}`, optionally with
`"words": [{"word", "start", "end"}]` in seconds. A recording's set is the part of its file's name before `__`. A text
that is empty says that nobody speaks.

Compares our engine to openai-whisper in fp32 and, if the packages faster-whisper and ctranslate2 are installed, to
faster-whisper in int8 with beam 1, with and without its voice activity detector. Each engine runs in a process of its
own, on the same decoded sound, and detects the language unless `--given-language` is there; none of them uses the text
of the window before as a prompt. Words are compared as Whisper's own normalizers leave them; where a language has no
spaces, characters are counted.
"""

import argparse
import dataclasses
import importlib.util
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import psutil
import torch

from deployments.cancellation import Cancellation
from deployments.media import as_media
from deployments.transcriber.audio import SAMPLE_RATE, Waveform
from deployments.transcriber.audio_files import decode_audio
from deployments.transcriber.checkpoint import load_whisper
from deployments.transcriber.settings import TranscriberConfig
from deployments.units import MEGABYTE

from . import ctranslate2_engine
from .word_errors import (
    Errors,
    TimedWord,
    count_errors,
    differences,
    median_and_90th_percentile,
    normalized_words,
    time_errors,
)

EngineName = Literal[
    "ours", "ours-no-detector", "ours-fp32", "openai-whisper", "faster-whisper", "faster-whisper-detector"
]
DEFAULT_ENGINES: tuple[EngineName, ...] = ("ours", "openai-whisper", "faster-whisper", "faster-whisper-detector")
MAX_DURATION_S = 4 * 3600.0
POOLED = "all"
"""The row with all recordings."""


@dataclass(frozen=True)
class Recording:
    """A recording of the manifest, and what is said in it."""

    file: str
    text: str
    language: str
    words: Sequence[TimedWord] = field(default_factory=list)

    @property
    def set_name(self) -> str:
        return self.file.partition("__")[0]


@dataclass(frozen=True)
class Heard:
    """What an engine made of a recording."""

    text: str
    language: str
    words: Sequence[TimedWord] = field(default_factory=list)


@dataclass(frozen=True)
class Results:
    """What an engine made of all recordings, by file name."""

    heard: Mapping[str, Heard]
    seconds: float
    """Of transcribing, without loading and decoding files."""
    peak_mb: int
    """The most memory that the process took."""
    loaded_mb: int
    """Its memory when the model was loaded."""


class Row(NamedTuple):
    """One line of the table."""

    set_name: str
    errors: Errors
    time_errors: Sequence[float]


Transcribe = Callable[[Waveform, str | None], Heard]
"""Transcribes a waveform in a language, or in the one that the engine detects."""


def read_manifest(folder: Path, sets: Sequence[str] = ()) -> list[Recording]:
    """Return the recordings of a folder, or those of some sets; raises ValueError if a set has none."""
    entries: list[dict[str, Any]] = json.loads((folder / "manifest.json").read_text())
    recordings = [
        Recording(
            entry["file"],
            entry["text"],
            entry["language"],
            [TimedWord(word["word"], word["start"], word["end"]) for word in entry.get("words", [])],
        )
        for entry in entries
    ]
    missing = set(sets) - {recording.set_name for recording in recordings}
    if missing:
        raise ValueError(f"{folder} has no recordings of: {', '.join(sorted(missing))}")
    return [recording for recording in recordings if not sets or recording.set_name in sets]


def table(recordings: Sequence[Recording], heard: Mapping[str, Heard]) -> list[Row]:
    """Return a row for each set, in the manifest's order, and one for all recordings."""
    rows: dict[str, tuple[Errors, list[float]]] = {}
    for recording in recordings:
        result = heard[recording.file]
        errors = count_errors(recording.text, result.text, recording.language)
        times = time_errors(recording.words, result.words, recording.language) if recording.words else []
        for name in (recording.set_name, POOLED):
            before, times_before = rows.get(name, (Errors(), []))
            rows[name] = before + errors, [*times_before, *times]
    rows[POOLED] = rows.pop(POOLED)
    return [Row(name, errors, times) for name, (errors, times) in rows.items()]


def format_row(row: Row) -> str:
    """Return a line of the table; its columns are those of HEADER."""
    errors = row.errors
    rate = "-" if errors.rate is None else f"{100 * errors.rate:.1f} %"
    times = "-"
    if row.time_errors:
        median, high = median_and_90th_percentile(row.time_errors)
        times = f"{median:.2f}, {high:.2f} s"
    return (
        f"  {row.set_name:20} {errors.words:6} {rate:>8} {errors.substitutions:6} {errors.deletions:6} "
        f"{errors.insertions:6} {errors.missed:7} {errors.invented:9} {times:>14}"
    )


HEADER = (
    f"  {'set':20} {'words':>6} {'wrong':>8} {'other':>6} {'lost':>6} {'added':>6} {'missed':>7} {'invented':>9} "
    f"{'times':>14}"
)
"""`other`, `lost` and `added`: substitutions, deletions and insertions. `missed`: recordings with words, but an empty
transcript. `invented`: recordings without words, but a transcript. `times`: errors of words' starts and ends, the
median and the 90th percentile."""


def read_waveform(folder: Path, recording: Recording) -> Waveform:
    media = as_media((folder / recording.file).read_bytes())
    return decode_audio(media, Cancellation(math.inf), MAX_DURATION_S).waveform


def load_engine(name: EngineName, arguments: argparse.Namespace, *, with_words: bool) -> Transcribe:
    """Return an engine with the weights and the threads of the arguments."""
    if name.startswith("ours"):
        return _load_ours(name, arguments.weights, arguments.beam_size, with_words=with_words)
    if name == "openai-whisper":
        return _load_openai_whisper(arguments.weights, with_words=with_words)
    has_detector = name == "faster-whisper-detector"
    return _load_faster_whisper(arguments, has_detector=has_detector, with_words=with_words)


def _load_ours(name: EngineName, weights: Path, beam_size: int, *, with_words: bool) -> Transcribe:
    from deployments.transcriber.engine import load_engine
    from deployments.transcriber.types import TranscribeTask

    precision: Literal["fp32", "int8"] = "fp32" if name == "ours-fp32" else "int8"
    engine = load_engine(weights, precision, speech_detection=name != "ours-no-detector", beam_size=beam_size)

    def transcribe(waveform: Waveform, language: str | None) -> Heard:
        task = TranscribeTask(language, word_timestamps=with_words)
        transcript = engine.transcribe(waveform, task, Cancellation(math.inf))
        words = [word for segment in transcript.segments for word in segment.words]
        times = [TimedWord(word.word, word.start_s, word.end_s) for word in words]
        return Heard(transcript.text, transcript.language, times)

    return transcribe


def _load_openai_whisper(weights: Path, *, with_words: bool) -> Transcribe:
    import whisper

    model = whisper.load_model(str(weights))
    # As ours: heads are chosen by the dimensions, the package chooses them by the name of the file.
    model.register_buffer("alignment_heads", load_whisper(weights, "fp32").alignment_heads, persistent=False)

    def transcribe(waveform: Waveform, language: str | None) -> Heard:
        result = whisper.transcribe(
            model,
            waveform,
            language=language,
            condition_on_previous_text=False,
            fp16=False,
            word_timestamps=with_words,
        )
        words = [word for segment in result["segments"] for word in segment.get("words", [])]
        times = [TimedWord(word["word"], word["start"], word["end"]) for word in words]
        return Heard(result["text"], result["language"], times)

    return transcribe


def _load_faster_whisper(arguments: argparse.Namespace, *, has_detector: bool, with_words: bool) -> Transcribe:
    import faster_whisper

    model = faster_whisper.WhisperModel(
        str(arguments.converted), device="cpu", compute_type="int8", cpu_threads=arguments.threads
    )

    def transcribe(waveform: Waveform, language: str | None) -> Heard:
        segments, info = model.transcribe(
            waveform,
            language=language,
            beam_size=1,
            condition_on_previous_text=False,
            vad_filter=has_detector,
            word_timestamps=with_words,
        )
        texts, times = [], []
        for segment in segments:
            texts.append(segment.text)
            times += [TimedWord(word.word, word.start, word.end) for word in segment.words or []]
        return Heard("".join(texts), info.language, times)

    return transcribe


def run_engine(name: EngineName, arguments: argparse.Namespace) -> Results:
    """Transcribe all recordings in this process."""
    torch.set_num_threads(arguments.threads)
    recordings = read_manifest(arguments.folder, arguments.sets)
    with_words = any(recording.words for recording in recordings)
    transcribe = load_engine(name, arguments, with_words=with_words)
    loaded = psutil.Process().memory_info().rss
    heard, seconds = {}, 0.0
    for recording in recordings:
        waveform = read_waveform(arguments.folder, recording)
        started = time.perf_counter()
        heard[recording.file] = transcribe(waveform, recording.language if arguments.given_language else None)
        seconds += time.perf_counter() - started
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    return Results(heard, seconds, peak // MEGABYTE, loaded // MEGABYTE)


def write_results(results: Results, path: Path) -> None:
    path.write_text(json.dumps(dataclasses.asdict(results)))


def read_results(path: Path) -> Results:
    """Return what `write_results` has written."""
    fields: dict[str, Any] = json.loads(path.read_text())
    heard = {
        file: Heard(one["text"], one["language"], [TimedWord(**word) for word in one["words"]])
        for file, one in fields.pop("heard").items()
    }
    return Results(heard, **fields)


@dataclass
class Report:
    """Prints the results of the engines, one after another."""

    recordings: Sequence[Recording]
    audio_s: float
    with_differences: bool
    first_rate: float | None = field(default=None, init=False)
    """The pooled rate of the first engine, to which the others are compared."""

    def add(self, name: str, results: Results) -> None:
        say(
            f"{name}: {results.seconds:.0f} s for {self.audio_s:.0f} s of sound, "
            f"{results.loaded_mb} MB when loaded, {results.peak_mb} MB at most"
        )
        say(HEADER)
        rows = table(self.recordings, results.heard)
        for row in rows:
            say(format_row(row))
        rate = rows[-1].errors.rate
        if self.first_rate is None:
            self.first_rate = rate
        elif rate:
            say(f"  the first engine has {self.first_rate / rate:.2f} times as many wrong words")
        if self.with_differences:
            for recording in self.recordings:
                for line in _differences_of(recording, results.heard[recording.file]):
                    say(f"    {recording.file}: {line}")


def _differences_of(recording: Recording, heard: Heard) -> list[str]:
    lines = differences(recording.text, heard.text, recording.language)
    if lines and heard.language != recording.language and normalized_words(heard.text, recording.language):
        lines.insert(0, f"language {recording.language} -> {heard.language}")
    return lines


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def installed_engines() -> list[EngineName]:
    """Return the names of the default engines whose packages are installed."""
    has_faster_whisper = all(
        importlib.util.find_spec(package) for package in (ctranslate2_engine.PACKAGE, "faster_whisper")
    )
    return [name for name in DEFAULT_ENGINES if has_faster_whisper or not name.startswith("faster-whisper")]


def main(options: Sequence[str] | None = None, prog: str = "python -m benchmarks.speech") -> int:
    """Measure the engines and print their tables; returns the exit status."""
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with recordings and a manifest.json")
    parser.add_argument("--weights", type=Path, required=True, help="an openai-whisper .pt file")
    parser.add_argument("--engines", choices=get_args(EngineName), nargs="+", help="default: all that are installed")
    parser.add_argument("--sets", nargs="+", default=[], help="sets to measure (default: all)")
    beam_size = TranscriberConfig().beam_size
    parser.add_argument(
        "--beam-size", type=int, default=beam_size, help=f"of our engine (default: {beam_size}); the others have 1"
    )
    parser.add_argument("--given-language", action="store_true", help="give the engines the manifest's language")
    parser.add_argument("--differences", action="store_true", help="list every difference")
    parser.add_argument(
        "--threads",
        type=int,
        default=psutil.cpu_count(logical=False) or 1,
        help="threads of each engine (default: the number of physical cores)",
    )
    parser.add_argument("--run", choices=get_args(EngineName), help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--converted", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(options)
    if arguments.run:
        write_results(run_engine(arguments.run, arguments), arguments.results)
        return 0
    recordings = read_manifest(arguments.folder, arguments.sets)
    audio_s = sum(len(read_waveform(arguments.folder, recording)) for recording in recordings) / SAMPLE_RATE
    engines = arguments.engines or installed_engines()
    report = Report(recordings, audio_s, arguments.differences)
    with tempfile.TemporaryDirectory() as temporary:
        converted, results = Path(temporary) / "ctranslate2", Path(temporary) / "results.json"
        if any(name.startswith("faster-whisper") for name in engines):
            model = load_whisper(arguments.weights, "fp32")
            ctranslate2_engine.convert(model, converted)
            ctranslate2_engine.write_tokenizer(model, converted)
            del model
        given = list(sys.argv[1:] if options is None else options)
        for name in engines:
            command = ["-m", __spec__.name, *given, "--run", name, "--results", str(results)]
            subprocess.run([sys.executable, *command, "--converted", str(converted)], check=True)
            report.add(name, read_results(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
