"""The committed model cards have the text of the templates that the recipes fill in."""

import re
from pathlib import Path

import pytest

from recipes.moondream_mini.card import CARD as MOONDREAM_CARD
from recipes.whisper_mini.card import CARD as WHISPER_CARD

FOLDER = Path(__file__).parents[2] / "checkpoints" / "mini"


@pytest.mark.parametrize(
    ("path", "template"), [("moondream-mini/README.md", MOONDREAM_CARD), ("whisper-mini.md", WHISPER_CARD)]
)
def test_the_committed_card_is_the_filled_in_template(path: str, template: str) -> None:
    texts_between_fields = re.split(r"\{\w+(?::[^}]*)?\}", template)
    pattern = ".+".join(re.escape(text) for text in texts_between_fields)
    assert re.fullmatch(pattern, (FOLDER / path).read_text(encoding="utf-8"), re.DOTALL)
