"""Runs many clients at once, and collects what was answered."""

import random
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.endurance.cases import Case, Context, Doubt
from tests.endurance.client import Client, WrongAnswer
from tests.endurance.inputs import Inputs

MAX_MISTAKES = 0.06
"""The part of the answers of a kind that may be mistakes of the miniature, which it makes again when asked again: its
card says 2 % of questions, 5 to 7 % of recordings."""
MIN_JUDGED = 50
"""Mistakes are judged for kinds with this many requests."""
MAX_SHOWN = 40


@dataclass
class Findings:
    """What the clients found."""

    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """By kind of request: how often each status and code was answered."""
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By kind of request: how long each answer took."""
    num_requests: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    doubts: list[tuple[str, Doubt]] = field(default_factory=list)
    mistakes: Counter[str] = field(default_factory=Counter)
    """Of the miniature, by kind of request."""
    num_done: int = 0


def run_clients(url: str, cases: Iterator[Case], num_clients: int, seed: int, inputs: Inputs | None = None) -> Findings:
    """Have the clients send the requests, each the next one of `cases`, until there are no more."""
    findings = Findings()
    inputs = inputs or Inputs()
    lock = threading.Lock()
    numbered = enumerate(cases)

    def run_one_after_another() -> None:
        while True:
            with lock:
                number, case = next(numbered, (-1, None))
            if case is None:
                return
            _run_case(case, f"{seed}/{number}", url, inputs, findings, lock)

    threads = [
        threading.Thread(target=run_one_after_another, name=f"client {k}", daemon=True) for k in range(num_clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return findings


def _run_case(case: Case, seed: str, url: str, inputs: Inputs, findings: Findings, lock: threading.Lock) -> None:
    kind = case.__name__
    rng = random.Random(seed)

    def note(outcome: str, seconds: float) -> None:
        with lock:
            findings.outcomes[kind][outcome] += 1
            findings.seconds[kind].append(seconds)

    context = Context(Client(url, note, rng), inputs, rng, [])
    problem = ""
    try:
        case(context)
    except WrongAnswer as error:
        problem = str(error)
    except Exception as error:
        problem = f"the client failed: {error!r}"
    finally:
        context.client.close()
    with lock:
        findings.num_done += 1
        findings.num_requests[kind] += 1
        findings.doubts += [(kind, doubt) for doubt in context.doubts]
        if problem:
            findings.wrong.append(f"{kind} (request {seed}): {problem[:2000]}")


def settle_doubts(url: str, findings: Findings) -> None:
    """Send the files whose answers were not right again, one at a time: a miniature makes the same mistake again.

    Another answer than before is one that the server got wrong under load.
    """
    client = Client(url, lambda outcome, seconds: None, random.Random(0))
    for kind, doubt in findings.doubts:
        try:
            alone = doubt.again(client)
        except WrongAnswer as error:
            alone = error
        if alone == doubt.got:
            findings.mistakes[kind] += 1
        else:
            findings.wrong.append(
                f"{kind}: the answer was {doubt.got!r}, and that to the same file, alone, {alone!r}; right is "
                f"{doubt.expected!r}"
            )
    client.close()
    for kind, num_mistakes in findings.mistakes.items():
        count = findings.num_requests[kind]
        if count >= MIN_JUDGED and num_mistakes > MAX_MISTAKES * count:
            examples = [(doubt.expected, doubt.got) for other, doubt in findings.doubts if other == kind][:5]
            findings.wrong.append(f"{kind}: {num_mistakes} of {count} answers are wrong, such as {examples!r}")


def write_table(findings: Findings) -> None:
    """Write how often each kind was sent, what was answered, and how long that took."""
    sys.stdout.write(f"\n{'kind':22} {'sent':>6} {'p50 s':>7} {'p95 s':>7}  answers\n")
    for kind in sorted(findings.num_requests):
        seconds = sorted(findings.seconds[kind]) or [0.0]
        p50, p95 = (seconds[min(len(seconds) - 1, int(len(seconds) * part))] for part in (0.5, 0.95))
        outcomes = ", ".join(f"{count} x {outcome}" for outcome, count in findings.outcomes[kind].most_common())
        mistakes = f"; {findings.mistakes[kind]} mistakes of the miniature" if findings.mistakes[kind] else ""
        sys.stdout.write(f"{kind:22} {findings.num_requests[kind]:6d} {p50:7.2f} {p95:7.2f}  {outcomes}{mistakes}\n")
    total: Counter[str] = Counter()
    for counter in findings.outcomes.values():
        total += counter
    answers = ", ".join(f"{count} x {outcome}" for outcome, count in total.most_common())
    sys.stdout.write(f"{'all':22} {sum(findings.num_requests.values()):6d} {'':15}  {answers}\n\n")


def write_problems(problems: list[str]) -> None:
    for problem in problems[:MAX_SHOWN]:
        sys.stdout.write(f"WRONG: {problem}\n")
    if len(problems) > MAX_SHOWN:
        sys.stdout.write(f"and {len(problems) - MAX_SHOWN} more\n")


class ProgressLines:
    """Writes a line every minute while the block lasts."""

    def __init__(self, progress: Callable[[], str], period_s: float = 60.0) -> None:
        self._progress = progress
        self._period_s = period_s
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        started = time.monotonic()
        while not self._is_over.wait(self._period_s):
            sys.stdout.write(f"{time.monotonic() - started:6.0f} s: {self._progress()}\n")
            sys.stdout.flush()
