from typing import Any

import pytest

from deployments.errors import InvalidRequest
from serve_app.json_body import LongString
from serve_app.modalities.audio import AudioOptions
from serve_app.modalities.image import ImageOptions
from serve_app.modalities.video import VideoOptions
from serve_app.options import parse_options, question_of


def in_form(model: Any, options: Any = None, **fields: str) -> Any:
    return parse_options(model, fields, options, flat_is_text=True)


def in_json(model: Any, options: Any = None, **fields: Any) -> Any:
    return parse_options(model, fields, options, flat_is_text=False)


def test_the_defaults_are_the_contract() -> None:
    assert in_json(ImageOptions).model_dump() == {"prompt": "", "max_length": 200}
    assert in_json(VideoOptions).model_dump() == {
        "prompt": "",
        "max_length": 200,
        "num_frames": 5,
        "include_timestamps": True,
        "frame_sampling": "uniform",
        "language": "auto",
        "track": None,
        "include_audio": False,
        "subtitles": False,
        "speakers": False,
        "num_speakers": None,
    }
    assert in_json(AudioOptions).model_dump() == {
        "language": "auto",
        "translate": False,
        "prompt": "",
        "hotwords": "",
        "track": None,
        "include_timestamps": True,
        "word_level_timestamps": False,
        "subtitles": False,
        "speakers": False,
        "num_speakers": None,
    }


def test_an_option_may_be_flat_or_in_options() -> None:
    expected = VideoOptions(num_frames=7, include_audio=True)
    assert in_json(VideoOptions, num_frames=7, include_audio=True) == expected
    assert in_json(VideoOptions, {"num_frames": 7, "include_audio": True}) == expected
    assert in_json(VideoOptions, {"include_audio": True}, num_frames=7) == expected
    assert in_form(VideoOptions, {"include_audio": True}, num_frames="7") == expected


@pytest.mark.parametrize(("text", "value"), [("true", True), ("False", False), ("1", True), (" 0 ", False)])
def test_form_text_is_read_as_a_boolean(text: str, value: bool) -> None:
    assert in_form(AudioOptions, include_timestamps=text).include_timestamps is value


@pytest.mark.parametrize("value", ["", "  ", None])
def test_empty_text_and_null_mean_not_given(value: Any) -> None:
    assert in_json(ImageOptions, {"max_length": value}, prompt=value) == ImageOptions()


def test_the_same_value_twice_is_accepted() -> None:
    assert in_form(ImageOptions, {"max_length": 9}, max_length="9").max_length == 9


def test_different_values_for_one_option_are_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match="'max_length' is given twice"):
        in_form(ImageOptions, {"max_length": 9}, max_length="8")


@pytest.mark.parametrize(
    ("model", "name", "value"),
    [
        (ImageOptions, "max_length", 0),
        (ImageOptions, "max_length", 1025),
        (ImageOptions, "max_length", True),
        (ImageOptions, "max_length", "5"),
        (ImageOptions, "max_length", 5.5),
        (ImageOptions, "prompt", 5),
        (ImageOptions, "prompt", LongString(bytearray(40_000), 0, 40_000)),
        (ImageOptions, "num_frames", 5),
        (VideoOptions, "num_frames", 0),
        (VideoOptions, "num_frames", 33),
        (VideoOptions, "frame_sampling", "random"),
        (VideoOptions, "include_audio", 1),
        (AudioOptions, "language", "Klingon"),
        (AudioOptions, "language", "xx-US"),
        (AudioOptions, "hotwords", "x" * 2001),
        (AudioOptions, "track", 0),
        (AudioOptions, "num_speakers", 17),
        (AudioOptions, "include_timestamps", "yes"),
        (AudioOptions, "word_level_timestamps", []),
    ],
)
@pytest.mark.parametrize("is_nested", [False, True])
def test_a_bad_option_is_refused_by_name(model: Any, name: str, value: Any, is_nested: bool) -> None:
    with pytest.raises(InvalidRequest, match=f"'{'options.' if is_nested else ''}{name}'") as caught:
        in_json(model, {name: value}) if is_nested else in_json(model, **{name: value})
    assert len(str(caught.value)) < 300


def test_a_number_without_a_fraction_is_an_integer_however_json_writes_it() -> None:
    assert in_json(VideoOptions, num_frames=14.0).num_frames == 14
    with pytest.raises(InvalidRequest, match="'num_frames' should be a valid integer, not 14.5"):
        in_json(VideoOptions, num_frames=14.5)


def test_the_error_for_an_unknown_option_lists_the_known_ones() -> None:
    with pytest.raises(InvalidRequest, match="Unknown option 'options.max_lenght'; this route has prompt, max_length"):
        in_json(ImageOptions, {"max_lenght": 5})


@pytest.mark.parametrize("options", ["text", [], 5, True, LongString(bytearray(), 0, 0)])
def test_options_must_be_an_object(options: Any) -> None:
    with pytest.raises(InvalidRequest, match="'options' must be a JSON object"):
        in_json(ImageOptions, options)


@pytest.mark.parametrize("language", ["auto", "en", "yue", "haw"])
def test_every_whisper_language_is_accepted(language: str) -> None:
    assert in_json(AudioOptions, language=language).language == language


def test_only_a_custom_prompt_is_a_question() -> None:
    assert question_of("") is None
    assert question_of("Describe this image in detail") is None
    assert question_of("What is it?") == "What is it?"
