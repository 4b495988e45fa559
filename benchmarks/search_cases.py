"""Questions about files, the right place for each, and whether a search result is there."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_TIME_ERROR_S = 1.0
MIN_OVERLAP = 0.5
"""Of the right box, the fraction that the boxes of a result must cover."""


@dataclass(frozen=True)
class Result:
    """A passage that a search returned."""

    filename: str
    text: str
    source_info: Mapping[str, Any]
    similarity: float


@dataclass(frozen=True)
class Case:
    """A question, and where its answer is. The form is that of `cases.json`:

        [{"id": 1, "file": "report.pdf", "question": "...", "expect_words": ["..."],
          "place": {"kind": "page", "page": 3, "box": [x0, y0, x1, y1]}}, ...]

    `file` is relative to the folder of `cases.json`. Kinds of places: `page` (with or without a box), `docx` (`heading`
    and `paragraph_contains`), `box` (of a picture), `time` (`start` and `end` in seconds), `text` (any place in the
    file), and `abstain`: the answer is nowhere.
    """

    id: int
    file: str
    question: str
    expect_words: Sequence[str]
    place: Mapping[str, Any]

    @property
    def kind(self) -> str:
        kind: str = self.place["kind"]
        return kind

    @property
    def filename(self) -> str:
        return Path(self.file).name

    def is_right(self, result: Result) -> bool:
        """Return whether a result is in the right file and on the right page, under the right heading, at the right
        time; one without such a place must contain the expected words."""
        if result.filename != self.filename:
            return False
        info, place = result.source_info, self.place
        match self.kind:
            case "page":
                return bool(info.get("page") == place["page"])
            case "docx":
                is_below = [_plain(name) for name in info.get("heading", ())] == [_plain(n) for n in place["heading"]]
                return is_below and _plain(place["paragraph_contains"]) in _plain(result.text)
            case "time":
                start, end = float(info.get("start", "inf")), float(info.get("end", "-inf"))
                return bool(start <= place["end"] + MAX_TIME_ERROR_S and end >= place["start"] - MAX_TIME_ERROR_S)
        return all(_plain(words) in _plain(result.text) for words in self.expect_words)

    def is_precise(self, result: Result) -> bool | None:
        """Return whether a right result leads to the very place: its boxes cover the right box, its start is that of
        the words. None if the case does not say more than `is_right` checks."""
        if self.kind == "time":
            return bool(abs(result.source_info["start"] - self.place["start"]) <= MAX_TIME_ERROR_S)
        if "box" not in self.place:
            return None
        return covered(self.place["box"], result.source_info.get("boxes", ())) >= MIN_OVERLAP

    def has_words(self, result: Result) -> bool:
        """Return whether the expected words are in a result; spaces and case do not matter."""
        return all(_plain(words) in _plain(result.text) for words in self.expect_words)


def read_cases(folder: Path) -> list[Case]:
    """Return the cases of a folder; raises OSError or ValueError if there is no proper `cases.json`."""
    return [
        Case(case["id"], case["file"], case["question"], case.get("expect_words", ()), case["place"])
        for case in json.loads((folder / "cases.json").read_text())
    ]


def covered(box: Sequence[float], boxes: Sequence[Sequence[float]], steps: int = 50) -> float:
    """Return the fraction of `box` that lies within any of `boxes`, measured at `steps` times `steps` points."""
    x0, y0, x1, y1 = box
    points = [
        (x0 + (x1 - x0) * (column + 0.5) / steps, y0 + (y1 - y0) * (row + 0.5) / steps)
        for column in range(steps)
        for row in range(steps)
    ]
    inside = sum(any(b[0] <= x <= b[2] and b[1] <= y <= b[3] for b in boxes) for x, y in points)
    return inside / len(points)


def _plain(text: str) -> str:
    """Return a text without white space and in lower case; curly quotes are straight."""
    return "".join(text.casefold().replace("’", "'").split())
