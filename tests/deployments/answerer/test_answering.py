"""An answer, from the hits to its end."""

import time

import pytest

from deployments.answerer.abstention import MIN_RELEVANCE, MIN_RELEVANCE_TO_ASK, relevance
from deployments.answerer.answering import (
    CUT_SHORT,
    NO_MODEL,
    NO_TIME,
    NOT_BACKED,
    SOURCES_DISAGREE,
    AnswerLimits,
    answer,
)
from deployments.answerer.question import parse_question
from deployments.answerer.types import AnswerEnd, AnswerPart, AnswerSentence
from deployments.cancellation import Cancellation, WorkCancelled
from tests.deployments.answerer.fakes import FAR_FUTURE, ScriptedModel, hit

DAM = hit("The dam at Orsk was built in 1936 by Vera Lind. It is 48 metres high.", similarity=0.7)
FISH = hit("Trout live in the lake above the town.", file_id=2, similarity=0.3, score=0.2)
QUESTION = "When was the dam at Orsk built?"


def parts(
    model: ScriptedModel | None,
    question: str = QUESTION,
    hits: tuple[object, ...] = (DAM, FISH),
    limits: AnswerLimits | None = None,
    deadline: float = FAR_FUTURE,
) -> list[AnswerPart]:
    return list(answer(question, hits, model, limits or AnswerLimits(), Cancellation(deadline)))  # type: ignore[arg-type]


def sentences(some: list[AnswerPart], *, supported: bool = True) -> list[str]:
    return [part.text for part in some if isinstance(part, AnswerSentence) and part.supported == supported]


def end_of(some: list[AnswerPart]) -> AnswerEnd:
    assert isinstance(some[-1], AnswerEnd)
    assert not any(isinstance(part, AnswerEnd) for part in some[:-1])
    return some[-1]


def test_a_sentence_that_is_backed_is_yielded_with_its_quote_then_sentences_of_the_documents() -> None:
    some = parts(ScriptedModel("The dam at Orsk was built in 1936."))
    first = some[0]
    assert isinstance(first, AnswerSentence)
    assert first.supported
    assert first.quotes[0].chunk_id == DAM.chunk.chunk_id
    assert (
        DAM.chunk.text[first.quotes[0].start : first.quotes[0].end] == "The dam at Orsk was built in 1936 by Vera Lind."
    )
    assert sentences(some)[1] == "The dam at Orsk was built in 1936 by Vera Lind."
    assert len(sentences(some)) <= 4
    assert end_of(some) == AnswerEnd("scripted")


def test_what_nothing_backs_is_marked_and_the_rest_is_shown() -> None:
    some = parts(ScriptedModel("The dam at Orsk was built in 1936. It cost nine million roubles."))
    assert sentences(some, supported=False) == ["It cost nine million roubles."]
    assert sentences(some)[0] == "The dam at Orsk was built in 1936."


def test_a_sentence_that_agrees_with_a_reply_in_other_words_is_quoted_first() -> None:
    title = hit(
        "The grandiose title was old, and nobody had it for years. Altan Khan bestowed the grandiose title of Dalai on "
        "Sonam Gyatso.",
        similarity=0.35,
    )
    some = parts(
        ScriptedModel("Sonam Gyatso was the man who got it from Altan Khan."),
        "Who was bestowed the grandiose title?",
        (title, FISH),
    )
    assert sentences(some)[0] == "Altan Khan bestowed the grandiose title of Dalai on Sonam Gyatso."
    assert end_of(some) == AnswerEnd("extractive", note=NOT_BACKED)
    without = parts(ScriptedModel("Ruth Marlow was the man who got it."), "Who was bestowed the title?", (title, FISH))
    assert end_of(without).no_answer == "nothing_supported"


@pytest.mark.parametrize(
    "reply",
    [
        "The passages do not say when the dam at Orsk was built.",
        "It is not mentioned in the text.",
        "I don't know.",
    ],
)
def test_an_answer_without_a_backed_sentence_says_so_and_shows_nothing(reply: str) -> None:
    some = parts(ScriptedModel(reply))
    assert sentences(some) == []
    assert end_of(some).no_answer == "nothing_supported"


@pytest.mark.parametrize("reply", ["The dam at Orsk was built in 1963.", "Nine bears.", ""])
def test_if_nothing_backs_the_model_near_hits_are_quoted_and_others_are_not(reply: str) -> None:
    some = parts(ScriptedModel(reply))
    assert sentences(some)[0] == "The dam at Orsk was built in 1936 by Vera Lind."
    assert end_of(some) == AnswerEnd("extractive", note=NOT_BACKED)
    far = parts(ScriptedModel(reply), hits=(hit(DAM.chunk.text, similarity=0.4),))
    assert sentences(far) == []
    assert end_of(far) == AnswerEnd("scripted", no_answer="nothing_supported")


def test_a_question_about_a_name_that_is_nowhere_is_not_answered() -> None:
    some = parts(ScriptedModel("The dam was built in 1936 by Vera Lind."), "When did Igor Blok build the dam at Orsk?")
    assert sentences(some) == []
    assert end_of(some).no_answer == "nothing_supported"


def test_hits_that_are_not_about_the_question_are_not_read_to_the_model() -> None:
    model = ScriptedModel("Trout live in the lake.")
    some = parts(model, "What is the capital of Mongolia?", (FISH,))
    assert end_of(some) == AnswerEnd("scripted", no_answer="nothing_relevant")
    assert len(some) == 1
    assert model.prompts == []
    assert end_of(parts(None, QUESTION, ())).no_answer == "nothing_relevant"


def test_hits_that_are_hardly_about_the_question_are_for_a_model_to_judge() -> None:
    question, hits = "How tall is the wall above the town?", (hit(DAM.chunk.text, similarity=0.46),)
    assert MIN_RELEVANCE_TO_ASK <= relevance(parse_question(question), hits) < MIN_RELEVANCE
    assert end_of(parts(None, question, hits)).no_answer == "nothing_relevant"
    unable = ScriptedModel("The passages do not say that.")
    assert end_of(parts(unable, question, hits)) == AnswerEnd("scripted", no_answer="nothing_supported")
    late = ScriptedModel("It is 48 metres high.", prompt_tokens_per_s=10)
    end = end_of(parts(late, question, hits, deadline=time.time() + 5))
    assert (end.no_answer, end.note) == ("nothing_relevant", NO_TIME)


def test_without_a_model_sentences_are_quoted_and_the_end_says_so() -> None:
    some = parts(None)
    assert sentences(some)[0] == "The dam at Orsk was built in 1936 by Vera Lind."
    assert end_of(some) == AnswerEnd("extractive", note=NO_MODEL)


def test_each_sentence_comes_as_soon_as_the_next_one_begins() -> None:
    model = ScriptedModel("The dam at Orsk was built in 1936. It is 48 metres high. It is 48 metres high.")
    stream = answer(QUESTION, [DAM], model, AnswerLimits(), Cancellation(FAR_FUTURE))
    assert next(stream).text == "The dam at Orsk was built in 1936."  # type: ignore[union-attr]
    assert model.num_pieces < 12
    stream.close()  # type: ignore[attr-defined]
    assert model.is_closed


def test_when_there_is_no_time_to_read_the_passages_the_answer_is_extractive() -> None:
    model = ScriptedModel("The dam at Orsk was built in 1936.", prompt_tokens_per_s=10)
    some = parts(model, deadline=time.time() + 5)
    assert model.prompts == []
    assert sentences(some)[0] == "The dam at Orsk was built in 1936 by Vera Lind."
    assert end_of(some) == AnswerEnd("extractive", note=NO_TIME)


class _Slow(ScriptedModel):
    """Needs the time to the deadline for a number of words."""

    def __init__(self, reply: str, cancellation: Cancellation, num_words: int) -> None:
        super().__init__(reply, prompt_tokens_per_s=1e6)
        self._cancellation = cancellation
        self._num_words = num_words

    def count_tokens(self, text: str) -> int:
        return 1

    def complete(self, system, prompt, max_tokens, cancellation):  # type: ignore[no-untyped-def]
        for number, word in enumerate(self._reply.split(" ")):  # type: ignore[union-attr]
            if number == self._num_words:
                cancellation.deadline = 0.0
            cancellation.check("it was still writing")
            yield word + " "


@pytest.mark.parametrize(("num_words", "note", "name"), [(3, NO_TIME, "extractive"), (12, CUT_SHORT, "scripted")])
def test_when_the_time_runs_out_what_is_there_is_shown(num_words: int, note: str, name: str) -> None:
    cancellation = Cancellation(FAR_FUTURE)
    model = _Slow("The dam at Orsk was built in 1936. It is 48 metres high. So it is.", cancellation, num_words)
    some = list(answer(QUESTION, [DAM], model, AnswerLimits(), cancellation))
    assert sentences(some)[0].startswith("The dam at Orsk was built in 1936")
    assert end_of(some) == AnswerEnd(name, note=note)


def test_a_caller_who_is_gone_stops_it() -> None:
    cancellation = Cancellation(FAR_FUTURE)
    cancellation.cancel()
    with pytest.raises(WorkCancelled):
        list(answer(QUESTION, [DAM], ScriptedModel("The dam."), AnswerLimits(), cancellation))


def test_fewer_passages_go_to_a_slow_model() -> None:
    long = hit(
        " ".join(f"The dam at Orsk holds {number} fish of kind {number}." for number in range(100)), similarity=0.7
    )
    slow, fast = ScriptedModel("So.", 20), ScriptedModel("So.", 100)
    for model in (slow, fast):
        parts(model, hits=(long,))
    assert len(slow.prompts[0].split()) < 250 < len(fast.prompts[0].split()) < 700


def test_a_model_that_does_not_stop_is_stopped() -> None:
    model = ScriptedModel("The dam at Orsk was built in 1936. " * 100)
    some = parts(model, limits=AnswerLimits(max_answer_tokens=1000))
    assert model.num_pieces < 120
    assert model.is_closed
    assert sum(len(text.split()) for text in sentences(some)) <= 80


def test_sources_that_disagree_are_both_shown() -> None:
    other = hit("The dam at Orsk was built in 1938.", file_id=3, similarity=0.6)
    some = parts(ScriptedModel("The dam at Orsk was built in 1936."), hits=(DAM, other))
    assert sentences(some)[:2] == ["The dam at Orsk was built in 1936.", "The dam at Orsk was built in 1938."]
    assert end_of(some).note == SOURCES_DISAGREE


def test_marks_that_look_like_citations_are_taken_out() -> None:
    some = parts(ScriptedModel("The dam at Orsk was built in 1936 [7]."))
    assert sentences(some)[0] == "The dam at Orsk was built in 1936."
