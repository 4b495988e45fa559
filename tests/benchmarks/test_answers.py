import json
from pathlib import Path

from benchmarks.answers import Figures, QuestionWithKey, ask, squad_articles, squad_questions, write_articles
from tests.deployments.answerer.fakes import ScriptedModel, hit

MAYOR = hit("The mayor of Erla is Ruth Adler. She was elected in 2019.", similarity=0.7)
ARTICLES = [
    {
        "title": "Erla",
        "paragraphs": [
            {
                "context": "Erla is old.",
                "qas": [
                    {"question": "How is Erla?", "answers": [{"text": "old"}]},
                    {"question": "How is Tarn?", "answers": [], "is_impossible": True},
                ],
            }
        ],
    }
]


def test_articles_become_files_and_questions_of_three_kinds(tmp_path: Path) -> None:
    (tmp_path / "squad.json").write_text(json.dumps({"version": "v2.0", "data": ARTICLES}))
    articles = squad_articles(tmp_path / "squad.json")
    assert [path.read_text() for path in write_articles(articles, tmp_path)] == ["Erla\n\nErla is old."]
    assert [(one.kind, list(one.key)) for one in squad_questions(articles)] == [
        ("answerable", ["old"]),
        ("unanswerable", []),
    ]
    assert {one.kind for one in squad_questions(articles, outside=True)} == {"outside"}


def test_an_outcome_says_whether_the_truth_is_shown_and_cited() -> None:
    question = QuestionWithKey("Who is the mayor of Erla?", "answerable", ["Ruth Adler"])
    right = ask(question, [MAYOR], ScriptedModel("The mayor of Erla is Ruth Adler."))
    assert (right.has_answer, right.has_truth) == (True, True)
    assert right.num_right_citations == right.num_citations >= 1

    nothing = ask(
        QuestionWithKey("Who is the mayor of Erla?", "unanswerable", ()), [MAYOR], ScriptedModel("I don't know.")
    )
    assert (nothing.has_answer, nothing.has_truth, nothing.num_citations) == (False, False, 0)

    figures = Figures()
    for outcome in (right, nothing):
        figures.add(outcome)
    lines = "\n".join(figures.lines())
    assert "truth              1.000 of 1" in lines
    assert "abstained          1.000 of 1" in lines
