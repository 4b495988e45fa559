"""`POST /v1/audio/transcriptions` and `/v1/audio/translations`."""

from typing import Any, Literal, TypeVar

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from deployments.transcriber.languages import LANGUAGE_NAMES
from serve_app.analysis import analyze_upload
from serve_app.modalities.audio import AUDIO, MAX_PROMPT_CHARS, Language
from serve_app.openapi import describe_openai_audio, openai_error_responses
from serve_app.options import Options, parse_form_options
from serve_app.request_info import client_address, context_of
from serve_app.routes.openai.invalid import invalid
from serve_app.routes.openai.models import model_field, require_model
from serve_app.routes.openai.schemas import (
    DurationUsage,
    TranscribedSegment,
    TranscribedWord,
    Transcription,
    VerboseTranscription,
)
from serve_app.schemas import AudioAnalysis, Segment
from serve_app.uploads import Upload, read_form

router = APIRouter()

ResponseFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]


class TranslationOptions(Options):
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


class TranscriptionOptions(TranslationOptions):
    language: Language = "auto"
    timestamp_granularities: list[Literal["word", "segment"]] = Field(
        [],
        alias="timestamp_granularities[]",
        description="With `verbose_json` only: `word`, `segment` or both, each as a field of its own.",
    )
    chunking_strategy: Literal["auto"] = Field(
        "auto", description="The recording is always divided where nobody speaks."
    )


_SRT = "1\n00:00:00,000 --> 00:00:01,500\nHello there.\n\n"
_JSON = {"text": "Hello there.", "usage": {"type": "duration", "seconds": 1.5}}
TRANSCRIPTIONS: dict[str, Any] = {
    "description": "In the form that `response_format` asks for.",
    "content": {
        "application/json": {"examples": {"json": {"value": _JSON}}},
        "text/plain": {"schema": {"type": "string"}, "examples": {"srt": {"value": _SRT}}},
    },
}

FormOptions = TypeVar("FormOptions", bound=TranslationOptions)


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


async def _transcribe(request: Request, options_type: type[TranslationOptions]) -> Response:
    context = context_of(request)
    deadline = context.deadline()
    max_file_bytes = AUDIO.max_file_bytes(context.settings.limits)
    with (
        context.explain_timeouts(AUDIO.timeout_advice),
        context.admission.admit(client_address(request), AUDIO.kind, deadline) as admitted,
    ):
        upload = await read_form(request, "file", max_file_bytes, admitted, deadline)
        options = _read_options(options_type, upload)
        require_model(options.model, "transcription", context.settings)
        uploads = [Upload(upload.media, _plain_options(options), None, is_form=False)]
        del upload
        # The list does not keep the upload, so that analyze_upload can free it once its media is shared.
        analysis = await analyze_upload(uploads.pop(), AUDIO, context, admitted, deadline)
    assert isinstance(analysis, AudioAnalysis)
    return _response(analysis, options)


def _read_options(options_type: type[FormOptions], upload: Upload) -> FormOptions:
    """Return the options of a form; raises InvalidRequest."""
    if upload.options is not None:
        raise invalid("options", "There is no field 'options' here; send each option as a field of its own.")
    options = parse_form_options(options_type, upload.fields)
    if _granularities(options) and options.response_format != "verbose_json":
        raise invalid(
            "timestamp_granularities[]", "Send response_format=verbose_json, the only one with timestamp_granularities."
        )
    return options


def _plain_options(options: TranslationOptions) -> dict[str, Any]:
    """Return the options of `POST /api/analyze/audio` that mean the same."""
    return {
        "language": options.language if isinstance(options, TranscriptionOptions) else "auto",
        "translate": not isinstance(options, TranscriptionOptions),
        "prompt": options.prompt,
        "word_level_timestamps": "word" in _granularities(options),
        "subtitles": options.response_format in ("srt", "vtt"),
    }


def _granularities(options: TranslationOptions) -> list[Literal["word", "segment"]]:
    return options.timestamp_granularities if isinstance(options, TranscriptionOptions) else []


def _response(analysis: AudioAnalysis, options: TranslationOptions) -> Response:
    if options.response_format == "text":
        return PlainTextResponse(f"{analysis.transcription}\n")
    if analysis.subtitles is not None:
        subtitles = analysis.subtitles
        return PlainTextResponse(subtitles.srt if options.response_format == "srt" else subtitles.vtt)
    if options.response_format == "verbose_json":
        return JSONResponse(_verbose(analysis, options).model_dump(mode="json", exclude_none=True))
    return JSONResponse(Transcription(text=analysis.transcription, usage=_usage(analysis)).model_dump(mode="json"))


def _verbose(analysis: AudioAnalysis, options: TranslationOptions) -> VerboseTranscription:
    granularities = _granularities(options) or ["segment"]
    segments = [_segment(number, segment) for number, segment in enumerate(analysis.segments)]
    words = [
        TranscribedWord(word=word.word.strip(), start=word.start, end=word.end)
        for segment in analysis.segments
        for word in segment.words or []
    ]
    return VerboseTranscription(
        task="transcribe" if isinstance(options, TranscriptionOptions) else "translate",
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
