"""The analysis of videos: captions of sampled frames, a summary of them and, if asked for, a transcript."""

import asyncio
import math
from collections.abc import Coroutine, Sequence
from typing import Any

from pydantic import Field

from deployments.captioner.types import Caption, CaptionTask, FrameFailure
from deployments.errors import DeadlineExceeded, InvalidFile, ProcessingFailed
from deployments.frame_sampler.types import FrameSampling, SampledFrame, SampledVideo, SampleTask
from deployments.media import Media
from deployments.transcriber.types import Transcript
from serve_app.context import AppContext
from serve_app.graph import CAPTIONER, FRAME_SAMPLER
from serve_app.modalities import audio
from serve_app.modalities.modality import FileFormat, Modality
from serve_app.options import MaxLength, Options, Prompt, question_of
from serve_app.progress import Stage, Track
from serve_app.schemas import AudioAnalysis, Frame, VideoAnalysis, VideoMetadata, body_of
from serve_app.stopwatch import Stopwatch
from serve_app.subtitles import description_cues, to_vtt

FORMATS = (
    FileFormat("MP4", "an MP4 video", "video/mp4", (".mp4",)),
    FileFormat("MOV", "a MOV video", "video/quicktime", (".mov",)),
    FileFormat("AVI", "an AVI video", "video/x-msvideo", (".avi",), riff_form=b"AVI "),
    FileFormat("MKV", "an MKV video", "video/x-matroska", (".mkv",)),
    FileFormat("WEBM", "a WebM video", "video/webm", (".webm",)),
    FileFormat("3GP", "a 3GP video", "video/3gpp", (".3gp", ".3g2")),
    FileFormat("TS", "an MPEG transport stream (TS)", "video/mp2t", (".ts", ".m2ts", ".mts")),
    FileFormat("MPG", "an MPEG program stream (MPG)", "video/mpeg", (".mpg", ".mpeg", ".vob")),
    FileFormat("WMV", "a WMV video", "video/x-ms-wmv", (".wmv", ".asf")),
    FileFormat("FLV", "an FLV video", "video/x-flv", (".flv",)),
)

FRAMES_PER_CALL = 5
"""Maximum number of frames in one call to the captioner. The captions of one call are decoded together, so they share
each pass over the weights; a larger number would lose more when a replica dies. A video makes one call at a time: a
second would gain nothing on the same cores, and would keep other clients from the captioner."""
SUMMARY_MAX_NEW_TOKENS = 200
"""Enough for a paragraph, whatever the number of frames."""


class VideoOptions(Options):
    prompt: Prompt = ""
    max_length: MaxLength = 200
    num_frames: int = Field(5, ge=1, le=32, description="Frames to describe; a short video may have fewer.")
    include_timestamps: bool = Field(True, description="Give each frame its `timestamp`.")
    frame_sampling: FrameSampling = Field(
        "uniform",
        description="`uniform`: evenly spaced in time. `keyframes`: one frame of each visually distinct scene.",
    )
    language: audio.Language = "auto"
    track: audio.Track = None
    include_audio: bool = Field(False, description="Add `transcript`: what is said in the video.")
    subtitles: bool = Field(
        False,
        description="Add `transcript` with its `subtitles`, as SRT and as WebVTT, and `descriptions_vtt`: the frames' "
        "descriptions as WebVTT, at times when nobody speaks.",
    )
    speakers: bool = Field(
        False, description="Add `transcript`, with the `speaker` of each segment. As for a recording."
    )
    num_speakers: audio.NumSpeakers = None

    @property
    def has_transcript(self) -> bool:
        return self.include_audio or self.subtitles or self.speakers or self.num_speakers is not None


async def analyze(media: Media, options: VideoOptions, context: AppContext, deadline: float) -> VideoAnalysis:
    """Return the analysis of a video; without an audio track, its transcript is that of silence."""
    stopwatch = Stopwatch()
    task = SampleTask(options.num_frames, options.frame_sampling, find_cuts=options.subtitles)
    model = context.settings.captioner.name
    stages = [
        Stage("sample", f"sampling frames ({options.frame_sampling})", context.progress.num_megabytes),
        Stage("frames", f"{model}: describing a frame", options.num_frames),
    ]
    if context.settings.serving.video_summary == "model":
        stages.append(Stage("summary", f"{model}: summarizing", 1))
    track = context.progress.track(*stages)
    track.advance("sample", None)
    video = await context.service(FRAME_SAMPLER).sample(media, task, deadline=deadline)
    track.resize("frames", len(video.frames))
    captioning = _caption_and_summarize(video, options, context, track, deadline)
    if options.has_transcript:
        transcription = _transcribe(media, video, options, context, deadline)
        (outcomes, summary), (transcript, speech) = await _run_together(captioning, transcription)
    else:
        (outcomes, summary), transcript, speech = await captioning, None, []
    return VideoAnalysis(
        metadata=VideoMetadata(
            duration_seconds=round(video.properties.duration_s, 3),
            fps=round(video.properties.fps, 3),
            resolution=(video.properties.width, video.properties.height),
            total_frames=video.properties.total_frames,
            model=context.settings.captioner.name,
            reused_frames=sum(isinstance(outcome, Caption) and outcome.reused == "answer" for outcome in outcomes),
        ),
        frames=[_to_frame(*pair, options) for pair in zip(video.frames, outcomes, strict=True)],
        summary=summary,
        transcript=transcript,
        descriptions_vtt=_descriptions_vtt(video, outcomes, speech) if options.subtitles else None,
        processing_time_ms=stopwatch.milliseconds(),
    )


async def _caption_and_summarize(
    video: SampledVideo, options: VideoOptions, context: AppContext, track: Track, deadline: float
) -> tuple[list[Caption | FrameFailure], str]:
    """Return one outcome for each frame, in order, and the summary of those that succeeded."""
    outcomes = await _caption_frames(video.frames, options, context, track, deadline)
    descriptions = [outcome.text for outcome in outcomes if isinstance(outcome, Caption)]
    if not descriptions:
        reasons = {outcome.message for outcome in outcomes if isinstance(outcome, FrameFailure)}
        raise ProcessingFailed(f"None of the {len(outcomes)} frames could be described: {' '.join(sorted(reasons))}")
    if context.settings.serving.video_summary == "join":
        summary = " ".join(descriptions)
    else:
        track.advance("summary", None)
        summary = await _summarize(descriptions, len(outcomes), context, deadline)
    context.progress.emit("summary", text=summary)
    track.done(is_typical=not any(isinstance(outcome, Caption) and outcome.reused == "answer" for outcome in outcomes))
    return outcomes, summary


async def _summarize(descriptions: list[str], num_frames: int, context: AppContext, deadline: float) -> str:
    captioner = context.service(CAPTIONER)
    try:
        return (await captioner.summarize(descriptions, SUMMARY_MAX_NEW_TOKENS, deadline=deadline)).text
    except DeadlineExceeded:
        raise DeadlineExceeded(f"captioned all {num_frames} frames, but the summary was not finished") from None


async def _caption_frames(
    frames: Sequence[SampledFrame], options: VideoOptions, context: AppContext, track: Track, deadline: float
) -> list[Caption | FrameFailure]:
    captioner = context.service(CAPTIONER)
    task = CaptionTask(max_new_tokens=options.max_length, length="short", question=question_of(options.prompt))
    outcomes: list[Caption | FrameFailure] = []
    for group in _groups(frames):
        track.advance("frames", len(outcomes) / len(frames))
        first = len(outcomes)
        try:
            outcomes += await captioner.caption_frames([frame.pixels for frame in group], task, deadline=deadline)
        except ProcessingFailed as error:
            # A failure in one group does not affect the others.
            outcomes += [FrameFailure(str(error)) for _ in group]
        except DeadlineExceeded as error:
            progress = f" (of the next {len(group)}, {error})" if str(error) else ""
            raise DeadlineExceeded(f"captioned {len(outcomes)} of {len(frames)} frames{progress}") from None
        for index, (frame, outcome) in enumerate(zip(group, outcomes[first:], strict=True), first):
            context.progress.emit("frame", index=index, frame=body_of(_to_frame(frame, outcome, options)))
    return outcomes


def _groups(frames: Sequence[SampledFrame]) -> list[Sequence[SampledFrame]]:
    """Return the frames in as few groups of at most FRAMES_PER_CALL as possible, of nearly equal sizes, in order."""
    num_groups = math.ceil(len(frames) / FRAMES_PER_CALL)
    bounds = [len(frames) * k // num_groups for k in range(num_groups + 1)]
    return [frames[start:end] for start, end in zip(bounds, bounds[1:], strict=False)]


async def _transcribe(
    media: Media, video: SampledVideo, options: VideoOptions, context: AppContext, deadline: float
) -> tuple[AudioAnalysis, list[tuple[float, float]]]:
    """Return the analysis of a video's sound, and when somebody speaks."""
    stopwatch = Stopwatch()
    of_sound = audio.AudioOptions(
        language=options.language,
        track=options.track,
        subtitles=options.subtitles,
        speakers=options.speakers,
        num_speakers=options.num_speakers,
    )
    transcript = Transcript.empty(None, video.properties.duration_s)
    if video.has_audio:
        try:
            transcript = await audio.transcribe(media, of_sound, context, deadline)
        except InvalidFile as error:
            raise InvalidFile(
                f"The video's audio track cannot be transcribed; leave out include_audio, subtitles and speakers to "
                f"have only its frames described. {error}"
            ) from error
    speech: list[tuple[float, float]] = []
    for segment in transcript.segments:
        speech += [(word.start_s, word.end_s) for word in segment.words]
        # A segment may end later than its last word: its speech goes on until then.
        speech.append((segment.words[-1].start_s if segment.words else segment.start_s, segment.end_s))
    return await audio.to_analysis(transcript, of_sound, context, stopwatch, video.cuts_s), speech


def _descriptions_vtt(
    video: SampledVideo, outcomes: Sequence[Caption | FrameFailure], speech: Sequence[tuple[float, float]]
) -> str:
    frames = [
        (frame.timestamp_s, outcome.text)
        for frame, outcome in zip(video.frames, outcomes, strict=True)
        if isinstance(outcome, Caption)
    ]
    return to_vtt(description_cues(frames, speech, video.properties.duration_s, video.cuts_s))


async def _run_together(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """Return the results in order. The first failure cancels the other work and is raised as it is, not in a group."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in work]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def _to_frame(frame: SampledFrame, outcome: Caption | FrameFailure, options: VideoOptions) -> Frame:
    return Frame(
        timestamp=round(frame.timestamp_s, 3) if options.include_timestamps else None,
        frame_number=frame.frame_number,
        description=outcome.text if isinstance(outcome, Caption) else "",
        error=outcome.message if isinstance(outcome, FrameFailure) else None,
    )


VIDEO = Modality(
    kind="video",
    summary="Describe frames of a video and summarize them",
    formats=FORMATS,
    options=VideoOptions,
    example_options={"num_frames": 5, "frame_sampling": "keyframes"},
    sample_options={"include_audio": "true"},
    limit_mb=lambda limits: limits.video_mb,
    analysis_type=VideoAnalysis,
    analyze=analyze,
    length=lambda options, num_bytes: "long",
    timeout_advice="Lower num_frames or max_length, leave out include_audio, send a shorter clip",
)
