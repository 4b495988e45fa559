"""`POST /api/analyze/audio`."""

import time

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse

from deployments.media import Media
from deployments.transcriber.types import Segment as TranscriptSegment
from deployments.transcriber.types import TranscribeTask, Transcript
from serve_app.analysis import Edge, Modality, answer, milliseconds_since
from serve_app.openapi import describe_upload, error_responses
from serve_app.options import AudioOptions
from serve_app.schemas import AudioAnalysis, AudioMetadata, Segment, Word

router = APIRouter()

UNDETERMINED = "und"
"""ISO 639-2 for a language that cannot be told."""


async def analyze(media: Media, options: AudioOptions, edge: Edge, deadline: float) -> AudioAnalysis:
    started = time.monotonic()
    language = None if options.language == "auto" else options.language
    with_words = options.word_level_timestamps and options.include_timestamps
    transcript = await edge.services.transcriber.transcribe(media, TranscribeTask(language, with_words), deadline)
    return _shape(transcript, options, edge, milliseconds_since(started))


def analyze_silence(duration_s: float, edge: Edge) -> AudioAnalysis:
    """Return the answer for `duration_s` seconds without any sound."""
    return _shape(Transcript("", UNDETERMINED, 0.0, [], duration_s), AudioOptions(), edge, 0)


def _shape(transcript: Transcript, options: AudioOptions, edge: Edge, processing_time_ms: int) -> AudioAnalysis:
    return AudioAnalysis(
        transcription=transcript.text,
        language=transcript.language,
        confidence=round(transcript.confidence, 4),
        segments=[_shape_segment(segment, options) for segment in transcript.segments],
        metadata=AudioMetadata(
            duration_seconds=round(transcript.duration_s, 3),
            processing_time_ms=processing_time_ms,
            model=edge.settings.transcriber.name,
            warnings=transcript.warnings or None,
        ),
    )


def _shape_segment(segment: TranscriptSegment, options: AudioOptions) -> Segment:
    shaped = Segment(text=segment.text, confidence=round(segment.confidence, 4), suspect=segment.suspect)
    if options.include_timestamps:
        shaped.start, shaped.end = round(segment.start_s, 3), round(segment.end_s, 3)
    if options.include_timestamps and options.word_level_timestamps:
        shaped.words = [
            Word(
                word=word.word,
                start=round(word.start_s, 3),
                end=round(word.end_s, 3),
                confidence=round(word.confidence, 4),
            )
            for word in segment.words
        ]
    return shaped


AUDIO = Modality(
    kind="audio",
    options=AudioOptions,
    limit_mb=lambda limits: limits.audio_mb,
    analyze=analyze,
    timeout_advice="Send a shorter recording, choose a smaller WHISPER_MODEL_SIZE",
)


@router.post(
    "/api/analyze/audio",
    summary="Transcribe a recording",
    response_model=AudioAnalysis,
    responses=error_responses(),
    openapi_extra=describe_upload("audio", AudioOptions, {"language": "en", "word_level_timestamps": True}),
)
async def analyze_audio(request: Request) -> JSONResponse:
    return await answer(request, AUDIO)
