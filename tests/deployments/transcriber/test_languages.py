import subprocess
import sys

import pytest
from whisper import tokenizer

from deployments.transcriber.languages import LANGUAGE_NAMES, LANGUAGES, language_code


def test_languages_are_whispers_in_the_same_order() -> None:
    assert tuple(tokenizer.LANGUAGES) == LANGUAGES
    assert {code: name.lower() for code, name in LANGUAGE_NAMES.items()} == tokenizer.LANGUAGES


def test_every_name_of_the_package_is_known() -> None:
    assert {name: language_code(name) for name in tokenizer.TO_LANGUAGE_CODE} == tokenizer.TO_LANGUAGE_CODE


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("en", "en"),
        ("EN-us", "en"),
        ("pt_BR", "pt"),
        ("zh-Hant-TW", "zh"),
        ("German", "de"),
        (" haitian creole ", "ht"),
        ("nb-NO", "no"),
        ("iw", "he"),
        ("jv", "jw"),
        ("yue", "yue"),
        ("xx", None),
        ("english-US-please", None),
        ("", None),
        ("-", None),
    ],
)
def test_codes_tags_and_names_are_understood(language: str, code: str | None) -> None:
    assert language_code(language) == code


def test_light_modules_do_not_import_torch_or_whisper() -> None:
    modules = ", ".join(f"deployments.transcriber.{name}" for name in ("languages", "types", "deployment"))
    program = f"import sys, {modules}; sys.exit('torch' in sys.modules or 'whisper' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
