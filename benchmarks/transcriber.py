"""Measures Whisper on this machine: `prism benchmark transcriber [--size base] [--threads N]`.

Compares our engine in int8, with each kernel that this CPU has, with openai-whisper in fp32 and, if the package
ctranslate2 is installed, with the int8 engine of faster-whisper. No weights are needed: all engines get the same seeded
random weights, or those of a checkpoint with `--weights FILE`. The end token is suppressed, so that each window of 30 s
gives a fixed number of tokens. The engines take turns within one run.

Ten minutes of audio are decoded in batches, as with speech detection; openai-whisper decodes one window at a time, and
CTranslate2 is measured with several batch sizes. Memory is that of a process that does nothing else, without Ray.
"""

import argparse
import dataclasses
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import psutil
import torch
import whisper
from torch import Tensor
from whisper import DecodingOptions, Whisper
from whisper.audio import N_FRAMES, SAMPLE_RATE
from whisper.decoding import DecodingTask
from whisper.model import ModelDimensions
from whisper.tokenizer import get_tokenizer

from deployments.inference.cpu import local_vnni_vector_bytes
from deployments.malloc import return_freed_memory, reuse_freed_memory, trim_freed_memory
from deployments.settings import KernelChoice
from deployments.transcriber.checkpoint import load_whisper
from deployments.transcriber.decoding import WindowDecoder
from deployments.transcriber.voice_activity import VoiceActivityDetector
from deployments.units import MEGABYTE

from . import ctranslate2_engine

NUM_TOKENS = 60
NUM_WINDOWS = 20
"""Ten minutes."""
BATCH_SIZES = (1, 4, 8)
"""For CTranslate2."""
SIZES = {"tiny": (384, 6, 4), "base": (512, 8, 6), "small": (768, 12, 12), "medium": (1024, 16, 24)}
"""Width, heads and layers; the same for encoder and decoder."""
WINDOW_S = 30.0
OURS: dict[str, KernelChoice] = {"int8-vnni": "vnni", "int8-onednn": "onednn"}
"""Our engines, and their setting `kernel`."""
OPENAI, CTRANSLATE2 = "openai-whisper-fp32", "ctranslate2-int8"
CHECKPOINT, CONVERTED = "model.pt", "ctranslate2"


def random_model(size: str) -> Whisper:
    """Return a model with seeded random weights."""
    width, heads, layers = SIZES[size]
    torch.manual_seed(1)
    model = Whisper(ModelDimensions(80, 1500, width, heads, layers, 51865, 448, width, heads, layers))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.02)
    return model.eval()


class SuppressToken:
    """A logit filter for `DecodingTask`."""

    def __init__(self, token: int) -> None:
        self._token = token

    def apply(self, logits: Tensor, tokens: Tensor) -> None:
        logits[:, self._token] = -torch.inf


class Engine(Protocol):
    def encode(self, windows: Tensor) -> object:
        """Return the audio features of windows, shape (n, num_mels, N_FRAMES)."""

    def decode(self, windows: Tensor, beam_size: int, num_tokens: int) -> object:
        """Decode the windows as one batch, to `num_tokens` tokens each."""


class PythonEngine:
    """A model with the package's decoding rules: ours in int8, or the package's in fp32."""

    def __init__(self, model: Whisper, task: Callable[[DecodingOptions], DecodingTask]) -> None:
        self._model = model
        self._task = task

    def encode(self, windows: Tensor) -> Tensor:
        # One by one: the attention of a batch would take hundreds of megabytes.
        return torch.cat([self._model.encoder(window[None]) for window in windows])

    def decode(self, windows: Tensor, beam_size: int, num_tokens: int) -> object:
        beams = beam_size if beam_size > 1 else None
        task = self._task(DecodingOptions(language="en", beam_size=beams, sample_len=num_tokens, fp16=False))
        task.logit_filters.append(SuppressToken(get_tokenizer(True).eot))
        return task.run(self.encode(windows))


def decode_recording(engine: Engine, mel: Tensor, batch_size: int) -> None:
    for first in range(0, NUM_WINDOWS, batch_size):
        num_windows = min(batch_size, NUM_WINDOWS - first)
        engine.decode(mel[None].expand(num_windows, -1, -1).contiguous(), 1, NUM_TOKENS)


def noise_mel() -> Tensor:
    return torch.randn(80, N_FRAMES, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)


def load(name: str, folder: Path, threads: int) -> tuple[Engine, int]:
    """Return an engine with the weights that `prepare` has written into `folder`, and its batch size."""
    if name == CTRANSLATE2:
        return ctranslate2_engine.CTranslate2Engine(folder / CONVERTED, threads), max(BATCH_SIZES)
    if name == OPENAI:
        model = whisper.load_model(str(folder / CHECKPOINT))
        return PythonEngine(model, lambda options: DecodingTask(model, options)), 1
    quantized = load_whisper(folder / CHECKPOINT, "int8", OURS[name])
    decoder = WindowDecoder(quantized, lambda: None)
    return PythonEngine(quantized, decoder.decoding_task), decoder.max_batch_size


def prepare(arguments: argparse.Namespace, folder: Path) -> list[str]:
    """Write the model into `folder` in the engines' formats, and return the engines' names."""
    model = whisper.load_model(str(arguments.weights)) if arguments.weights else random_model(arguments.size)
    weights = {name: tensor.half() for name, tensor in model.state_dict().items()}
    torch.save({"dims": dataclasses.asdict(model.dims), "model_state_dict": weights}, folder / CHECKPOINT)
    ours = [name for name, kernel in OURS.items() if kernel in arguments.kernels]
    if importlib.util.find_spec(ctranslate2_engine.PACKAGE) is None:
        return [*ours, OPENAI]
    ctranslate2_engine.convert(model, folder / CONVERTED)
    return [*ours, OPENAI, CTRANSLATE2]


def measure_memory(name: str, folder: Path, threads: int) -> str:
    """Load an engine, decode ten minutes of audio (ours with speech detection), and report this process's memory."""
    torch.set_num_threads(threads)
    process = psutil.Process()
    return_freed_memory()
    engine, batch_size = load(name, folder, threads)
    detector = VoiceActivityDetector() if name in OURS else None
    mel = noise_mel()
    with torch.inference_mode():
        engine.decode(mel[None], 1, 2)
        trim_freed_memory()
        loaded = process.memory_info().rss
        reuse_freed_memory()
        waveform = np.random.default_rng(1).standard_normal(600 * SAMPLE_RATE, np.float32)
        if detector:
            detector.probabilities(waveform, lambda: None)
        decode_recording(engine, mel, batch_size)
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    del waveform
    trim_freed_memory()
    after = process.memory_info().rss
    return (
        f"{name}, {batch_size} at once: {loaded // MEGABYTE} MB when loaded, {peak // MEGABYTE} MB at most with ten "
        f"minutes of sound, {after // MEGABYTE} MB after"
    )


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(title: str, works: Mapping[str, Callable[[], object]], sound_s: float, rounds: int) -> None:
    """Run the engines in turns; print each one's median time, real-time factor, and time as a multiple of ours."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            taken[name].append(_seconds(work))
    medians = {name: statistics.median(seconds) for name, seconds in taken.items()}
    ours = next(iter(medians.values()))
    say(title)
    for name, seconds in medians.items():
        say(f"  {name:28} {seconds:8.3f} s   real-time factor {seconds / sound_s:.4f}   {seconds / ours:5.2f}x")


def main(options: Sequence[str] | None = None, prog: str = "python -m benchmarks.transcriber") -> int:
    """Measure and write the figures; returns the exit status."""
    parser = argparse.ArgumentParser(prog, description=__doc__)
    parser.add_argument("--size", choices=tuple(SIZES), default="base")
    parser.add_argument("--weights", type=Path, help="an openai-whisper .pt file")
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--kernels",
        choices=tuple(OURS.values()),
        nargs="+",
        default=["vnni", "onednn"] if local_vnni_vector_bytes() else ["onednn"],
        help="int8 kernels to compare (default: all that this CPU has)",
    )
    parser.add_argument("--memory-of", choices=(*OURS, OPENAI, CTRANSLATE2), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(options)
    if arguments.memory_of:
        say(measure_memory(arguments.memory_of, arguments.folder, arguments.threads))
        return 0
    torch.set_num_threads(arguments.threads)
    reuse_freed_memory()
    cpu = torch.cpu.get_capabilities().get("cpu_name")
    say(f"{cpu}, {arguments.threads} threads, torch {torch.__version__}, {arguments.weights or arguments.size}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        measure(prepare(arguments, folder), folder, arguments.threads, arguments.rounds)
    return 0


def measure(names: Sequence[str], folder: Path, threads: int, rounds: int) -> None:
    for name in names:
        command = [
            "-m",
            __spec__.name,
            "--threads",
            str(threads),
            "--memory-of",
            name,
            "--folder",
            str(folder),
        ]
        say(subprocess.run([sys.executable, *command], check=True, capture_output=True, text=True).stdout.strip())
    loaded = {name: load(name, folder, threads) for name in names}
    engines = {name: engine for name, (engine, _) in loaded.items()}
    mel = noise_mel()
    windows = mel[None]
    with torch.inference_mode():
        for engine in engines.values():  # warm up
            engine.decode(windows, 5, 2)
        works = {name: partial(engine.encode, windows) for name, engine in engines.items()}
        compare("encoder, a window", works, WINDOW_S, rounds)
        for beam_size, title in ((1, "greedy"), (5, "beam 5")):
            works = {name: partial(engine.decode, windows, beam_size, NUM_TOKENS) for name, engine in engines.items()}
            compare(f"a window, {title}, {NUM_TOKENS} tokens", works, WINDOW_S, rounds)
        batches = [(name, batch_size) for name, (_, batch_size) in loaded.items()]
        batches += [(names[0], 1), *((CTRANSLATE2, size) for size in BATCH_SIZES[:-1] if CTRANSLATE2 in engines)]
        recordings: dict[str, Callable[[], object]] = {
            f"{name}, {size} at once": partial(decode_recording, engines[name], mel, size) for name, size in batches
        }
        compare(f"{NUM_WINDOWS} windows, greedy", recordings, NUM_WINDOWS * WINDOW_S, 1)


if __name__ == "__main__":
    sys.exit(main())
