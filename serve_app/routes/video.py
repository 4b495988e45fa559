"""`POST /api/analyze/video`."""

import asyncio
import math
import time
from collections.abc import Coroutine
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse

from deployments.captioner.types import Caption, CaptionTask, FrameFailure
from deployments.errors import DeadlineExceeded, InvalidFile, ProcessingFailed
from deployments.frame_sampler.types import SampledFrame, SampledVideo, SampleTask
from deployments.media import Media
from serve_app.analysis import Edge, Modality, answer, milliseconds_since
from serve_app.openapi import describe_upload, error_responses
from serve_app.options import AudioOptions, VideoOptions, question_of
from serve_app.routes import audio
from serve_app.schemas import AudioAnalysis, Frame, VideoAnalysis, VideoMetadata

router = APIRouter()

FRAMES_PER_CALL = 5
"""Frames decoded together share each pass over the weights; a deadline or a lost replica costs only these. One call at
a time: a second would gain nothing on the same cores, and would keep another client from the captioner."""
SUMMARY_MAX_NEW_TOKENS = 200
"""A paragraph, whatever the number of frames."""


async def analyze(media: Media, options: VideoOptions, edge: Edge, deadline: float) -> VideoAnalysis:
    """Return the analysis; a video without a sound track has the transcript of silence."""
    started = time.monotonic()
    task = SampleTask(options.num_frames, options.frame_sampling)
    video = await edge.services.frame_sampler.sample(media, task, deadline)
    narration = _narrate(video, options, edge, deadline)
    if options.include_audio:
        (outcomes, summary), transcript = await _together(narration, _transcribe(media, video, edge, deadline))
    else:
        (outcomes, summary), transcript = await narration, None
    return VideoAnalysis(
        metadata=VideoMetadata(
            duration_seconds=round(video.metadata.duration_s, 3),
            fps=round(video.metadata.fps, 3),
            resolution=(video.metadata.width, video.metadata.height),
            total_frames=video.metadata.total_frames,
            model=edge.settings.captioner.name,
            reused_frames=sum(isinstance(told, Caption) and told.reused == "answer" for told in outcomes),
        ),
        frames=[_shape(*pair, options) for pair in zip(video.frames, outcomes, strict=True)],
        summary=summary,
        transcript=transcript,
        processing_time_ms=milliseconds_since(started),
    )


async def _narrate(
    video: SampledVideo, options: VideoOptions, edge: Edge, deadline: float
) -> tuple[list[Caption | FrameFailure], str]:
    """Return one outcome for each frame, in order, and the summary of those that succeeded."""
    captioner = edge.services.captioner
    outcomes = await _caption(video.frames, options, edge, deadline)
    descriptions = [outcome.text for outcome in outcomes if isinstance(outcome, Caption)]
    if not descriptions:
        reasons = {outcome.message for outcome in outcomes if isinstance(outcome, FrameFailure)}
        raise ProcessingFailed(f"None of the {len(outcomes)} frames could be described: {' '.join(sorted(reasons))}")
    if edge.settings.serving.video_summary == "join":
        return outcomes, " ".join(descriptions)
    try:
        summary = await captioner.summarize(descriptions, SUMMARY_MAX_NEW_TOKENS, deadline)
    except DeadlineExceeded:
        raise DeadlineExceeded(f"captioned all {len(outcomes)} frames, but the summary was not finished") from None
    return outcomes, summary.text


async def _caption(
    frames: list[SampledFrame], options: VideoOptions, edge: Edge, deadline: float
) -> list[Caption | FrameFailure]:
    task = CaptionTask(options.max_length, "short", question_of(options.prompt))
    num_calls = math.ceil(len(frames) / FRAMES_PER_CALL)
    groups = [frames[len(frames) * k // num_calls : len(frames) * (k + 1) // num_calls] for k in range(num_calls)]
    outcomes: list[Caption | FrameFailure] = []
    for group in groups:
        try:
            outcomes += await edge.services.captioner.caption_frames([frame.pixels for frame in group], task, deadline)
        except ProcessingFailed as error:
            # What one group breaks on need not cost the others their descriptions.
            outcomes += [FrameFailure(str(error)) for _ in group]
        except DeadlineExceeded as error:
            rest = f" (of the next {len(group)}, {error})" if str(error) else ""
            raise DeadlineExceeded(f"captioned {len(outcomes)} of {len(frames)} frames{rest}") from None
    return outcomes


async def _transcribe(media: Media, video: SampledVideo, edge: Edge, deadline: float) -> AudioAnalysis:
    if not video.has_audio:
        return audio.analyze_silence(video.metadata.duration_s, edge)
    try:
        return await audio.analyze(media, AudioOptions(), edge, deadline)
    except InvalidFile as error:
        raise InvalidFile(
            f"The video's sound track cannot be transcribed; leave out include_audio to have only its pictures "
            f"described. {error}"
        ) from error


async def _together(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """Return the results in order; the first failure ends the others and is raised as it is, not in a group."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in work]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def _shape(frame: SampledFrame, outcome: Caption | FrameFailure, options: VideoOptions) -> Frame:
    return Frame(
        timestamp=round(frame.timestamp_s, 3) if options.include_timestamps else None,
        frame_number=frame.frame_number,
        description=outcome.text if isinstance(outcome, Caption) else "",
        error=outcome.message if isinstance(outcome, FrameFailure) else None,
    )


VIDEO = Modality(
    kind="video",
    options=VideoOptions,
    limit_mb=lambda limits: limits.video_mb,
    analyze=analyze,
    timeout_advice="Lower num_frames or max_length, leave out include_audio, send a shorter clip",
)


@router.post(
    "/api/analyze/video",
    summary="Describe frames of a video and sum them up",
    response_model=VideoAnalysis,
    responses=error_responses(),
    openapi_extra=describe_upload("video", VideoOptions, {"num_frames": 5, "frame_sampling": "keyframes"}),
)
async def analyze_video(request: Request) -> JSONResponse:
    return await answer(request, VIDEO)
