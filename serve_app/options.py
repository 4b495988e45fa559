"""Reads the options of a request from flat fields and from the `options` object.

Each modality declares its options in its own module; `Prompt` and `MaxLength` are here because two of them have these.
"""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deployments.errors import InvalidRequest
from serve_app.json_body import MAX_TEXT_BYTES, LongString

DEFAULT_PROMPT = "Describe this image in detail"
"""The PRD's default prompt. It is treated as no prompt, so the model's own caption template is used."""

OptionsT = TypeVar("OptionsT", bound="Options")


class Options(BaseModel):
    """Base of the options of a route; an unknown option is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Prompt = Annotated[
    str,
    Field(
        description="A question or an instruction about the image. Without one it is captioned.",
        examples=["What is in this image?"],
    ),
]
MaxLength = Annotated[int, Field(ge=1, le=1024, description="The most new tokens the model may write.", examples=[200])]


def question_of(prompt: str) -> str | None:
    """Return the question to ask the model, or None where it should write a caption."""
    return None if prompt in ("", DEFAULT_PROMPT) else prompt


def parse_options(model: type[OptionsT], flat: Mapping[str, Any], nested: Any, *, flat_is_text: bool) -> OptionsT:
    """Return the options given as flat fields and in `nested`, the `options` object (None if there is none).

    An empty string and null mean "not given". With `flat_is_text`, flat fields come from a form, so their text is
    converted to a number or boolean; JSON must have the right type. Raises InvalidRequest naming the field, also for an
    option given twice with different values.
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


def parse_json_options(model: type[OptionsT], body: Mapping[str, Any]) -> OptionsT:
    """Return the options in a JSON object that has nothing else; raises InvalidRequest naming the field."""
    return _validate(model, body, prefix="", strict=True)


def parse_form_options(model: type[OptionsT], fields: Mapping[str, Any]) -> OptionsT:
    """Return the options in the fields of a form, as text; raises InvalidRequest naming the field."""
    return _validate(model, fields, prefix="", strict=False)


def _validate(model: type[OptionsT], values: Mapping[str, Any], *, prefix: str, strict: bool) -> OptionsT:
    stripped = {name: value.strip() if isinstance(value, str) else value for name, value in values.items()}
    given = {name: _integral(value) for name, value in stripped.items() if value is not None and value != ""}
    for name, value in given.items():
        if isinstance(value, LongString):
            raise InvalidRequest(f"Option '{prefix}{_shorten(name)}' is longer than {MAX_TEXT_BYTES} bytes.")
    try:
        return model.model_validate(given, strict=strict)
    except ValidationError as error:
        problems = error.errors()
        invalid = InvalidRequest(" ".join(_describe_problem(model, prefix, problem) for problem in problems))
        invalid.param = ".".join(str(part) for part in problems[0]["loc"])
        raise invalid from None


def _integral(value: Any) -> Any:
    """Return the integer that a number such as 14.0 is: JSON has no other kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _describe_problem(model: type[BaseModel], prefix: str, problem: Mapping[str, Any]) -> str:
    name = prefix + ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        names = [field.alias or own_name for own_name, field in model.model_fields.items()]
        return f"Unknown option '{_shorten(name)}'; this route has {', '.join(names)}."
    if problem["type"] == "missing":
        return f"Option '{name}' is missing."
    reason = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"Option '{name}' {reason}, not {_shorten(repr(problem['input']))}."


def _shorten(text: str, max_chars: int = 60) -> str:
    return text if len(text) <= max_chars else text[: max_chars - 3] + "..."
