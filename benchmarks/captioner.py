"""Measures moondream2 on this machine: `prism benchmark captioner [--kernels vnni onednn] [--against fp32|bf16]`.

Needs no weights: the model has moondream2's sizes and seeded random weights (time and memory do not depend on their
values); `--weights FOLDER` reads those of a checkpoint. In int8, the model runs with each kernel that this CPU has, and
with `--against` in that precision, too. All of these take turns in one run; times are printed, and as ratios to the
first. For int8, the roofline follows: how much of this machine's speed the model uses. That speed is measured in turns
with the model: memory bandwidth by a sum over 256 MB, int8 operations by a product of two square matrices that stay in
the CPU's cache, with the same kernel as the model.
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
from deployments.captioner.settings import MoondreamPrecision
from deployments.inference.cpu import local_vnni_vector_bytes
from deployments.inference.int8_layers import weight_bytes
from deployments.inference.int8_matmul import choose_matmul
from deployments.inference.kv_cache import KeyValueCache
from deployments.inference.quantization import quantize_per_channel
from deployments.malloc import MALLOC_ENVIRONMENT, return_freed_memory, reuse_freed_memory
from deployments.settings import KernelChoice
from deployments.units import MEGABYTE

NEW_TOKENS = 40
NUM_FRAMES = 5
SUMMARY_IDS = 250
"""Tokens of five descriptions of 40 tokens each, and of the request for their summary."""
NUM_STEPS = 12
"""Decode steps that are timed together."""
NUM_TURNS = 5
"""Repetitions of short measurements: of the decode steps in each round, and of each part of the roofline."""
PROMPT = [1, 32708, 2, 6382, 3]
COMPARED = ("vision", "prefill", "image", "step of 1")
"""The workloads of the models after the first; in fp32 the others would take many minutes."""


def random_model(config: MoondreamConfig, precision: MoondreamPrecision, kernel: KernelChoice) -> Moondream:
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
        single_crop_image = generator.integers(0, 256, (378, 378, 3), np.uint8)
        self._crops = make_crops(single_crop_image, model.config.vision, 1)
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
        """Answer another question about an image, with the KV cache that is kept of it."""
        self._cache.length = self._prefix
        generate(self.model, PROMPT, [self._cache], NEW_TOKENS, _never_cancelled)

    def image(self) -> None:
        """Describe an image that is one crop."""
        generate(self.model, PROMPT, [self._prefilled_cache()], NEW_TOKENS, _never_cancelled)

    def photo(self) -> None:
        """Describe an image of 1920x1080 pixels, with the default number of crops."""
        crops = make_crops(self._photo, self.model.config.vision, 1)
        cache = self.model.new_kv_cache(self._prefix + len(PROMPT) + NEW_TOKENS)
        self.model.prefill_image(self.model.encode_image(crops, _never_cancelled), cache, _never_cancelled)
        generate(self.model, PROMPT, [cache], NEW_TOKENS, _never_cancelled)

    def video(self) -> None:
        """Describe the frames of a video as one batch."""
        generate(self.model, PROMPT, [self._prefilled_cache() for _ in range(NUM_FRAMES)], NEW_TOKENS, _never_cancelled)

    def summary(self) -> None:
        """Summarize descriptions of frames."""
        cache = self.model.new_kv_cache(1 + SUMMARY_IDS + NEW_TOKENS)
        generate(self.model, range(100, 100 + SUMMARY_IDS), [cache], NEW_TOKENS, _never_cancelled)

    def step(self, num_sequences: int) -> Callable[[], None]:
        """Return a function that runs NUM_STEPS decode steps of `num_sequences` sequences, after image and prompt."""
        caches = [self._cache.copy() for _ in range(num_sequences)]

        def run() -> None:
            for cache in caches:
                cache.length = self._prefix + len(PROMPT)
            for _ in range(NUM_STEPS):
                self.model.decode([5] * num_sequences, caches)

        return run


def measure(models: dict[str, Workloads], rounds: int) -> dict[str, dict[str, float]]:
    """Return the median seconds of each workload by model; the models take turns within every round.

    The first model runs all workloads, the others only those in COMPARED.
    """
    first = next(iter(models))
    names = ("vision", "prefill", "question", "image", "photo", "video", "summary")
    durations: dict[str, dict[str, list[float]]] = {model: {} for model in models}
    for _ in range(rounds):
        for name in names:
            for model, workloads in models.items():
                if model == first or name in COMPARED:
                    durations[model].setdefault(name, []).append(_seconds(getattr(workloads, name)))
    steps = {
        (model, f"step of {count}"): workloads.step(count)
        for count in (1, 2, 5)
        for model, workloads in models.items()
        if model == first or f"step of {count}" in COMPARED
    }
    for _ in range(NUM_TURNS * rounds):
        for (model, name), run in steps.items():
            durations[model].setdefault(name, []).append(_seconds(run) / NUM_STEPS)
    return {
        model: {name: statistics.median(seconds) for name, seconds in by_name.items()}
        for model, by_name in durations.items()
    }


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure_bandwidth() -> float:
    """Return the bytes per second that a sum over 256 MB reads."""
    block = torch.ones(64 * MEGABYTE)

    def read() -> None:
        block.sum()

    return block.nbytes / min(_seconds(read) for _ in range(8))


def measure_int8(choice: KernelChoice) -> float:
    """Return the multiplications and additions per second of an int8 kernel, on matrices that stay in the cache."""
    size = 1024
    matmul = choose_matmul(choice, torch.cpu.get_capabilities())
    packed = matmul.pack(quantize_per_channel(torch.randn(size, size))[0])
    x, _ = quantize_per_channel(torch.randn(size, size))

    def multiply() -> None:
        matmul.multiply(x, packed)

    return 2 * size**3 / min(_seconds(multiply) for _ in range(20))


def roofline(workloads: Workloads, kernel: KernelChoice) -> list[str]:
    """Return a line each for vision, prefill and decoding of an int8 model: how much of the machine's speed it uses.

    The machine's speed changes within minutes, so it is measured before each run of a workload. A line gives the median
    of the runs.
    """
    model = workloads.model
    text, vision = model.config.text, model.config.vision
    # Multiply-accumulate operations; in int8, those of a token in the layers are also the bytes of their weights.
    per_token = text.n_layers * (4 * text.dim**2 + 2 * text.dim * text.ff_dim)
    length = text.prefix_attn + len(PROMPT)
    attention = 2 * text.n_layers * text.dim * text.prefix_attn**2
    prefill_operations = 2 * (per_token * length + attention)
    step_bytes = per_token + text.dim * text.vocab_size + model.kv_cache_bytes(length)
    patches = vision.grid**2
    vision_macs = patches * vision.enc_n_layers * (4 * vision.enc_dim**2 + 2 * vision.enc_dim * vision.enc_ff_dim)
    vision_macs += 2 * vision.enc_n_layers * vision.enc_dim * patches**2
    vision_macs += patches * vision.proj_inner_dim * (2 * vision.enc_dim + vision.proj_out_dim)
    decode = workloads.step(1)

    def int8_speed() -> float:
        return measure_int8(kernel) / 1e12

    return [
        _roofline_line("vision", 2 * vision_macs / 1e12, "T operations", int8_speed, workloads.vision),
        _roofline_line("prefill", prefill_operations / 1e12, "T operations", int8_speed, workloads.prefill),
        _roofline_line("decode", NUM_STEPS * step_bytes / 1e9, "GB", lambda: measure_bandwidth() / 1e9, decode),
    ]


def _roofline_line(
    name: str, amount: float, unit: str, measure_speed: Callable[[], float], work: Callable[[], None]
) -> str:
    """Return the share of `measure_speed` that `work` reaches; both in `unit` per second, `amount` of them per run."""
    turns = [(measure_speed(), _seconds(work)) for _ in range(NUM_TURNS)]
    speeds, shares = [speed for speed, _ in turns], [amount / speed / seconds for speed, seconds in turns]
    return (
        f"{name:8} {amount:.2f} {unit} at {min(speeds):.2f} to {max(speeds):.2f} a second: "
        f"{statistics.median(shares):.0%} of the roofline ({min(shares):.0%} to {max(shares):.0%})"
    )


def resident_mb() -> float:
    """Return the resident memory of this process."""
    return psutil.Process().memory_info().rss / MEGABYTE


def peak_mb() -> float:
    """Return the largest resident memory of this process since the last `reset_peak`, or since it started (Linux)."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def reset_peak() -> None:
    """Make `peak_mb` begin at the present resident memory (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def main(options: Sequence[str] | None = None, prog: str = "python -m benchmarks.captioner") -> int:
    """Measure the model and print the figures; returns the exit status."""
    parser = argparse.ArgumentParser(prog, description=__doc__)
    parser.add_argument("--precision", choices=("int8", "fp32", "bf16"), default="int8")
    parser.add_argument("--against", choices=("fp32", "bf16"), help="another precision to compare with")
    parser.add_argument(
        "--kernels",
        choices=("vnni", "onednn"),
        nargs="+",
        default=["vnni", "onednn"] if local_vnni_vector_bytes() else ["onednn"],
        help="int8 kernels to compare; all workloads are run with the first (default: all that this CPU has)",
    )
    parser.add_argument(
        "--weights", type=Path, help="folder with config.json and model*.safetensors (default: random weights)"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=psutil.cpu_count(logical=False) or 1,
        help="threads of a model step (default: the number of physical cores)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often all workloads are timed (default: 3)")
    arguments = parser.parse_args(options)
    if not MALLOC_ENVIRONMENT.items() <= os.environ.items():
        options = sys.argv[1:] if options is None else options
        os.execve(sys.executable, [sys.executable, "-m", __spec__.name, *options], os.environ | MALLOC_ENVIRONMENT)
    torch.set_num_threads(arguments.threads)
    return_freed_memory()

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def load(precision: MoondreamPrecision, kernel: KernelChoice) -> Moondream:
        if arguments.weights is None:
            return random_model(MoondreamConfig(), precision, kernel)
        weights = sorted(arguments.weights.glob("model*.safetensors"))
        return load_moondream(
            arguments.weights / "config.json", weights, precision, lambda progress: None, kernel=kernel
        )

    say(f"{torch.cpu.get_capabilities().get('cpu_name')}, {arguments.threads} threads, torch {torch.__version__}")
    kernel, *other_kernels = arguments.kernels
    say(f"{arguments.precision}; int8 kernel: {choose_matmul(kernel, torch.cpu.get_capabilities()).name}")
    before = resident_mb()
    started = time.perf_counter()
    model = load(arguments.precision, kernel)
    say(f"loaded in {time.perf_counter() - started:.0f} s; weights {weight_bytes(model) / MEGABYTE:.0f} MB")
    say(f"memory: {before:.0f} MB before, {peak_mb():.0f} MB at most while loading, {resident_mb():.0f} MB after")
    reuse_freed_memory()
    workloads = Workloads(model)
    reset_peak()
    workloads.image()
    say(f"memory: {peak_mb():.0f} MB at most with one image, {resident_mb():.0f} MB after")
    reset_peak()
    workloads.video()
    say(f"memory: {peak_mb():.0f} MB at most with {NUM_FRAMES} frames, {resident_mb():.0f} MB after")

    is_int8 = arguments.precision == "int8"
    first = f"int8 {kernel}" if is_int8 else arguments.precision
    models = {first: workloads}
    if is_int8:
        models |= {f"int8 {other}": Workloads(load("int8", other)) for other in other_kernels}
    if arguments.against:
        models[arguments.against] = Workloads(load(arguments.against, kernel))
    medians = measure(models, arguments.rounds)
    first_medians = medians.pop(first)
    say(f"\nseconds, median of {arguments.rounds}; {first}, then the others and their ratio to it")
    for name, seconds in first_medians.items():
        others = [
            f"  {other} {by_name[name]:8.3f}  {by_name[name] / seconds:5.2f}x"
            for other, by_name in medians.items()
            if name in by_name
        ]
        say(f"{name:12} {seconds:8.3f}{''.join(others)}")
    image = first_medians["image"]
    say("")
    say(f"time to first token          {first_medians['vision'] + first_medians['prefill']:.2f} s")
    for count in (1, 2, 5):
        say(f"tokens/s of {count} sequence(s)     {count / first_medians[f'step of {count}']:.1f}")
    say(f"throughput of 5 against 1    {5 * first_medians['step of 1'] / first_medians['step of 5']:.2f}x")
    say(f"{NUM_FRAMES} frames against an image    {first_medians['video'] / image:.2f}x")
    say(f"... with their summary       {(first_medians['video'] + first_medians['summary']) / image:.2f}x")
    say(f"1920x1080 against an image   {first_medians['photo'] / image:.2f}x")
    say(f"second question              {first_medians['question'] / image:.2f}x")
    if is_int8:
        say("")
        for line in roofline(workloads, kernel):
            say(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
