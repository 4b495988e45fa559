"""What a client may ask of each route, and how it is read from flat fields and from the `options` object."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from deployments.errors import InvalidRequest
from deployments.frame_sampler.types import FrameSampling
from deployments.transcriber.languages import LANGUAGES
from serve_app.json_body import MAX_TEXT_BYTES, LongText

DEFAULT_PROMPT = "Describe this image in detail"
"""The PRD's default: as good as none, so it gets the model's own caption template."""

O = TypeVar("O", bound="_Options")  # noqa: E741


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _is_language(language: str) -> str:
    if language != "auto" and language not in LANGUAGES:
        raise ValueError("must be 'auto' or a Whisper language code, such as 'en', 'es' or 'fr'")
    return language


Prompt = Annotated[
    str,
    Field(
        description="A question or an instruction about the picture. Without one it is captioned.",
        examples=["What is in this image?"],
    ),
]
MaxLength = Annotated[int, Field(ge=1, le=1024, description="The most new tokens the model may write.", examples=[200])]


class ImageOptions(_Options):
    prompt: Prompt = ""
    max_length: MaxLength = 200


class VideoOptions(_Options):
    prompt: Prompt = ""
    max_length: MaxLength = 200
    num_frames: int = Field(5, ge=1, le=32, description="Frames to describe; a short video may have fewer.")
    include_timestamps: bool = Field(True, description="Give each frame its `timestamp`.")
    frame_sampling: FrameSampling = Field(
        "uniform", description="`uniform`: evenly spaced in time. `keyframes`: one of each visually distinct scene."
    )
    include_audio: bool = Field(False, description="Add `transcript`, what is said in the video.")


class AudioOptions(_Options):
    language: Annotated[str, AfterValidator(_is_language)] = Field(
        "auto", description="`auto` to detect it, or a Whisper language code.", examples=["auto", "en"]
    )
    include_timestamps: bool = Field(True, description="Give each segment its `start` and `end`.")
    word_level_timestamps: bool = Field(
        False, description="Give each segment its `words` with their times; needs `include_timestamps`."
    )


class BatchOptions(_Options):
    parallel: bool = Field(False, description="Work on two files at once; by default one after another.")


def question_of(prompt: str) -> str | None:
    """Return what to ask the model, None where it is to caption."""
    return None if prompt in ("", DEFAULT_PROMPT) else prompt


def parse_options(model: type[O], flat: Mapping[str, Any], nested: Any, *, flat_is_text: bool) -> O:
    """Return the options given as flat fields and in `nested`, the `options` object (None if there is none).

    An empty text and null mean "not given". Text of a form is read as a number or a truth value where one belongs;
    JSON must have the right type. Raises InvalidRequest naming the field, also for an option given twice with
    different values.
    """
    if nested is not None and not isinstance(nested, dict):
        raise InvalidRequest("Field 'options' must be a JSON object, such as {\"max_length\": 100}.")
    from_fields = _validate(model, flat, prefix="", strict=not flat_is_text)
    from_object = _validate(model, nested or {}, prefix="options.", strict=True)
    for name in from_fields.model_fields_set & from_object.model_fields_set:
        if getattr(from_fields, name) != getattr(from_object, name):
            raise InvalidRequest(f"Option '{name}' is given twice, as a field and in 'options', with different values.")
    given = {name: getattr(from_fields, name) for name in from_fields.model_fields_set}
    return from_object.model_copy(update=given)


def _validate(model: type[O], values: Mapping[str, Any], *, prefix: str, strict: bool) -> O:
    stripped = {name: value.strip() if isinstance(value, str) else value for name, value in values.items()}
    given = {name: value for name, value in stripped.items() if value is not None and value != ""}
    for name, value in given.items():
        if isinstance(value, LongText):
            raise InvalidRequest(f"Option '{prefix}{_shorten(name)}' is longer than {MAX_TEXT_BYTES} bytes.")
    try:
        return model.model_validate(given, strict=strict)
    except ValidationError as error:
        raise InvalidRequest(" ".join(_sentence(model, prefix, problem) for problem in error.errors())) from None


def _sentence(model: type[BaseModel], prefix: str, problem: Mapping[str, Any]) -> str:
    name = prefix + ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"Unknown option '{_shorten(name)}'; this route has {', '.join(model.model_fields)}."
    reason = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"Option '{name}' {reason}, not {_shorten(repr(problem['input']))}."


def _shorten(text: str, max_chars: int = 60) -> str:
    return text if len(text) <= max_chars else text[: max_chars - 3] + "..."
