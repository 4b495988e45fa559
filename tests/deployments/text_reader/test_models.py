"""What is made of the networks' outputs."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deployments.cancellation import Cancellation
from deployments.media import Pixels
from deployments.text_reader.models import OcrModels
from deployments.text_reader.reader import TextReader
from deployments.text_reader.weights import model_files
from tests.deployments.text_reader.test_spelling import drawn

_COLUMN_PX = 8
"""The recognition network gives a column of probabilities for so many pixels."""


@pytest.fixture(scope="module")
def models() -> OcrModels:
    return OcrModels(model_files(), 1)


def recognition(
    models: OcrModels,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    middles: NDArray[np.float64],
    spaces: dict[int, float],
) -> None:
    """Let the network be sure of the characters in `text`, and give spaces after some of them a probability."""
    columns = (middles / _COLUMN_PX).astype(int)
    names = models._characters

    class Session:
        def run(self, _: None, inputs: dict[str, Any]) -> list[NDArray[np.float32]]:
            probabilities = np.zeros((1, inputs["x"].shape[3] // _COLUMN_PX, len(names)), np.float32)
            for column, character in zip(columns, text, strict=True):
                probabilities[0, column, names.index(character)] = 0.9
            for index, probability in spaces.items():
                probabilities[0, (columns[index] + columns[index + 1]) // 2, -1] = probability
            probabilities[:, :, 0] = 1 - probabilities.sum(axis=2)
            return [probabilities]

    monkeypatch.setattr(models, "_recognition", Session())


@pytest.mark.parametrize(
    ("space_px", "probability", "expected"),
    [
        (12, 0.034, "TEL 03"),
        (12, 0.012, "TEL 03"),
        (12, 0.002, "TEL03"),
        (2, 0.034, "TEL03"),
        (2, 0.06, "TEL 03"),
    ],
)
def test_a_space_that_the_network_is_unsure_of_is_one_if_the_gap_is_wide(
    models: OcrModels, monkeypatch: pytest.MonkeyPatch, space_px: int, probability: float, expected: str
) -> None:
    line, middles = drawn("TEL 03", space_px)
    recognition(models, monkeypatch, "TEL03", middles, {2: probability})
    [result] = models.read([line])
    assert result.text == expected
    assert len(result.words) == len(expected.split())


def test_a_full_width_colon_ends_a_word(models: OcrModels, monkeypatch: pytest.MonkeyPatch) -> None:
    line, middles = drawn("CB#:389", 0)
    recognition(models, monkeypatch, "CB#：389", middles, {})
    [result] = models.read([line])
    assert result.text == "CB#: 389"


def test_a_line_that_a_stroke_touches_is_found(models: OcrModels, monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities = np.zeros((1, 1, 320, 640), np.float32)
    probabilities[..., 40:60, 40:400] = 0.95
    probabilities[..., 120:140, 40:400] = 0.95
    stroke = np.abs(np.arange(320)[:, None] - (520 - np.arange(640))) < 4  # rises from the end of the second line
    probabilities[0, 0][stroke & (np.arange(640) > 390) & (np.arange(320)[:, None] < 135)] = 0.45
    probabilities[..., 220:250, 40:400] = 0.35
    probabilities[..., 240:244, 100:112] = 0.95  # too low to be a line

    class Session:
        def run(self, *_: object) -> list[NDArray[np.float32]]:
            return [probabilities.copy()]

    monkeypatch.setattr(models, "_detection", Session())
    pixels: Pixels = np.zeros((320, 640, 3), np.uint8)
    middles = models.find_text(pixels, 1.0).mean(axis=1)
    assert sorted(middles[:, 1].round(-1).tolist()) == [50, 130]


def test_lines_are_padded_by_a_margin_but_not_to_the_width_of_much_longer_ones(
    models: OcrModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths = [60, 100, 150, 300, 310, 900] * 5
    batches = []

    class Session:
        def run(self, _: None, inputs: dict[str, Any]) -> list[NDArray[np.float32]]:
            batch = inputs["x"]
            used = np.abs(batch).max(axis=(0, 1, 2)).nonzero()[0].max() + 1
            assert used + 32 <= batch.shape[3]
            batches.append(batch.shape[0] * batch.shape[3])
            probabilities = np.zeros((len(batch), batch.shape[3] // _COLUMN_PX, len(models._characters)), np.float32)
            probabilities[:, :, 0] = 1
            return [probabilities]

    monkeypatch.setattr(models, "_recognition", Session())
    TextReader(models)._read([np.full((48, width, 3), 255, np.uint8) for width in widths], Cancellation(float("inf")))
    assert sum(batches) <= 1.3 * sum(max(160, width + 32) for width in widths)
