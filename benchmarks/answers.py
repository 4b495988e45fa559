"""Measures answers and their citations: `prism benchmark answers [--model FILE.gguf] SOURCE...`.

A SOURCE is a file in the form of SQuAD, version 1 or 2 (`{"data": [{"title", "paragraphs": [{"context", "qas"}]}]}`),
whose articles become text files, or a folder with a `cases.json` (benchmarks/search_cases.py). All of it goes into one
library in this process, without Ray. Without `--model` the answers are extractive.

    truth               answerable questions with an answer of the key in the sentences shown as supported
    wrongly abstained   answerable questions without an answer
    abstained           unanswerable questions without an answer (the passage is near, the answer is not in it)
    not found           questions about nothing in the library (of `--outside`) without an answer
    citations           of the shown sentences that contain an answer of the key, those whose quote contains it
"""

import argparse
import json
import random
import re
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil

from deployments.answerer.answering import AnswerLimits, answer
from deployments.answerer.extractive import MAX_WORDS
from deployments.answerer.language_model import LanguageModel
from deployments.answerer.types import AnswerEnd, AnswerSentence
from deployments.cancellation import Cancellation
from deployments.library.types import SearchHit
from deployments.units import MEGABYTE
from serve_app.serve_yaml import read_serve_yaml, settings_of

from .search_cases import read_cases
from .search_targets import InProcess

Kind = Literal["answerable", "unanswerable", "outside"]
LIMIT = 10
CALL_S = 600.0
CONTEXT_TOKENS = 2048
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class QuestionWithKey:
    text: str
    kind: Kind
    key: Sequence[str]
    """Answers of which one must occur; empty unless answerable."""


@dataclass(frozen=True)
class Outcome:
    kind: Kind
    has_answer: bool
    has_truth: bool
    num_citations: int
    """Shown sentences that contain an answer of the key."""
    num_right_citations: int
    """Those of them whose first quote contains it."""
    first_s: float
    """Until the first sentence."""
    all_s: float


@dataclass
class Figures:
    outcomes: dict[Kind, list[Outcome]] = field(default_factory=lambda: defaultdict(list))

    def add(self, outcome: Outcome) -> None:
        self.outcomes[outcome.kind].append(outcome)

    def lines(self) -> Iterator[str]:
        """Yield what the module's docstring explains."""
        answerable = self.outcomes["answerable"]
        if answerable:
            yield f"truth              {_mean(one.has_truth for one in answerable)} of {len(answerable)}"
            yield f"wrongly abstained  {_mean(not one.has_answer for one in answerable)}"
            cited = sum(one.num_citations for one in answerable)
            right = sum(one.num_right_citations for one in answerable)
            yield f"citations          {right / cited:.3f} of {cited}" if cited else "citations          none"
        for kind, name in (("unanswerable", "abstained"), ("outside", "not found")):
            some = self.outcomes[kind]  # type: ignore[index]
            if some:
                yield f"{name:18} {_mean(not one.has_answer for one in some)} of {len(some)}"
        everything = [one for some in self.outcomes.values() for one in some]
        answered = [one.first_s for one in everything if one.has_answer]
        if answered:
            yield f"first sentence     {_percentiles(answered)}"
        yield f"whole answer       {_percentiles([one.all_s for one in everything])}"


def squad_articles(path: Path) -> list[dict[str, object]]:
    content = json.loads(path.read_text())
    articles: list[dict[str, object]] = content["data"] if isinstance(content, dict) else content
    return articles


def squad_questions(articles: Sequence[dict[str, object]], outside: bool = False) -> list[QuestionWithKey]:
    """Return the questions of articles; with `outside` they are about nothing in the library."""
    questions = []
    for article in articles:
        for paragraph in article["paragraphs"]:  # type: ignore[attr-defined]
            for one in paragraph["qas"]:
                key = [answer["text"] for answer in one["answers"]]
                kind: Kind = (
                    "outside" if outside else "unanswerable" if one.get("is_impossible") or not key else "answerable"
                )
                questions.append(QuestionWithKey(one["question"].strip(), kind, key if kind == "answerable" else ()))
    return questions


def write_articles(articles: Sequence[dict[str, object]], folder: Path) -> list[Path]:
    """Write each article to a text file; returns the files."""
    files = []
    for number, article in enumerate(articles):
        title = str(article.get("title") or f"article {number}")
        path = folder / f"{re.sub(r'[^0-9A-Za-z]+', '_', title)[:60]}_{number}.txt"
        contexts = [str(paragraph["context"]) for paragraph in article["paragraphs"]]  # type: ignore[attr-defined]
        path.write_text("\n\n".join([title.replace("_", " "), *contexts]))
        files.append(path)
    return files


def folder_questions(folder: Path) -> list[QuestionWithKey]:
    return [
        QuestionWithKey(
            case.question,
            "unanswerable" if case.kind == "abstain" else "answerable",
            () if case.kind == "abstain" else case.expect_words,
        )
        for case in read_cases(folder)
    ]


def ask(question: QuestionWithKey, hits: Sequence[SearchHit], model: LanguageModel | None) -> Outcome:
    texts = {hit.chunk.chunk_id: hit.chunk.text for hit in hits}
    start = time.perf_counter()
    first: float | None = None
    shown: list[AnswerSentence] = []
    for part in answer(question.text, hits, model, AnswerLimits(), Cancellation(time.time() + CALL_S)):
        if isinstance(part, AnswerEnd):
            break
        if part.supported:
            first = first or time.perf_counter() - start
            shown.append(part)
    seconds = time.perf_counter() - start
    within = " ".join(" ".join(sentence.text for sentence in shown).split()[:MAX_WORDS])
    with_key = [(sentence, key) for sentence in shown for key in question.key if _contains(sentence.text, key)]
    quotes = [(texts[one.quotes[0].chunk_id][one.quotes[0].start : one.quotes[0].end], key) for one, key in with_key]
    return Outcome(
        question.kind,
        bool(shown),
        any(_contains(within, key) for key in question.key),
        len(with_key),
        sum(_contains(quote, key) for quote, key in quotes),
        first if first is not None else seconds,
        seconds,
    )


def _contains(text: str, words: str) -> bool:
    return _plain(words) in _plain(text)


def _plain(text: str) -> str:
    return _SPACE.sub("", text.casefold().replace("’", "'")).strip(".,")


def _mean(values: Iterator[bool]) -> str:
    return f"{statistics.mean(map(float, values)):.3f}"


def _percentiles(seconds: Sequence[float]) -> str:
    in_order = sorted(seconds)
    return f"median {in_order[len(in_order) // 2]:.2f} s, p95 {in_order[int(0.95 * (len(in_order) - 1))]:.2f} s"


def say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(options: Sequence[str] | None = None, prog: str = "python -m benchmarks.answers") -> int:
    """Print the figures; returns the exit status."""
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path, nargs="+", metavar="SOURCE")
    parser.add_argument("--outside", type=Path, help="questions about nothing in the library, in the form of SQuAD")
    parser.add_argument("--model", type=Path, help="a GGUF file; without it the answers are extractive")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--questions", type=int, default=100, help="of each kind, at most (default: 100)")
    parser.add_argument("--config", type=Path, default=Path("config/mini.yaml"), help="models that read the files")
    arguments = parser.parse_args(options)

    questions: list[QuestionWithKey] = []
    target = InProcess(settings_of(read_serve_yaml(arguments.config)))
    figures = Figures()
    try:
        with tempfile.TemporaryDirectory() as folder:
            for source in arguments.sources:
                if source.is_dir():
                    questions += folder_questions(source)
                    files = [source / file for file in dict.fromkeys(case.file for case in read_cases(source))]
                else:
                    articles = squad_articles(source)
                    questions += squad_questions(articles)
                    files = write_articles(articles, Path(folder))
                for file in files:
                    target.add(file)
            for failure in target.wait():
                say(f"FAILED {failure}")
        if arguments.outside is not None:
            questions += squad_questions(squad_articles(arguments.outside), outside=True)
        model = _load(arguments.model, arguments.threads) if arguments.model is not None else None
        random.Random(0).shuffle(questions)
        for kind in ("answerable", "unanswerable", "outside"):
            for question in [one for one in questions if one.kind == kind][: arguments.questions]:
                figures.add(ask(question, target.hits(question.text, LIMIT), model))
    finally:
        target.close()
    for line in figures.lines():
        say(line)
    say(f"memory             {psutil.Process().memory_info().rss / MEGABYTE:.0f} MB")
    return 0


def _load(path: Path, threads: int) -> LanguageModel:
    from deployments.answerer.llama import LlamaModel

    return LlamaModel(path, path.name, threads=threads, context_tokens=CONTEXT_TOKENS)


if __name__ == "__main__":
    sys.exit(main())
