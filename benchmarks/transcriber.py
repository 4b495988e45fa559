"""Measures Whisper on this machine: `python -m benchmarks.transcriber [--size base] [--threads N]`.

Needs no weights: openai-whisper's own model of that size with seeded random weights, which never says the end, does the
same work in the same run, in turns with the engine's int8 form of it, and ratios are printed. `--weights FILE` takes a
checkpoint's weights. A window is 30 s of sound and a fixed number of tokens; a recording is many windows, decoded in
batches as with speech detection, against the same in int8 one after another.
"""

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import torch
import whisper
from whisper import DecodingOptions, Whisper
from whisper.audio import N_FRAMES
from whisper.decoding import DecodingTask
from whisper.model import ModelDimensions
from whisper.tokenizer import get_tokenizer

from deployments.transcriber.decoding import WindowDecoder
from deployments.transcriber.int8 import round_weights

NUM_TOKENS = 60
NUM_WINDOWS = 20
"""Of ten minutes."""
SIZES = {"tiny": (384, 6, 4), "base": (512, 8, 6), "small": (768, 12, 12), "medium": (1024, 16, 24)}
"""Width, heads and layers, of encoder and decoder alike."""
MEGABYTE = 1024 * 1024


def random_model(size: str) -> Whisper:
    """Return a model with seeded random weights whose answers never end by themselves."""
    width, heads, layers = SIZES[size]
    torch.manual_seed(1)
    model = Whisper(ModelDimensions(80, 1500, width, heads, layers, 51865, 448, width, heads, layers))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.02)
    return model.eval()


class Never:
    """A rule for `DecodingTask` that keeps the model from ending."""

    def __init__(self, token: int) -> None:
        self._token = token

    def apply(self, logits: torch.Tensor, tokens: torch.Tensor) -> None:
        logits[:, self._token] = -torch.inf


def work(task: Callable[[DecodingOptions], DecodingTask], windows: torch.Tensor, beam_size: int | None) -> None:
    """Decode windows together, given as spectrograms or as what the encoder makes of them."""
    made = task(DecodingOptions(language="en", beam_size=beam_size, sample_len=NUM_TOKENS, fp16=False))
    made.logit_filters.append(Never(get_tokenizer(True).eot))
    made.run(windows)


def work_on_recording(model: Whisper, decoder: WindowDecoder, mel: torch.Tensor, batch_size: int) -> None:
    for first in range(0, NUM_WINDOWS, batch_size):
        num_windows = min(batch_size, NUM_WINDOWS - first)
        work(decoder.task, torch.cat([model.encoder(mel[None]) for _ in range(num_windows)]), None)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transcriber", description=__doc__)
    parser.add_argument("--size", choices=tuple(SIZES), default="base")
    parser.add_argument("--weights", type=Path, help="an openai-whisper .pt file")
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    reference = whisper.load_model(str(arguments.weights)) if arguments.weights else random_model(arguments.size)
    rounded = copy.deepcopy(reference)
    decoder = WindowDecoder(rounded, round_weights(rounded), lambda: None)
    mel = torch.randn(reference.dims.n_mels, N_FRAMES, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)
    tasks: dict[str, Callable[[DecodingOptions], DecodingTask]] = {
        "int8": decoder.task,
        "openai": lambda options: DecodingTask(reference, options),
    }
    encoders = {"int8": rounded.encoder, "openai": reference.encoder}
    batch_sizes = {"int8": decoder.max_windows, "one by one": 1}
    workloads: dict[str, tuple[str, Callable[[str], None]]] = {
        "encoder": ("openai", lambda name: encoders[name](mel[None])),
        f"window, greedy, {NUM_TOKENS} tokens": ("openai", lambda name: work(tasks[name], mel[None], None)),
        f"window, beam 5, {NUM_TOKENS} tokens": ("openai", lambda name: work(tasks[name], mel[None], 5)),
        f"{NUM_WINDOWS} windows, {decoder.max_windows} at once": (
            "one by one",
            lambda name: work_on_recording(rounded, decoder, mel, batch_sizes[name]),
        ),
    }

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    cpu = torch.cpu.get_capabilities().get("cpu_name")
    say(f"{cpu}, {arguments.threads} threads, torch {torch.__version__}, {arguments.weights or arguments.size}")
    with torch.inference_mode():
        for title, (other, workload) in workloads.items():
            seconds: dict[str, list[float]] = {"int8": [], other: []}
            for round_number in range(arguments.rounds + 1):
                for name, taken in seconds.items():
                    started = time.perf_counter()
                    workload(name)
                    if round_number:  # the first finds nothing ready
                        taken.append(time.perf_counter() - started)
            ours, theirs = (statistics.median(taken) for taken in seconds.values())
            say(f"{title:28} int8 {ours:7.3f} s   {other:10} {theirs:7.3f} s   {theirs / ours:5.2f}x")


if __name__ == "__main__":
    main()
