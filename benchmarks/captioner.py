"""Measures moondream2 on this machine: `prism benchmark captioner [--kernels vnni onednn] [--against fp32|bf16]`.

Needs no weights: the model has moondream2's sizes and seeded random weights (time and memory do not depend on their
values); `--weights FOLDER` takes a checkpoint's. In int8, the same model runs with each kernel that this CPU has, and
with `--against` also in that precision, all of them in turns in the same run; their ratios to the first are printed.
The roofline compares with what this machine's memory and int8 units gave in turns with the work: bytes read by a sum
over 256 MB, operations done by the product's own kernel on a square matrix that stays in the cache.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import psutil
import torch

from deployments.captioner.checkpoint import tensor_shapes
from deployments.captioner.generation import generate
from deployments.captioner.loading import load_moondream, load_weights
from deployments.captioner.model_config import MoondreamConfig
from deployments.captioner.moondream import Moondream
from deployments.captioner.preprocessing import make_crops
from deployments.captioner.settings import Precision
from deployments.inference.cpu import local_vnni_vector_bytes
from deployments.inference.int8_layers import weight_bytes
from deployments.inference.int8_matmul import choose_kernel
from deployments.inference.kv_cache import KeyValueCache
from deployments.inference.quantization import quantize_per_channel
from deployments.malloc import MALLOC_ENVIRONMENT, return_freed_memory, reuse_freed_memory
from deployments.settings import KernelChoice
from deployments.units import MEGABYTE

NEW_TOKENS = 40
NUM_FRAMES = 5
SUMMARY_IDS = 250
"""Tokens of five descriptions of 40 tokens each and the request for their summary."""
NUM_STEPS = 12
NUM_TURNS = 5
"""Repetitions where short measurements take turns: decode steps per round, or a workload and the machine's speed."""
PROMPT = [1, 32708, 2, 6382, 3]


def random_model(config: MoondreamConfig, precision: Precision, kernel: KernelChoice) -> Moondream:
    """Return a model with seeded random weights whose answers never end by themselves."""
    shapes = tensor_shapes(config)
    generator = torch.Generator().manual_seed(1)

    def read(key: str) -> torch.Tensor:
        shape = shapes[key]
        tensor = torch.randn(shape, generator=generator) * (0.02 if len(shape) > 1 else 0.1)
        if key == "model.text.lm_head.bias":
            tensor[config.tokenizer.eos_id] = -1e4
        return tensor

    model = Moondream(config)
    load_weights(model, read, precision, lambda progress: None, kernel=kernel)
    return model


def _never_cancelled(progress: str) -> None:
    pass


class Workloads:
    """The workloads that are timed, on one model."""

    def __init__(self, model: Moondream) -> None:
        self.model = model
        generator = np.random.default_rng(1)
        self._photo = generator.integers(0, 256, (1080, 1920, 3), np.uint8)
        self._tile = generator.integers(0, 256, (378, 378, 3), np.uint8)
        self._crops = make_crops(self._tile, model.config.vision, 1)
        self._embeddings = model.encode_image(self._crops, _never_cancelled)
        self._cache = self._prefilled_cache()
        self._prefix = self._cache.length

    def _prefilled_cache(self) -> KeyValueCache:
        cache = self.model.new_kv_cache(self.model.config.text.prefix_attn + len(PROMPT) + NEW_TOKENS + NUM_STEPS)
        self.model.prefill_image(self.model.encode_image(self._crops, _never_cancelled), cache, _never_cancelled)
        return cache

    def vision(self) -> None:
        self.model.encode_image(self._crops, _never_cancelled)

    def prefill(self) -> None:
        cache = self.model.new_kv_cache(self._prefix + len(PROMPT))
        self.model.prefill_image(self._embeddings, cache, _never_cancelled)
        self.model.prefill_prompt(PROMPT, cache, _never_cancelled)

    def question(self) -> None:
        """Answer another question about an image whose KV cache was kept."""
        self._cache.length = self._prefix
        generate(self.model, PROMPT, [self._cache], NEW_TOKENS, _never_cancelled)

    def image(self) -> None:
        generate(self.model, PROMPT, [self._prefilled_cache()], NEW_TOKENS, _never_cancelled)

    def photo(self) -> None:
        """Describe 1920x1080 pixels with the default crop setting."""
        crops = make_crops(self._photo, self.model.config.vision, 1)
        cache = self.model.new_kv_cache(self._prefix + len(PROMPT) + NEW_TOKENS)
        self.model.prefill_image(self.model.encode_image(crops, _never_cancelled), cache, _never_cancelled)
        generate(self.model, PROMPT, [cache], NEW_TOKENS, _never_cancelled)

    def video(self) -> None:
        generate(self.model, PROMPT, [self._prefilled_cache() for _ in range(NUM_FRAMES)], NEW_TOKENS, _never_cancelled)

    def summary(self) -> None:
        cache = self.model.new_kv_cache(1 + SUMMARY_IDS + NEW_TOKENS)
        generate(self.model, range(100, 100 + SUMMARY_IDS), [cache], NEW_TOKENS, _never_cancelled)

    def step(self, num_sequences: int) -> Callable[[], None]:
        """Return a run of NUM_STEPS decode steps of that many sequences behind an image."""
        caches = [self._cache.copy() for _ in range(num_sequences)]

        def run() -> None:
            for cache in caches:
                cache.length = self._prefix + len(PROMPT)
            for _ in range(NUM_STEPS):
                self.model.decode([5] * num_sequences, caches)

        return run


COMPARED = ("vision", "prefill", "image", "step of 1")
"""What the other models do as well; in fp32 the rest would take many minutes."""


def measure(models: dict[str, Workloads], rounds: int) -> dict[str, dict[str, float]]:
    """Return the median seconds of each workload by model; the models take turns within every round.

    The first model does all workloads, the others only those in COMPARED.
    """
    first = next(iter(models))
    names = ("vision", "prefill", "question", "image", "photo", "video", "summary")
    taken: dict[str, dict[str, list[float]]] = {model: {} for model in models}
    for _ in range(rounds):
        for name in names:
            for model, workloads in models.items():
                if model == first or name in COMPARED:
                    taken[model].setdefault(name, []).append(_seconds(getattr(workloads, name)))
    steps = {
        (model, f"step of {count}"): workloads.step(count)
        for count in (1, 2, 5)
        for model, workloads in models.items()
        if model == first or f"step of {count}" in COMPARED
    }
    for _ in range(NUM_TURNS * rounds):
        for (model, name), run in steps.items():
            taken[model].setdefault(name, []).append(_seconds(run) / NUM_STEPS)
    return {
        model: {name: statistics.median(seconds) for name, seconds in by_name.items()}
        for model, by_name in taken.items()
    }


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure_bandwidth() -> float:
    """Return how many bytes per second a sum over 256 MB reads."""
    block = torch.ones(64 * MEGABYTE)

    def read() -> None:
        block.sum()

    return block.nbytes / min(_seconds(read) for _ in range(8))


def measure_int8(choice: KernelChoice) -> float:
    """Return the multiplications and additions per second of an int8 kernel on a matrix that stays in the cache."""
    size = 1024
    kernel = choose_kernel(choice, torch.cpu.get_capabilities())
    packed = kernel.pack(quantize_per_channel(torch.randn(size, size))[0])
    x, _ = quantize_per_channel(torch.randn(size, size))

    def multiply() -> None:
        kernel.multiply(x, packed)

    return 2 * size**3 / min(_seconds(multiply) for _ in range(20))


def roofline(workloads: Workloads, kernel: KernelChoice) -> list[str]:
    """Return how much of what the machine gives vision, prefill and decoding use, for a model in int8.

    What it gives changes within minutes, so it is measured before each of their turns; the medians are returned.
    """
    model = workloads.model
    text, vision = model.config.text, model.config.vision
    per_token = text.n_layers * (4 * text.dim**2 + 2 * text.dim * text.ff_dim)
    length = text.prefix_attn + len(PROMPT)
    attention = 2 * text.n_layers * text.dim * text.prefix_attn**2
    prefill = 2 * (per_token * length + attention)
    num_bytes = per_token + text.dim * text.vocab_size + model.kv_cache_bytes(length)
    patches = vision.grid**2
    vision_macs = patches * vision.enc_n_layers * (4 * vision.enc_dim**2 + 2 * vision.enc_dim * vision.enc_ff_dim)
    vision_macs += 2 * vision.enc_n_layers * vision.enc_dim * patches**2
    vision_macs += patches * vision.proj_inner_dim * (2 * vision.enc_dim + vision.proj_out_dim)
    decode = workloads.step(1)
    return [
        _share("vision", 2 * vision_macs / 1e12, "T operations", lambda: measure_int8(kernel) / 1e12, workloads.vision),
        _share("prefill", prefill / 1e12, "T operations", lambda: measure_int8(kernel) / 1e12, workloads.prefill),
        _share("decode", NUM_STEPS * num_bytes / 1e9, "GB", lambda: measure_bandwidth() / 1e9, decode),
    ]


def _share(name: str, amount: float, unit: str, measure_speed: Callable[[], float], work: Callable[[], None]) -> str:
    turns = [(measure_speed(), _seconds(work)) for _ in range(NUM_TURNS)]
    speeds, shares = [speed for speed, _ in turns], [amount / speed / seconds for speed, seconds in turns]
    return (
        f"{name:8} {amount:.2f} {unit} at {min(speeds):.2f} to {max(speeds):.2f} a second: "
        f"{statistics.median(shares):.0%} of the roofline ({min(shares):.0%} to {max(shares):.0%})"
    )


def resident_mb() -> float:
    return psutil.Process().memory_info().rss / MEGABYTE


def peak_mb() -> float:
    """Return the largest resident memory since the last `forget_peak` (Linux)."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def main(options: Sequence[str] | None = None, prog: str = "python -m benchmarks.captioner") -> int:
    """Measure and write the figures; returns the exit status."""
    parser = argparse.ArgumentParser(prog, description=__doc__)
    parser.add_argument("--precision", choices=("int8", "fp32", "bf16"), default="int8")
    parser.add_argument("--against", choices=("fp32", "bf16"))
    parser.add_argument(
        "--kernels",
        choices=("vnni", "onednn"),
        nargs="+",
        default=["vnni", "onednn"] if local_vnni_vector_bytes() else ["onednn"],
        help="int8 kernels to compare; the first does all workloads (default: all that this CPU has)",
    )
    parser.add_argument("--weights", type=Path, help="folder with config.json and model*.safetensors")
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args(options)
    if not MALLOC_ENVIRONMENT.items() <= os.environ.items():
        options = sys.argv[1:] if options is None else options
        os.execve(sys.executable, [sys.executable, "-m", __spec__.name, *options], os.environ | MALLOC_ENVIRONMENT)
    torch.set_num_threads(arguments.threads)
    return_freed_memory()

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def load(precision: Precision, kernel: KernelChoice) -> Moondream:
        if arguments.weights is None:
            return random_model(MoondreamConfig(), precision, kernel)
        weights = sorted(arguments.weights.glob("model*.safetensors"))
        return load_moondream(
            arguments.weights / "config.json", weights, precision, lambda progress: None, kernel=kernel
        )

    say(f"{torch.cpu.get_capabilities().get('cpu_name')}, {arguments.threads} threads, torch {torch.__version__}")
    kernel, *other_kernels = arguments.kernels
    say(f"{arguments.precision}; int8 kernel: {choose_kernel(kernel, torch.cpu.get_capabilities()).name}")
    before = resident_mb()
    started = time.perf_counter()
    model = load(arguments.precision, kernel)
    say(f"loaded in {time.perf_counter() - started:.0f} s; weights {weight_bytes(model) / MEGABYTE:.0f} MB")
    say(f"memory: {before:.0f} MB before, {peak_mb():.0f} MB at most while loading, {resident_mb():.0f} MB after")
    reuse_freed_memory()
    workloads = Workloads(model)
    forget_peak()
    workloads.image()
    say(f"memory: {peak_mb():.0f} MB at most with one image, {resident_mb():.0f} MB after")
    forget_peak()
    workloads.video()
    say(f"memory: {peak_mb():.0f} MB at most with {NUM_FRAMES} frames, {resident_mb():.0f} MB after")

    is_int8 = arguments.precision == "int8"
    first = f"int8 {kernel}" if is_int8 else arguments.precision
    models = {first: workloads}
    if is_int8:
        models |= {f"int8 {other}": Workloads(load("int8", other)) for other in other_kernels}
    if arguments.against:
        models[arguments.against] = Workloads(load(arguments.against, kernel))
    taken = measure(models, arguments.rounds)
    mine = taken.pop(first)
    say(f"\nseconds, median of {arguments.rounds}; {first}, then the others and their ratio to it")
    for name, seconds in mine.items():
        others = [
            f"  {other} {by_name[name]:8.3f}  {by_name[name] / seconds:5.2f}x"
            for other, by_name in taken.items()
            if name in by_name
        ]
        say(f"{name:12} {seconds:8.3f}{''.join(others)}")
    image = mine["image"]
    say("")
    say(f"time to first token          {mine['vision'] + mine['prefill']:.2f} s")
    for count in (1, 2, 5):
        say(f"tokens/s of {count} sequence(s)     {count / mine[f'step of {count}']:.1f}")
    say(f"throughput of 5 against 1    {5 * mine['step of 1'] / mine['step of 5']:.2f}x")
    say(f"{NUM_FRAMES} frames against an image    {mine['video'] / image:.2f}x")
    say(f"... with their summary       {(mine['video'] + mine['summary']) / image:.2f}x")
    say(f"1920x1080 against one tile   {mine['photo'] / image:.2f}x")
    say(f"second question              {mine['question'] / image:.2f}x")
    if is_int8:
        say("")
        for line in roofline(workloads, kernel):
            say(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
