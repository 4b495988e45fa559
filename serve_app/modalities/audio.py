"""The analysis of audio files: a transcript."""

from typing import Annotated

from pydantic import AfterValidator, Field

from deployments.media import Media
from deployments.transcriber.languages import LANGUAGES
from deployments.transcriber.types import TranscribeTask, Transcript, TranscriptSegment
from serve_app.context import AppContext
from serve_app.graph import TRANSCRIBER
from serve_app.modalities.modality import FileFormat, Modality
from serve_app.options import Options
from serve_app.schemas import AudioAnalysis, AudioMetadata, Segment, Word
from serve_app.stopwatch import Stopwatch

FORMATS = (
    FileFormat("MP3", "an MP3 audio file", "audio/mpeg", (".mp3",)),
    FileFormat("WAV", "a WAV audio file", "audio/wav", (".wav",), riff_form=b"WAVE"),
    FileFormat("M4A", "an M4A audio file", "audio/mp4", (".m4a",)),
    FileFormat("FLAC", "a FLAC audio file", "audio/flac", (".flac",), (b"fLaC",)),
    FileFormat("OGG", "an OGG audio file", "audio/ogg", (".ogg", ".opus", ".oga")),
    FileFormat("AAC", "a raw AAC audio file", "audio/aac", (".aac",)),
    FileFormat("AIFF", "an AIFF audio file", "audio/aiff", (".aiff", ".aif", ".aifc")),
    FileFormat("AMR", "an AMR audio file", "audio/amr", (".amr", ".awb"), (b"#!AMR\n", b"#!AMR-WB\n")),
    FileFormat("WMA", "a WMA audio file", "audio/x-ms-wma", (".wma",)),
    FileFormat("WEBM", "a WebM file with audio only", "audio/webm", (".weba",)),
    FileFormat("MKA", "a Matroska file with audio only", "audio/x-matroska", (".mka",)),
)

MAX_SHORT_BYTES = 1024 * 1024
"""A larger recording may take long. This is a minute of MP3 at 128 kbit/s."""


def _check_language(language: str) -> str:
    if language != "auto" and language not in LANGUAGES:
        raise ValueError("must be 'auto' or a Whisper language code, such as 'en', 'es' or 'fr'")
    return language


class AudioOptions(Options):
    language: Annotated[str, AfterValidator(_check_language)] = Field(
        "auto",
        description="`auto` to detect it, or a Whisper language code.",
        examples=["auto", "en"],
        json_schema_extra={"enum": ["auto", *LANGUAGES]},
    )
    include_timestamps: bool = Field(True, description="Give each segment its `start` and `end`.")
    word_level_timestamps: bool = Field(
        False, description="Give each segment its `words` with their times; needs `include_timestamps`."
    )


async def analyze(media: Media, options: AudioOptions, context: AppContext, deadline: float) -> AudioAnalysis:
    stopwatch = Stopwatch()
    language = None if options.language == "auto" else options.language
    task = TranscribeTask(language, options.word_level_timestamps and options.include_timestamps)
    transcript = await context.service(TRANSCRIBER).transcribe(media, task, deadline=deadline)
    return _to_analysis(transcript, options, context, stopwatch.milliseconds())


def silent_analysis(duration_s: float, context: AppContext) -> AudioAnalysis:
    """Return the analysis of `duration_s` seconds of silence."""
    return _to_analysis(Transcript.empty(None, duration_s), AudioOptions(), context, 0)


def _to_analysis(
    transcript: Transcript, options: AudioOptions, context: AppContext, processing_time_ms: int
) -> AudioAnalysis:
    return AudioAnalysis(
        transcription=transcript.text,
        language=transcript.language,
        confidence=round(transcript.confidence, 4),
        segments=[_to_segment(segment, options) for segment in transcript.segments],
        metadata=AudioMetadata(
            duration_seconds=round(transcript.duration_s, 3),
            processing_time_ms=processing_time_ms,
            model=context.settings.transcriber.name,
            warnings=transcript.warnings or None,
        ),
    )


def _to_segment(segment: TranscriptSegment, options: AudioOptions) -> Segment:
    result = Segment(text=segment.text, confidence=round(segment.confidence, 4), suspect=segment.suspect)
    if options.include_timestamps:
        result.start, result.end = round(segment.start_s, 3), round(segment.end_s, 3)
    if options.include_timestamps and options.word_level_timestamps:
        result.words = [
            Word(
                word=word.word,
                start=round(word.start_s, 3),
                end=round(word.end_s, 3),
                confidence=round(word.confidence, 4),
            )
            for word in segment.words
        ]
    return result


AUDIO = Modality(
    kind="audio",
    summary="Transcribe an audio file",
    formats=FORMATS,
    options=AudioOptions,
    example_options={"language": "en", "word_level_timestamps": True},
    sample_options={},
    limit_mb=lambda limits: limits.audio_mb,
    analysis_type=AudioAnalysis,
    analyze=analyze,
    length=lambda options, num_bytes: "short" if num_bytes <= MAX_SHORT_BYTES else "long",
    timeout_advice="Send a shorter file, choose a smaller WHISPER_MODEL_SIZE",
)
