from pathlib import Path
from typing import Any

import pytest

from benchmarks.search_cases import Case, Result, covered, read_cases
from benchmarks.search_quality import OWN_CASES, Outcome, summary


def case(place: dict[str, Any], file: str = "folder/report.pdf") -> Case:
    return Case(1, file, "What does it cost?", ["12 euros"], place)


def result(info: dict[str, Any], text: str = "It costs\n12 euros.", filename: str = "report.pdf") -> Result:
    return Result(filename, text, info, 0.5)


@pytest.mark.parametrize(
    ("place", "right", "wrong"),
    [
        ({"kind": "page", "page": 3}, {"page": 3}, {"page": 4}),
        (
            {"kind": "docx", "heading": ["Let’s swim!"], "paragraph_contains": "costs 12"},
            {"heading": ["Let's swim!"], "paragraph": 7},
            {"heading": ["Let's swim!", "Lakes"], "paragraph": 7},
        ),
        ({"kind": "time", "start": 8.0, "end": 10.7}, {"start": 11.5, "end": 14.0}, {"start": 11.8, "end": 14.0}),
    ],
)
def test_a_result_is_right_if_its_place_is(place: dict[str, Any], right: dict[str, Any], wrong: dict[str, Any]) -> None:
    assert case(place).is_right(result(right))
    assert not case(place).is_right(result(wrong))
    assert not case(place).is_right(result(right, filename="another.pdf"))


def test_without_a_place_a_right_result_has_the_words() -> None:
    assert case({"kind": "text"}).is_right(result({}))
    assert not case({"kind": "text"}).is_right(result({}, text="It costs 13 euros."))


def test_a_place_is_precise_if_its_boxes_cover_half_of_the_right_one() -> None:
    wanted = case({"kind": "page", "page": 1, "box": [0.1, 0.2, 0.5, 0.3]})
    assert wanted.is_precise(result({"boxes": [[0.0, 0.0, 0.31, 0.4]]}))
    assert not wanted.is_precise(result({"boxes": [[0.0, 0.0, 0.29, 0.4], [0.6, 0.0, 0.9, 0.4]]}))
    assert case({"kind": "page", "page": 1}).is_precise(result({})) is None


def test_a_time_is_precise_within_a_second() -> None:
    wanted = case({"kind": "time", "start": 8.0, "end": 10.7})
    assert wanted.is_precise(result({"start": 7.1, "end": 20.0}))
    assert not wanted.is_precise(result({"start": 6.9, "end": 20.0}))


def test_boxes_that_overlap_do_not_count_twice() -> None:
    assert covered([0, 0, 1, 1], [[0, 0, 0.5, 1], [0, 0, 0.5, 1]]) == pytest.approx(0.5)


def test_the_figures_are_means_over_the_questions() -> None:
    place = case({"kind": "text"})
    outcomes = [Outcome(place, rank, precise, True, None) for rank, precise in ((1, True), (3, False), (None, None))]
    assert summary("all", outcomes).split() == (
        "all 3 questions recall@1 0.333 recall@5 0.667 nDCG@10 0.500 precise 0.500 of 2".split()
    )


def test_the_own_cases_name_files_that_are_there_and_words_that_are_in_them() -> None:
    cases = read_cases(OWN_CASES)
    assert len(cases) >= 40
    for each in cases:
        path: Path = OWN_CASES / each.file
        assert path.exists()
        if path.suffix in (".md", ".html", ".txt"):
            assert each.has_words(Result("", path.read_text(), {}, 0.0))
