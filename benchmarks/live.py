"""Measures how soon live answers begin: `prism benchmark live [--serve serve_config.yaml]`.

New pictures and recordings are sent in turn with and without `Accept: text/event-stream`. The figures are the medians
of the seconds until the first word or segment, until the end of the stream, and of the plain answer, measured in the
same run; the first two also as a part of the third.
"""

import argparse
import io
import itertools
import statistics
import sys
import time
import wave
from collections.abc import Callable, Sequence

import numpy as np
import requests

from benchmarks.fairness import add_server_options, picture
from deployments.project import project_folder
from prism.tools import import_tool

TIMEOUT_S = 600
SAMPLE_RATE = 16_000
PAUSE_S = 1.0
"""Of silence between two copies of the recording."""

_seeds = itertools.count(1)


def recording(sound: np.ndarray, minutes: float) -> bytes:
    """Return a WAV file of copies of a sound, which a little noise makes new."""
    pause = np.zeros(int(PAUSE_S * SAMPLE_RATE), np.float32)
    num_samples = int(minutes * 60 * SAMPLE_RATE)
    once = np.concatenate([sound, pause])
    samples = np.tile(once, -(-num_samples // len(once)))[:num_samples]
    samples = samples + np.random.default_rng(next(_seeds)).normal(0, 1e-4, num_samples)
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE)
        writer.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()


def plain_seconds(url: str, kind: str, file: bytes) -> float:
    start = time.monotonic()
    response = requests.post(f"{url}/api/analyze/{kind}", files={kind: file}, timeout=TIMEOUT_S)
    response.raise_for_status()
    return time.monotonic() - start


def live_seconds(url: str, kind: str, file: bytes, event: str) -> tuple[float, float]:
    """Return the seconds until the first event of that name, and until the result."""
    start = time.monotonic()
    first = None
    with requests.post(
        f"{url}/api/analyze/{kind}",
        files={kind: file},
        headers={"Accept": "text/event-stream"},
        stream=True,
        timeout=TIMEOUT_S,
    ) as response:
        response.raise_for_status()
        for line in response.iter_lines(chunk_size=1, decode_unicode=True):
            if line == f"event: {event}" and first is None:
                first = time.monotonic() - start
            if line == "event: error":
                raise RuntimeError("The server answered with an error; its log has the reason.")
    seconds = time.monotonic() - start
    return first if first is not None else seconds, seconds


def measure(url: str, minutes: float, rounds: int) -> None:
    from deployments.cancellation import Cancellation
    from deployments.media import as_media
    from deployments.transcriber.audio_files import decode_audio

    sample = as_media((project_folder() / "samples/recording.mp3").read_bytes())
    sound = decode_audio(sample, Cancellation(float("inf")), max_duration_s=600).waveform
    _say(f"{'':24}{'first':>10}{'whole':>10}{'plain':>10}   first and whole against plain")
    _measure(url, "picture", "image", "token", picture, rounds)
    _measure(url, f"recording, {minutes:g} min", "audio", "segment", lambda: recording(sound, minutes), rounds)


def _measure(url: str, name: str, kind: str, event: str, new_file: Callable[[], bytes], rounds: int) -> None:
    plain, firsts, wholes = [], [], []
    plain_seconds(url, kind, new_file())  # the first one is not like the others
    for _ in range(rounds):
        plain.append(plain_seconds(url, kind, new_file()))
        first, whole = live_seconds(url, kind, new_file(), event)
        firsts.append(first)
        wholes.append(whole)
    first, whole, reference = map(statistics.median, (firsts, wholes, plain))
    _say(f"{name:24}{first:8.2f} s{whole:8.2f} s{reference:8.2f} s   {first / reference:.2f}x {whole / reference:.2f}x")


def main(arguments: Sequence[str] | None = None, prog: str = "python -m benchmarks.live") -> int:
    """Measure, and write a table; returns the exit status."""
    options = _parse(arguments, prog)
    if options.url is not None:
        measure(options.url.rstrip("/"), options.minutes, options.rounds)
        return 0
    # As a tool: an installed copy has it under another name.
    with import_tool("samples.running_server").running_server(options.serve) as server:
        measure(server.url, options.minutes, options.rounds)
    return 0


def _parse(arguments: Sequence[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog, description="Measures how soon live answers begin.")
    add_server_options(parser)
    parser.add_argument("--minutes", type=float, default=5.0, help="of the recording (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    return parser.parse_args(arguments)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
