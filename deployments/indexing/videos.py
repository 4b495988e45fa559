"""The pipeline of videos: one frame of each scene, with its caption and the text on it, and what is said."""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from deployments.captioner.types import Caption, CaptionTask
from deployments.errors import InvalidFile
from deployments.frame_sampler.types import SampledFrame, SampledVideo, SampleTask
from deployments.indexing.documents import line_place
from deployments.indexing.line_layout import separators
from deployments.indexing.pieces import Break, Piece
from deployments.indexing.reading import Reading, as_stream
from deployments.indexing.speech import speech_chunks
from deployments.library.types import NewChunk
from deployments.places import TextLine
from deployments.transcriber.types import TranscribeTask

MAX_SCENES = 60
"""Frames of the default size take 1.7 MB each, which makes 100 MB."""
CAPTION_TASK = CaptionTask(max_new_tokens=200, length="short")
"""As `POST /api/analyze/video` asks for by default, so that the captioner answers from its cache."""
SAME_TEXT = 0.9
"""Texts on two frames that are so similar (difflib's ratio) are the same text, read with different mistakes."""


@dataclass(frozen=True)
class _Scene:
    """A frame that stands for what is seen for a while."""

    frame: SampledFrame
    start_s: float
    end_s: float


@dataclass(frozen=True)
class _ScreenText:
    """Text that stands on the frame of one scene or several in a row."""

    scene: _Scene
    """The first one, to the end of the last one."""
    lines: list[TextLine]

    @property
    def text(self) -> str:
        return " ".join(line.text for line in self.lines)


async def read_video(reading: Reading) -> AsyncGenerator[NewChunk, None]:
    """Yield the chunks of a video: captions, text on the screen, speech.

    Raises InvalidFile if neither frames nor sound can be decoded.
    """
    await reading.report("decoding", 0.0, "")
    try:
        video = await reading.services.sample(reading.media, SampleTask(MAX_SCENES, "keyframes", find_cuts=True))
    except InvalidFile as error:
        # The sound of a video whose pictures are damaged can still be found. If that cannot be decoded either, the file
        # fails with the error of its sound.
        reading.remarks.append(f"The frames cannot be decoded: {error}")
        async for chunk in _speech(reading):
            yield chunk
        return
    scenes = _scenes(video)
    pieces = [*await _captions(reading, scenes), *await _screen_texts(reading, scenes)]
    async for chunk in reading.chunks(as_stream(pieces)):
        yield chunk
    async for chunk in _speech_of(reading, video):
        yield chunk


def _scenes(video: SampledVideo) -> list[_Scene]:
    """Return what each frame stands for: the time from the cut before it (from the frame itself, if there is none since
    the frame before) to the next cut or frame."""
    properties = video.properties
    video_start_s = properties.duration_s - properties.total_frames / properties.fps if properties.fps else 0.0
    times = [frame.timestamp_s for frame in video.frames]
    scenes = []
    for frame, before_s, after_s in zip(video.frames, [-math.inf, *times], [*times[1:], math.inf], strict=False):
        time_s = frame.timestamp_s
        starts = [start_s for start_s in (video_start_s, *video.cuts_s) if before_s < start_s <= time_s]
        ends = [end_s for end_s in (*video.cuts_s, after_s, properties.duration_s) if end_s > time_s]
        scenes.append(_Scene(frame, max(starts, default=time_s), min(ends, default=time_s)))
    return scenes


async def _captions(reading: Reading, scenes: Sequence[_Scene]) -> list[Piece]:
    if not reading.config.caption_images:
        return []
    pieces = []
    failures = []
    for index, scene in enumerate(scenes):
        await reading.report("describing", 0.1 + 0.3 * index / len(scenes), f"scene {index + 1} of {len(scenes)}")
        # One frame in a call: an interactive request may have to wait for the call's end.
        [outcome] = await reading.services.caption_frames([scene.frame.pixels], CAPTION_TASK)
        if isinstance(outcome, Caption):
            pieces.append(_scene_piece(outcome.text, scene, "picture", {"origin": "caption"}))
        else:
            failures.append(outcome.message)
    if failures:
        reading.remarks.append(f"{len(failures)} of {len(scenes)} scenes cannot be described: {failures[0]}")
    return pieces


async def _screen_texts(reading: Reading, scenes: Sequence[_Scene]) -> list[Piece]:
    texts: list[_ScreenText] = []
    for index, scene in enumerate(scenes):
        await reading.report("reading", 0.4 + 0.2 * index / len(scenes), f"scene {index + 1} of {len(scenes)}")
        text = _ScreenText(scene, (await reading.services.read_pixels(scene.frame.pixels)).lines)
        if texts and _is_same(texts[-1].text, text.text):
            texts[-1] = replace(texts[-1], scene=replace(texts[-1].scene, end_s=scene.end_s))
        else:
            texts.append(text)
    return [piece for text in texts for piece in _line_pieces(text)]


def _line_pieces(text: _ScreenText) -> list[Piece]:
    joints = [(" ", Break.SENTENCE), *separators(text.lines)]
    pieces = []
    for index, line in enumerate(text.lines):
        piece = _scene_piece(line.text, text.scene, "on-screen text", line_place(line))
        separator, break_before = joints[index]
        pieces.append(replace(piece, separator=separator, break_before=break_before, is_border=index == 0))
    return pieces


def _scene_piece(text: str, scene: _Scene, origin: str, place: dict[str, object]) -> Piece:
    # Rounded up: a moment earlier, the scene before is still seen.
    start_s = math.ceil(round(scene.start_s * 100, 3)) / 100
    common = {
        "type": "video",
        "start": start_s,
        "end": max(start_s, round(scene.end_s, 2)),
        "frame_number": scene.frame.frame_number,
        "origin": origin,
    }
    return Piece(text, place, common, break_before=Break.SENTENCE, is_border=True)


def _is_same(first: str, second: str) -> bool:
    words = [text.casefold().split() for text in (first, second)]
    return SequenceMatcher(None, " ".join(words[0]), " ".join(words[1]), autojunk=False).ratio() >= SAME_TEXT


async def _speech_of(reading: Reading, video: SampledVideo) -> AsyncIterator[NewChunk]:
    """Yield the speech; none if there is no sound that can be decoded."""
    if not video.has_audio:
        return
    try:
        async for chunk in _speech(reading):
            yield chunk
    except InvalidFile as error:
        reading.remarks.append(f"The sound cannot be decoded: {error}")


async def _speech(reading: Reading) -> AsyncIterator[NewChunk]:
    await reading.report("transcribing", 0.6, "")
    transcript = await reading.services.transcribe(reading.media, TranscribeTask(word_timestamps=True))
    reading.remarks.extend(transcript.warnings)
    await reading.report("embedding", 0.9, "")
    async for chunk in speech_chunks(reading, transcript, {"type": "video", "origin": "speech"}):
        yield chunk
