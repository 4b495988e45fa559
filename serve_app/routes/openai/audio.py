"""`POST /v1/audio/transcriptions` and `/v1/audio/translations`."""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from deployments.transcriber.languages import LANGUAGE_NAMES
from serve_app.admission import AdmittedRequest
from serve_app.live import Event
from serve_app.modalities.audio import AUDIO, MAX_PROMPT_CHARS, Language
from serve_app.openapi import describe_openai_audio, openai_error_responses
from serve_app.options import Options, parse_form_options
from serve_app.request_info import context_of
from serve_app.routes.openai.invalid import invalid
from serve_app.routes.openai.models import model_field, require_model
from serve_app.routes.openai.schemas import (
    DurationUsage,
    TranscribedSegment,
    TranscribedWord,
    Transcription,
    VerboseTranscription,
)
from serve_app.routes.openai.streaming import Reading, analysis_of, start_analysis, stream_parts
from serve_app.schemas import AudioAnalysis, Segment
from serve_app.server_sent_events import format_event
from serve_app.uploads import Upload, read_form

router = APIRouter()

ResponseFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]
Granularity = Literal["word", "segment"]


_WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u31f0-\u31ff\u3400-\u9fff\uff00-\uffef]"
)
"""Thai to Myanmar, Khmer, Chinese and Japanese with their punctuation."""


class RecordingOptions(Options):
    """What both routes take."""

    model: str = model_field("transcription")
    prompt: str = Field(
        "",
        max_length=MAX_PROMPT_CHARS,
        description="A text as if said before the recording: the transcript follows its spelling and style. Up to "
        "about 150 words.",
    )
    response_format: ResponseFormat = "json"
    temperature: float = Field(
        0,
        ge=0,
        le=1,
        description="Accepted, but every value has the effect of 0: the most probable text, and other ones only where "
        "that repeats itself or is improbable.",
    )

    task: ClassVar[Literal["transcribe", "translate"]]

    @property
    def spoken_language(self) -> str:
        return "auto"

    @property
    def granularities(self) -> Sequence[Granularity]:
        return ()

    @property
    def is_streamed(self) -> bool:
        return False


class TranslationOptions(RecordingOptions):
    task = "translate"


class TranscriptionOptions(RecordingOptions):
    task = "transcribe"

    language: Language = "auto"
    timestamp_granularities: list[Granularity] = Field(
        [],
        alias="timestamp_granularities[]",
        max_length=2,
        description="With `verbose_json` only: `word`, `segment` or both, each as a field of its own.",
    )
    stream: bool = Field(
        False,
        description="With `json` and `text`: send the text segment by segment, as server-sent events "
        "`transcript.text.delta` and at last `transcript.text.done`.",
    )
    chunking_strategy: Literal["auto"] = Field(
        "auto", description="The recording is always divided where nobody speaks."
    )

    @property
    def spoken_language(self) -> str:
        return self.language

    @property
    def granularities(self) -> Sequence[Granularity]:
        return self.timestamp_granularities

    @property
    def is_streamed(self) -> bool:
        return self.stream


_SRT = "1\n00:00:00,000 --> 00:00:01,500\nHello there.\n\n"
_JSON = {"text": "Hello there.", "usage": {"type": "duration", "seconds": 1.5}}
_STREAM = (
    'data: {"type": "transcript.text.delta", "delta": "Hello there."}\n\n'
    'data: {"type": "transcript.text.done", "text": "Hello there.", "usage": {"type": "duration", "seconds": 1.5}}\n\n'
)
TRANSCRIPTIONS: dict[str, Any] = {
    "description": "In the form that `response_format` asks for.",
    "content": {
        "application/json": {"examples": {"json": {"value": _JSON}}},
        "text/event-stream": {"schema": {"type": "string"}, "examples": {"stream": {"value": _STREAM}}},
        "text/plain": {"schema": {"type": "string"}, "examples": {"srt": {"value": _SRT}}},
    },
}


@router.post(
    "/v1/audio/transcriptions",
    summary="Transcribe a recording",
    response_model=Transcription | VerboseTranscription,
    responses={200: TRANSCRIPTIONS, **openai_error_responses()},
    openapi_extra=describe_openai_audio(TranscriptionOptions),
)
async def transcriptions(request: Request) -> Response:
    """`json` and `verbose_json` are answered in JSON, `text`, `srt` and `vtt` as text."""
    return await _transcribe(request, TranscriptionOptions)


@router.post(
    "/v1/audio/translations",
    summary="Transcribe a recording in English, whatever is spoken",
    response_model=Transcription | VerboseTranscription,
    responses={200: TRANSCRIPTIONS, **openai_error_responses()},
    openapi_extra=describe_openai_audio(TranslationOptions),
)
async def translations(request: Request) -> Response:
    """`json` and `verbose_json` are answered in JSON, `text`, `srt` and `vtt` as text."""
    return await _transcribe(request, TranslationOptions)


async def _transcribe(request: Request, options_type: type[RecordingOptions]) -> Response:
    read = partial(_read, request, options_type)
    reading, events = await start_analysis(request, AUDIO, AUDIO.timeout_advice, read)
    if reading.stream:
        return await stream_parts(events, "segment", _Deltas().parts, request)
    analysis = await analysis_of(events)
    assert isinstance(analysis, AudioAnalysis)
    return _response(analysis, reading.options)


async def _read(
    request: Request, options_type: type[RecordingOptions], admitted: AdmittedRequest, deadline: float
) -> Reading[RecordingOptions]:
    settings = context_of(request).settings
    upload = await read_form(request, "file", AUDIO.max_file_bytes(settings.limits), admitted, deadline)
    if upload.options is not None:
        raise invalid("options", "There is no field 'options' here; send each option as a field of its own.")
    options = parse_form_options(options_type, upload.fields)
    require_model(options.model, "transcription", settings)
    if options.granularities and options.response_format != "verbose_json":
        raise invalid(
            "timestamp_granularities[]", "Send response_format=verbose_json, the only one with timestamp_granularities."
        )
    if options.is_streamed and options.response_format not in ("json", "text"):
        raise invalid("stream", "A transcript is streamed as text: send response_format=json, or leave out 'stream'.")
    return Reading(options, options.is_streamed, [Upload(upload.media, _plain_options(options), None, is_form=False)])


def _plain_options(options: RecordingOptions) -> dict[str, Any]:
    """Return the options of `POST /api/analyze/audio` that mean the same."""
    return {
        "language": options.spoken_language,
        "translate": options.task == "translate",
        "prompt": options.prompt,
        "word_level_timestamps": "word" in options.granularities,
        "subtitles": options.response_format in ("srt", "vtt"),
    }


class _Deltas:
    """What is sent for the events of a transcript."""

    def __init__(self) -> None:
        self._text = ""

    def parts(self, event: Event) -> Iterator[str]:
        name, data = event
        if name == "segment":
            text = data["segment"]["text"]
            delta = f"{_space_between(self._text, text)}{text}"
            self._text += delta
            yield format_event({"type": "transcript.text.delta", "delta": delta})
        else:
            analysis: AudioAnalysis = data["analysis"]
            usage = _usage(analysis).model_dump()
            yield format_event({"type": "transcript.text.done", "text": analysis.transcription, "usage": usage})


def _space_between(before: str, after: str) -> str:
    """Return what is between two segments: nothing at the beginning, and in scripts that are written without spaces."""
    return "" if not before or _WITHOUT_SPACES.search(before[-1:] + after[:1]) else " "


def _response(analysis: AudioAnalysis, options: RecordingOptions) -> Response:
    if options.response_format == "text":
        return PlainTextResponse(f"{analysis.transcription}\n")
    if analysis.subtitles is not None:
        subtitles = analysis.subtitles
        return PlainTextResponse(subtitles.srt if options.response_format == "srt" else subtitles.vtt)
    if options.response_format == "verbose_json":
        return JSONResponse(_verbose(analysis, options).model_dump(mode="json", exclude_none=True))
    return JSONResponse(Transcription(text=analysis.transcription, usage=_usage(analysis)).model_dump(mode="json"))


def _verbose(analysis: AudioAnalysis, options: RecordingOptions) -> VerboseTranscription:
    granularities = options.granularities or ["segment"]
    segments = [_segment(number, segment) for number, segment in enumerate(analysis.segments)]
    words = [
        TranscribedWord(word=word.word.strip(), start=word.start, end=word.end)
        for segment in analysis.segments
        for word in segment.words or []
    ]
    return VerboseTranscription(
        task=options.task,
        language=LANGUAGE_NAMES.get(analysis.language, analysis.language).lower(),
        duration=analysis.metadata.duration_seconds,
        text=analysis.transcription,
        segments=segments if "segment" in granularities else None,
        words=words if "word" in granularities else None,
        usage=_usage(analysis),
    )


def _segment(number: int, segment: Segment) -> TranscribedSegment:
    decoding = segment.decoding
    assert decoding is not None
    assert segment.start is not None
    assert segment.end is not None
    return TranscribedSegment(
        id=number,
        seek=decoding.seek,
        start=segment.start,
        end=segment.end,
        text=segment.text,
        tokens=decoding.tokens,
        temperature=decoding.temperature,
        avg_logprob=decoding.avg_logprob,
        compression_ratio=decoding.compression_ratio,
        no_speech_prob=decoding.no_speech_prob,
    )


def _usage(analysis: AudioAnalysis) -> DurationUsage:
    return DurationUsage(seconds=analysis.metadata.duration_seconds)
