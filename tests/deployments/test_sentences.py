import pytest

from deployments.sentences import clause_starts, sentence_ranges, word_starts


@pytest.mark.parametrize(
    "sentences",
    [
        ["Dr. Smith met Mr. Jones, e.g. at No. 5 Main St. in Boston.", "He paid 3.5 million, i.e. too much."],
        ["See Fig. 3 and Sec. 2.1.", "The U.S. Navy (est. 1775) sailed at 5 p.m. on Monday."],
        ["Version 2.0.1 of www.example.com is out.", "J. R. R. Tolkien wrote it!", "Really?"],
        ["これは文です。", "次の文です！", "本当ですか？"],
        ["今天天气很好。", "我们去公园吧！"],
        ["هل هذا سؤال؟", "نعم."],
        ["Привет, мир.", "Это тест."],
        ["Der Vertrag endet am 31. Dezember 2027.", "Er galt seit dem 1. März.", "Im 19. Jahrhundert war das neu."],
        ["The village has 12 houses, built in 2011.", "May was cold, and the bus is number 7.", "It runs daily."],
    ],
)
def test_sentences_end_at_full_stops_but_not_at_abbreviations_and_decimals(sentences: list[str]) -> None:
    joined = ("" if sentences[0][-1] in "。！" else " ").join(sentences)
    assert [joined[start:end] for start, end in sentence_ranges(joined)] == sentences


def test_a_text_of_white_space_has_no_sentence() -> None:
    assert list(sentence_ranges(" \n\n \t")) == []


def test_clauses_begin_after_commas_and_line_breaks_but_not_within_numbers() -> None:
    text = "ask 1,000 people, (or so) first; then\nothers、誰か,"
    assert [text[start:] for start in clause_starts(text)] == [
        "(or so) first; then\nothers、誰か,",
        "first; then\nothers、誰か,",
        "then\nothers、誰か,",
        "others、誰か,",
        "誰か,",
    ]


def test_words_begin_after_white_space() -> None:
    assert word_starts("one  two\nthree ") == [5, 9]
