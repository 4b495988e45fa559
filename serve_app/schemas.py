"""The bodies of all responses: the public contract, which `/openapi.json` shows."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from deployments.captioner.types import Reused
from deployments.model_loader import State
from deployments.transcriber.types import Decoding, SuspectReason
from serve_app.system import DeploymentState

# A field that a response may leave out is None here, but never null in the JSON (`body_of`), so its schema has no null.
OptionalFloat = float | SkipJsonSchema[None]

Milliseconds = Annotated[int, Field(description="Milliseconds of work, without upload and queue.", examples=[1250])]
Confidence = Annotated[float, Field(ge=0, le=1, examples=[0.92])]
Warnings = Annotated[
    list[str] | SkipJsonSchema[None],
    Field(
        description="Only if part of the file could not be read, because the file breaks off or is damaged: "
        "sentences that say what is missing from the response.",
        examples=[["The file breaks off: its sound ends after 12.3 of 30.0 seconds."]],
    ),
]


def utc_now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Timestamp = Annotated[
    str,
    Field(
        description="When the response was made, in UTC.",
        examples=["2025-10-17T12:34:56Z"],
        json_schema_extra={"format": "date-time"},
    ),
]


def _require_fields_without_none(schema: dict[str, Any], model: type[BaseModel]) -> None:
    schema["required"] = [name for name, field in model.model_fields.items() if field.default is not None]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra=_require_fields_without_none)


class _SuccessBody(_Body):
    success: Literal[True] = True
    timestamp: Timestamp = Field(default_factory=utc_now)


class ImageMetadata(_Body):
    processing_time_ms: Milliseconds
    model: str = Field(examples=["moondream2"])
    image_size: tuple[int, int] = Field(description="Width and height, upright.", examples=[[1920, 1080]])
    finish_reason: Literal["stop", "length"] = Field(description="`length`: the text was cut off at `max_length`.")
    reused: Reused = Field(
        description="What was reused from an earlier request on the same image: `nothing`, the encoded `image`, or "
        "the whole `answer` to the same prompt and options."
    )
    prompt_tokens: int = Field(description="Tokens that the model read: of the image and of the prompt.")
    generated_tokens: int = Field(description="Tokens that the model wrote, without the one that ends the text.")


class ImageAnalysis(_SuccessBody):
    type: Literal["image"] = "image"
    description: str = Field(examples=["A brown dog sleeps on a blue sofa."])
    metadata: ImageMetadata


Speaker = Annotated[
    str | SkipJsonSchema[None],
    Field(
        description="With `speakers` only: `S1` for who speaks first, `S2` for who speaks next, and so on.",
        examples=["S1"],
    ),
]


class Word(_Body):
    word: str
    start: float = Field(description="Seconds.")
    end: float = Field(description="Seconds.")
    confidence: Confidence
    speaker: Speaker = None


class Segment(_Body):
    start: OptionalFloat = Field(None, description="Seconds; left out with `include_timestamps: false`.")
    end: OptionalFloat = Field(None, description="Seconds; left out with `include_timestamps: false`.")
    text: str
    language: str = Field(
        description="Whisper's code of the language in which this is said, or the requested one.", examples=["en"]
    )
    confidence: Confidence
    words: list[Word] | SkipJsonSchema[None] = Field(None, description="With `word_level_timestamps` only.")
    suspect: SuspectReason | SkipJsonSchema[None] = Field(
        None,
        description="Only if the text may be invented, and why: it repeats itself (`repetition`), the model found "
        "no speech (`no_speech`), or it gave the text a low probability (`low_probability`).",
    )
    speaker: Speaker = None
    decoding: Annotated[Decoding | None, SkipJsonSchema()] = Field(None, exclude=True)
    """Only for routes that show it in another form."""


class Subtitles(_Body):
    srt: str = Field(
        description="The content of an SRT file.", examples=["1\n00:00:00,000 --> 00:00:01,500\nHello there.\n\n"]
    )
    vtt: str = Field(
        description="The content of a WebVTT file.",
        examples=["WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello there.\n\n"],
    )


class SoundTrack(_Body):
    number: int = Field(description="From 1, in the file's order.")
    language: str | SkipJsonSchema[None] = Field(None, description="As the file names it.", examples=["eng"])
    title: str | SkipJsonSchema[None] = Field(None, description="As the file names it.", examples=["Commentary"])
    codec: str | SkipJsonSchema[None] = Field(
        None, description="Left out if it cannot be decoded here.", examples=["aac"]
    )
    channels: int = Field(examples=[2])
    is_default: bool


class AudioMetadata(_Body):
    duration_seconds: float = Field(description="Of the audio that could be decoded.", examples=[45.2])
    processing_time_ms: Milliseconds
    model: str = Field(examples=["whisper-base"])
    track: int | SkipJsonSchema[None] = Field(
        None, description="Only if the file has several sound tracks: the number of the transcribed one.", examples=[1]
    )
    tracks: list[SoundTrack] | SkipJsonSchema[None] = Field(
        None, description="Only if the file has several sound tracks: all of them."
    )
    warnings: Warnings = None


class AudioAnalysis(_SuccessBody):
    type: Literal["audio"] = "audio"
    transcription: str = Field(description="Empty if nobody speaks.", examples=["Hello, this is a test."])
    language: str = Field(
        description="Whisper's code of the requested language, or of that in which most is said; `und` if none was "
        "requested and nobody speaks.",
        examples=["en"],
    )
    confidence: Confidence = Field(
        description="Mean of the segments' confidence, weighted by duration; 0.0 without segments."
    )
    segments: list[Segment]
    subtitles: Subtitles | SkipJsonSchema[None] = Field(None, description="With `subtitles` only.")
    metadata: AudioMetadata


class VideoMetadata(_Body):
    duration_seconds: float = Field(examples=[30.5])
    fps: float = Field(examples=[30.0])
    resolution: tuple[int, int] = Field(description="Width and height, upright.", examples=[[1920, 1080]])
    total_frames: int = Field(examples=[915])
    model: str = Field(examples=["moondream2"])
    reused_frames: int = Field(description="Frames whose description was reused from an earlier request.", examples=[0])


class Frame(_Body):
    timestamp: OptionalFloat = Field(None, description="Seconds; left out with `include_timestamps: false`.")
    frame_number: int = Field(description="In presentation order, from 0.")
    description: str = Field(description="Empty if the frame failed.")
    error: str | SkipJsonSchema[None] = Field(None, description="Why the frame failed; only present if it did.")


class VideoAnalysis(_SuccessBody):
    type: Literal["video"] = "video"
    metadata: VideoMetadata
    frames: list[Frame] = Field(description="In time order.")
    summary: str
    transcript: AudioAnalysis | SkipJsonSchema[None] = Field(
        None, description="With `include_audio` or `subtitles` only."
    )
    descriptions_vtt: str | SkipJsonSchema[None] = Field(
        None,
        description="With `subtitles` only: the content of a WebVTT file of kind `descriptions`. It has the frames' "
        "descriptions at times when nobody speaks, so it leaves out those for which there is no silence.",
        examples=["WEBVTT\n\n00:00:04.000 --> 00:00:06.400\nA brown dog sleeps on a blue sofa.\n\n"],
    )
    processing_time_ms: Milliseconds


Analysis = ImageAnalysis | VideoAnalysis | AudioAnalysis
"""What a modality answers. A modality of a new type belongs here, for the batch."""


class ErrorDetail(_Body):
    code: str = Field(examples=["INVALID_FILE_TYPE"])
    message: str = Field(description="What is wrong and what to do, for a person to read.")


class ErrorBody(_Body):
    success: Literal[False] = False
    error: ErrorDetail
    timestamp: Timestamp = Field(default_factory=utc_now)


class BatchResult(_Body):
    file_index: int
    result: Analysis | ErrorBody = Field(
        description="What the file's own route would have returned, a success or an error."
    )


class BatchAnalysis(_SuccessBody):
    results: list[BatchResult] = Field(description="One for each file, in the same order.")
    total_processing_time_ms: Milliseconds


class ModelReport(_Body):
    name: str = Field(examples=["moondream2"])
    state: State
    detail: str = Field(
        description="While loading, the progress; after a failure, the reason and what to do; for a miniature, and "
        "without a language model, a note; else empty."
    )
    revision: str | None
    load_seconds: float | None
    threads: int | None
    weight_bytes: int | None
    is_miniature: bool = Field(
        description="Whether it is a small model that comes with the project, for trying and testing."
    )


class DeploymentReport(_Body):
    name: str = Field(examples=["Captioner"])
    state: DeploymentState = Field(
        description="`failing`: it cannot be started or keeps crashing; requests that need it are refused with 503."
    )
    deaths: int = Field(description="How often its process has ended unexpectedly since the server was started.")
    detail: str = Field(
        description="When and why it ended the last time, and before that, if its work goes on after its deadline and "
        "cannot be stopped; else empty."
    )


class SystemInfo(_Body):
    memory_usage_mb: float = Field(description="Of all processes of the app.", examples=[3200.0])
    available_memory_mb: float = Field(examples=[12800.0])
    cpu_usage_percent: float = Field(examples=[45.0])


class QueueReport(_Body):
    requests: int = Field(description="Analyses that wait for work or are worked on.", examples=[1])
    places: int = Field(description="How many there may be; one more is answered `SERVER_BUSY`.", examples=[18])


class Health(_SuccessBody):
    status: Literal["healthy", "loading", "degraded"] = Field(
        description="`degraded`: a model failed to load, a deployment keeps crashing, or a miniature is serving."
    )
    models_loaded: bool
    models: list[ModelReport]
    deployments: list[DeploymentReport]
    available_endpoints: list[str]
    queue: QueueReport
    system_info: SystemInfo
    usage_stats_enabled: bool = Field(
        description="Whether Ray's usage statistics are on; `prism serve` turns them off."
    )


class Probe(_SuccessBody):
    status: Literal["alive", "ready"]


def body_of(response: _Body) -> dict[str, Any]:
    """Return the JSON of a response, without the fields that are None."""
    return response.model_dump(mode="json", exclude_none=True)
