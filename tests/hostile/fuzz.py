"""Mutates valid files with fixed seeds, and reads them as the product does: `python -m tests.hostile.fuzz`.

The files go through the functions that the replicas call, in the same sandbox, and the bodies through the whole API
with fakes of the deployments. The only permitted outcomes are a plausible result and the documented errors. Anything
else is printed with the seed and the number of the case, which `--only TARGET:CASE` repeats.
"""

import argparse
import asyncio
import json
import logging
import math
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deployments.cancellation import Cancellation
from deployments.captioner.model_config import VisionConfig
from deployments.captioner.preprocessing import DecodedImage
from deployments.errors import FileTooLarge, InvalidFile, InvalidFileType, ServiceError
from deployments.frame_sampler.deployment import DECODER_MEMORY_BYTES as VIDEO_MEMORY_BYTES
from deployments.frame_sampler.deployment import DECODER_SILENCE_S
from deployments.frame_sampler.sampler import sample_video
from deployments.frame_sampler.settings import FrameSamplerConfig
from deployments.frame_sampler.types import SampleTask
from deployments.images import decoding_memory_bytes
from deployments.media import as_media
from deployments.sandbox import Sandbox
from deployments.transcriber.audio_files import decode_audio
from deployments.transcriber.deployment import DECODER_MEMORY_BYTES as SOUND_MEMORY_BYTES
from serve_app.api import create_api
from serve_app.error_handlers import STATUSES
from serve_app.modalities.modality import Kind
from serve_app.settings import AppConfig
from serve_app.sniffing import require_kind
from tests.hostile import seeds
from tests.hostile.mutation import mutate
from tests.serve_app.asgi import Exchange
from tests.serve_app.fakes import FakeGraph

MAX_IMAGE_PIXELS = 64_000_000
DEADLINE_S = 60.0
SLOW_S = 5.0
"""A case that takes longer is reported: its author should know why."""


class Implausible(Exception):
    """A result that no file may have."""


def require(condition: object, what: str) -> None:
    if not condition:
        raise Implausible(what)


@dataclass(frozen=True)
class Target:
    """Something that reads untrusted bytes."""

    name: str
    seeds: Mapping[str, bytes]
    read: Callable[[bytes], str | None]
    """Returns the code of a documented error, or None; or raises one of `errors`. Anything else is a fault."""
    errors: tuple[type[ServiceError], ...]


@dataclass
class Report:
    """What became of the cases of one target."""

    name: str
    num_cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    seconds: float = 0.0


@contextmanager
def targets() -> Iterator[Sequence[Target]]:
    """Start the sandboxes with the limits of the replicas."""
    with ExitStack() as stack:
        stack.enter_context(_silenced_stderr())

        def sandbox(module: str, memory_bytes: int, max_silence_s: float = math.inf) -> Sandbox:
            started = Sandbox(module, memory_bytes, max_silence_s=max_silence_s)
            stack.callback(started.close)
            return started

        images = sandbox("deployments.captioner.preprocessing", decoding_memory_bytes(MAX_IMAGE_PIXELS))
        sounds = sandbox("deployments.transcriber.audio_files", SOUND_MEMORY_BYTES, DECODER_SILENCE_S)
        videos = sandbox("deployments.frame_sampler.sampler", VIDEO_MEMORY_BYTES, DECODER_SILENCE_S)
        all_sounds, all_videos = seeds.sounds(), seeds.videos()
        every_file = {**seeds.images(), **all_sounds, **all_videos}
        yield [
            Target("type", every_file, _read_type, ()),
            Target("image", seeds.images(), lambda content: _read_image(content, images), (InvalidFile,)),
            Target("sound", all_sounds, lambda content: _read_sound(content, sounds), (InvalidFile, FileTooLarge)),
            Target("video", all_videos, lambda content: _read_video(content, videos), (InvalidFile,)),
            Target("form", seeds.forms(), _read_form, ()),
            Target("json", seeds.documents(), _read_json, ()),
        ]


@contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Let what decoders and sandboxes write to this process's standard error go nowhere: they log every bad file."""
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def run(target: Target, seed: int, cases: Sequence[int]) -> Report:
    """Read the cases of a target; a case depends on the seed and its number only."""
    report = Report(target.name)
    for case in cases:
        name, content = case_content(target, seed, case)
        where = f"--seed {seed} --only {target.name}:{case}  ({name}, {len(content)} bytes)"
        started = time.monotonic()
        try:
            report.outcomes[target.read(content) or "accepted"] += 1
        except target.errors as error:
            report.outcomes[_outcome(error)] += 1
        except Exception:
            report.outcomes["FAULT"] += 1
            report.faults.append(f"{where}\n{traceback.format_exc(limit=-4)}")
        elapsed_s = time.monotonic() - started
        report.seconds += elapsed_s
        if elapsed_s > SLOW_S:
            report.slow.append(f"{elapsed_s:.1f} s: {where}")
    report.num_cases = len(cases)
    return report


def case_content(target: Target, seed: int, case: int) -> tuple[str, bytes]:
    """Return the name of the seed file of a case, and that file with its damage."""
    names = sorted(target.seeds)
    name = names[case % len(names)]
    others = [target.seeds[other] for other in names]
    return name, mutate(target.seeds[name], others, np.random.default_rng([seed, case]))


def _outcome(error: ServiceError) -> str:
    message = str(error)
    for words in ("decoder crash", "of memory", "no progress"):
        if words in message:
            return words
    return error.code


def _read_type(content: bytes) -> str | None:
    kinds = [kind for kind in _KINDS if _is_kind(content, kind)]
    return None if kinds else InvalidFileType.code


_KINDS: Sequence[Kind] = ("image", "video", "audio")


def _is_kind(content: bytes, kind: Kind) -> bool:
    try:
        require_kind(content, kind)
    except InvalidFileType:
        return False
    return True


def _read_image(content: bytes, sandbox: Sandbox) -> None:
    cancellation = Cancellation(time.time() + DEADLINE_S)
    arguments = (VisionConfig(), 2, MAX_IMAGE_PIXELS)
    [image] = sandbox.run("decode_and_crop", as_media(content), *arguments, cancellation=cancellation)
    require(isinstance(image, DecodedImage), "not an image")
    side = VisionConfig().crop_size
    require(image.levels.shape[1:] == (side, side, 3), f"crops of shape {image.levels.shape}")
    require(0 < image.width * image.height <= MAX_IMAGE_PIXELS, f"{image.width} x {image.height} pixels")


def _read_sound(content: bytes, sandbox: Sandbox) -> None:
    audio = decode_audio(as_media(content), Cancellation(time.time() + DEADLINE_S), 600, sandbox)
    require(np.isfinite(audio.waveform).all() and np.abs(audio.waveform).max(initial=0) <= 1, "not a waveform")
    require(0 <= audio.start_s < 1e7, f"sound that starts at {audio.start_s} s")
    require(all("nan" not in warning and "inf " not in warning for warning in audio.warnings), str(audio.warnings))


def _read_video(content: bytes, sandbox: Sandbox) -> None:
    config = FrameSamplerConfig()
    task = SampleTask(4, "keyframes" if len(content) % 2 else "uniform")
    video = sample_video(as_media(content), task, config, Cancellation(time.time() + DEADLINE_S), sandbox)
    metadata, frames = video.properties, video.frames
    require(1 <= len(frames) <= 4, f"{len(frames)} frames")
    numbers = [frame.frame_number for frame in frames]
    require(numbers == sorted(set(numbers)), f"frame numbers {numbers}")
    require(0 <= numbers[0] and numbers[-1] < metadata.total_frames, f"frames {numbers} of {metadata.total_frames}")
    times_s = [frame.timestamp_s for frame in frames]
    require(times_s == sorted(times_s) and times_s[0] >= 0, f"times {times_s}")
    require(times_s[-1] <= metadata.duration_s, f"a frame at {times_s[-1]} of {metadata.duration_s} s")
    require(math.isfinite(metadata.duration_s) and math.isfinite(metadata.fps) and metadata.fps >= 0, str(metadata))
    require(metadata.width > 0 and metadata.height > 0, str(metadata))
    for frame in frames:
        height, width, channels = frame.pixels.shape
        require(1 <= max(height, width) <= config.max_frame_side_px and channels == 3, str(frame.pixels.shape))


def _read_form(content: bytes) -> str | None:
    return _post("/api/analyze/image", f"multipart/form-data; boundary={seeds.BOUNDARY}", content)


def _read_json(content: bytes) -> str | None:
    return _post("/api/analyze/batch" if b'"files"' in content else "/api/analyze/image", "application/json", content)


_STATUS_BY_CODE = {error.code: status for error, status in STATUSES.items()}


def _post(path: str, content_type: str, body: bytes) -> str | None:
    """Post a body in three chunks to an API whose deployments are fakes; return the code of the error."""
    api = create_api(FakeGraph().context(AppConfig()))
    cuts = [0, len(body) // 3, 2 * len(body) // 3, len(body)]
    chunks = [body[start:end] for start, end in zip(cuts, cuts[1:], strict=False)]
    exchange = Exchange(path, {"Host": "localhost", "Content-Type": content_type}, chunks)
    asyncio.run(exchange.run(api))
    answer = exchange.body
    json.dumps(answer, allow_nan=False)
    require(answer["success"] is (exchange.status == 200), f"{exchange.status}: {answer}")
    if exchange.status == 200:
        return None
    code = str(answer["error"]["code"])
    require(exchange.status == _STATUS_BY_CODE[code] and exchange.status < 500, f"{exchange.status}: {answer}")
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=2000, help="cases for each target")
    parser.add_argument("--target", action="append", help="only this target; may be given several times")
    parser.add_argument("--only", metavar="TARGET:CASE", help="repeat one case")
    parser.add_argument("--save", type=Path, help="with --only: write the mutated file there")
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    num_faults = 0
    with targets() as available:
        if options.only:
            name, case = options.only.split(":")
            [target] = [target for target in available if target.name == name]
            if options.save:
                options.save.write_bytes(case_content(target, options.seed, int(case))[1])
            chosen = [(target, [int(case)])]
        else:
            wanted = options.target or [target.name for target in available]
            chosen = [(target, list(range(options.cases))) for target in available if target.name in wanted]
        for target, cases in chosen:
            report = run(target, options.seed, cases)
            num_faults += len(report.faults)
            outcomes = ", ".join(f"{count:,} {name}" for name, count in report.outcomes.most_common())
            sys.stdout.write(f"{report.name:6} {report.num_cases:7,} cases, {report.seconds:7.1f} s: {outcomes}\n")
            for text in [*report.slow, *report.faults]:
                sys.stdout.write(f"  {text}\n")
            sys.stdout.flush()
    return 1 if num_faults else 0


if __name__ == "__main__":
    sys.exit(main())
