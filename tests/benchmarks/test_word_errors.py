import pytest

from benchmarks.word_errors import (
    Errors,
    TimedWord,
    align,
    count_errors,
    differences,
    median_and_90th_percentile,
    normalized_words,
    time_errors,
)


def test_words_are_compared_as_whisper_normalizes_them() -> None:
    assert normalized_words("Mr. Hale's colour, twenty-one!", "en") == normalized_words("mister hale's color 21", "en")
    assert normalized_words("«Ça va?»", "fr") == ["ça", "va"]
    assert normalized_words("判断的。", "ja") == ["判", "断", "的"]


def test_an_alignment_has_as_few_errors_as_possible() -> None:
    steps = align("a b c d".split(), "b x d e".split())
    assert [step.operation for step in steps] == ["deletion", "equal", "substitution", "equal", "insertion"]
    assert [(step.expected, step.got) for step in steps] == [(0, None), (1, 0), (2, 1), (3, 2), (None, 3)]


@pytest.mark.parametrize(
    ("expected", "got", "errors"),
    [
        ("one two three", "one two three", Errors(3)),
        ("one two three", "two tree", Errors(3, substitutions=1, deletions=1)),
        ("yes", "oh yes sir", Errors(1, insertions=2)),
        ("yes", " ", Errors(1, deletions=1, missed=1)),
        ("", "Thank you.", Errors(0, insertions=2, invented=1)),
        ("", "", Errors()),
    ],
)
def test_errors_are_counted_by_kind(expected: str, got: str, errors: Errors) -> None:
    assert count_errors(expected, got, "de") == errors


def test_pooled_errors_weigh_words_not_recordings() -> None:
    pooled = Errors(8, substitutions=1) + Errors(2, deletions=1, insertions=1)
    assert pooled.rate == pytest.approx(0.3)
    assert Errors().rate is None


def test_differences_are_runs_of_words() -> None:
    assert differences("she had your dark suit", "she hired a dark suit now", "en") == [
        "had your -> hired a",
        "- -> now",
    ]


def test_time_errors_are_those_of_the_words_that_are_right() -> None:
    expected = [TimedWord("She", 0.0, 0.2), TimedWord("had", 0.2, 0.5), TimedWord("greasy", 1.0, 1.5)]
    got = [TimedWord(" She", 0.1, 0.2), TimedWord(" hat", 0.2, 0.5), TimedWord(" greasy.", 1.0, 1.8)]
    assert time_errors(expected, got, "en") == pytest.approx([0.1, 0.0, 0.0, 0.3])


def test_the_90th_percentile_is_exceeded_by_at_most_a_tenth() -> None:
    assert median_and_90th_percentile(range(11)) == (5, 9)
    assert median_and_90th_percentile([3.0]) == (3.0, 3.0)
