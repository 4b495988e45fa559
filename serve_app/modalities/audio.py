"""The analysis of audio files: a transcript."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from deployments.media import Media
from deployments.transcriber.languages import LANGUAGE_NAMES, language_code
from deployments.transcriber.protocol import TranscriberService
from deployments.transcriber.types import (
    AudioTrack,
    TranscribeTask,
    Transcript,
    TranscriptProgress,
    TranscriptSegment,
)
from serve_app.context import AppContext
from serve_app.graph import TRANSCRIBER
from serve_app.modalities.modality import FileFormat, Modality
from serve_app.options import Options
from serve_app.progress import Stage
from serve_app.schemas import AudioAnalysis, AudioMetadata, Segment, SoundTrack, Subtitles, Word, body_of
from serve_app.stopwatch import Stopwatch
from serve_app.subtitles import to_srt, to_vtt, transcript_cues

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


MAX_SPEAKERS = 16
MAX_PROMPT_CHARS = 2000
"""More than the tokens that the model takes; this bounds what is tokenized."""


def _read_language(language: str) -> str:
    if language.casefold() == "auto":
        return "auto"
    code = language_code(language)
    if code is None:
        raise ValueError("must be 'auto' or a language of Whisper, such as 'en', 'pt-BR' or 'German'")
    return code


Language = Annotated[
    str,
    AfterValidator(_read_language),
    Field(
        description="`auto` to detect it, or a language that Whisper knows: its code (`pt`), a tag with a region or "
        "script (`pt-BR`, `zh_Hant`) or its English name (`Portuguese`), in any case.",
        examples=["auto", "en"],
        json_schema_extra={
            "anyOf": [
                {"enum": ["auto", *LANGUAGE_NAMES, *LANGUAGE_NAMES.values()]},
                {"pattern": f"^({'|'.join(LANGUAGE_NAMES)})[-_][A-Za-z0-9_-]+$"},
            ]
        },
    ),
]
Track = Annotated[
    int | None,
    WithJsonSchema({"type": "integer", "minimum": 1}),  # a form has no null
    Field(
        ge=1,
        description="The number of the sound track, from 1, if the file has several; by default the first default one.",
    ),
]
NumSpeakers = Annotated[
    int | None,
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_SPEAKERS}),
    Field(ge=1, le=MAX_SPEAKERS, description="How many people speak, if that is known; implies `speakers`."),
]


class AudioOptions(Options):
    language: Language = "auto"
    translate: bool = Field(
        False,
        description="Give the text in English, whatever is spoken; `language` is still that of the speech. Times of "
        "words are then rough.",
    )
    prompt: str = Field(
        "",
        max_length=MAX_PROMPT_CHARS,
        description="A text as if said before the recording: the transcript follows its spelling, punctuation and "
        "style. Up to about 150 words, with `hotwords`.",
        examples=["Minutes of the board meeting with Dr. Nguyen."],
    )
    hotwords: str = Field(
        "",
        max_length=MAX_PROMPT_CHARS,
        description="Names and terms that may be said, separated by commas.",
        examples=["Kubernetes, Grafana, Nguyen"],
    )
    track: Track = None
    include_timestamps: bool = Field(True, description="Give each segment its `start` and `end`.")
    word_level_timestamps: bool = Field(
        False, description="Give each segment its `words` with their times; needs `include_timestamps`."
    )
    subtitles: bool = Field(False, description="Add `subtitles`: the transcript as SRT and as WebVTT.")
    speakers: bool = Field(
        False,
        description="Give each segment, and each of its `words`, its `speaker`. Segments then end where the speaker "
        "changes. The first such request fetches a model of 28 MB.",
    )
    num_speakers: NumSpeakers = None


async def analyze(media: Media, options: AudioOptions, context: AppContext, deadline: float) -> AudioAnalysis:
    stopwatch = Stopwatch()
    transcript = await transcribe(media, options, context, deadline)
    return await to_analysis(transcript, options, context, stopwatch)


async def transcribe(media: Media, options: AudioOptions, context: AppContext, deadline: float) -> Transcript:
    language = None if options.language == "auto" else options.language
    speakers = options.speakers or options.num_speakers is not None
    with_words = speakers or options.subtitles or options.word_level_timestamps and options.include_timestamps
    prompt = f"{options.hotwords} {options.prompt}".strip()
    task = TranscribeTask(
        language, with_words, options.translate, prompt, options.track, speakers, options.num_speakers
    )
    transcriber = context.service(TRANSCRIBER)
    if context.progress.is_live:
        return await _follow(transcriber, media, task, options, context, deadline)
    return await transcriber.transcribe(media, task, deadline=deadline)


async def _follow(
    transcriber: TranscriberService,
    media: Media,
    task: TranscribeTask,
    options: AudioOptions,
    context: AppContext,
    deadline: float,
) -> Transcript:
    """Return what `transcribe` does; each segment is sent as soon as it is final."""
    progress = context.progress
    model = context.settings.transcriber.name
    stages = [
        Stage("decode", "decoding sound", context.progress.num_megabytes),
        Stage("transcribe", f"{model}: transcribing a second", None),
    ]
    if task.speakers:
        stages.append(Stage("speakers", "telling speakers apart for a second", None))
    track = progress.track(*stages)
    num_sent = 0
    async with aclosing(transcriber.stream_transcript(media, task, deadline=deadline)) as items:
        async for item in items:
            if isinstance(item, TranscriptProgress):
                if item.duration_s is not None:
                    for stage in stages[1:]:
                        track.resize(stage.name, item.duration_s)
                track.advance(item.stage, item.fraction)
                new = item.segments[num_sent - item.first_segment :] if item.first_segment <= num_sent else []
            else:
                new = item.segments[num_sent:]
            for segment in new:
                progress.emit("segment", index=num_sent, segment=body_of(_to_segment(segment, options)))
                num_sent += 1
    assert isinstance(item, Transcript)
    track.done()
    return item


async def to_analysis(
    transcript: Transcript,
    options: AudioOptions,
    context: AppContext,
    stopwatch: Stopwatch,
    cuts_s: Sequence[float] = (),
) -> AudioAnalysis:
    """Return the analysis that has a transcript; `cuts_s` are those of the picture, which subtitles do not cross."""
    subtitles = None
    if options.subtitles:
        # Of an hour of speech, this takes half a second.
        cues = await asyncio.to_thread(transcript_cues, transcript.segments, cuts_s)
        subtitles = Subtitles(srt=to_srt(cues), vtt=to_vtt(cues))
    return AudioAnalysis(
        transcription=transcript.text,
        language=transcript.language,
        confidence=round(transcript.confidence, 4),
        segments=[_to_segment(segment, options) for segment in transcript.segments],
        subtitles=subtitles,
        metadata=AudioMetadata(
            duration_seconds=round(transcript.duration_s, 3),
            processing_time_ms=stopwatch.milliseconds(),
            model=context.settings.transcriber.name,
            track=transcript.track if len(transcript.tracks) > 1 else None,
            tracks=[_to_track(track) for track in transcript.tracks] if len(transcript.tracks) > 1 else None,
            warnings=transcript.warnings or None,
        ),
    )


def _to_track(track: AudioTrack) -> SoundTrack:
    return SoundTrack(
        number=track.number,
        language=track.language or None,
        title=track.title or None,
        codec=track.codec or None,
        channels=track.num_channels,
        is_default=track.is_default,
    )


def _to_segment(segment: TranscriptSegment, options: AudioOptions) -> Segment:
    result = Segment(
        text=segment.text,
        language=segment.language,
        confidence=round(segment.confidence, 4),
        suspect=segment.suspect,
        speaker=segment.speaker,
        decoding=segment.decoding,
    )
    if options.include_timestamps:
        result.start, result.end = round(segment.start_s, 3), round(segment.end_s, 3)
    if options.include_timestamps and options.word_level_timestamps:
        result.words = [
            Word(
                word=word.word,
                start=round(word.start_s, 3),
                end=round(word.end_s, 3),
                confidence=round(word.confidence, 4),
                speaker=word.speaker,
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
