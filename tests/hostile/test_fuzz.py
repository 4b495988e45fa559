"""The short form of the fuzzer; `python -m tests.hostile.fuzz --cases 5000` is the long one."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from deployments.errors import InvalidFile
from tests.hostile.fuzz import Report, Target, case_content, run, targets
from tests.hostile.mutation import mutate

SEED = 2
NUM_CASES = {"type": 500, "image": 150, "sound": 100, "video": 85, "form": 150, "json": 100}


@pytest.fixture(scope="module")
def available() -> Iterator[Sequence[Target]]:
    with targets() as started:
        yield started


@pytest.mark.parametrize("name", NUM_CASES)
def test_damaged_input_gives_a_plausible_result_or_a_documented_error(available: Sequence[Target], name: str) -> None:
    [target] = [target for target in available if target.name == name]
    report = run(target, SEED, range(NUM_CASES[name]))
    assert report.faults == []
    assert report.num_cases == NUM_CASES[name]


def test_the_seeds_themselves_are_accepted(available: Sequence[Target]) -> None:
    refused = []
    for target in available:
        for name, content in target.seeds.items():
            outcome = target.read(content)
            refused += [(target.name, name, outcome)] if outcome else []
    assert refused == []


def test_anything_but_a_documented_error_is_a_fault_that_can_be_repeated() -> None:
    def read(content: bytes) -> str | None:
        if sum(content) % 2:
            raise InvalidFile("It is odd.")
        raise ZeroDivisionError("a bug")

    target = Target("toy", {"odd": b"\x01", "even": b"\x02"}, read, (InvalidFile,))
    report: Report = run(target, 7, range(40))
    assert report.outcomes["FAULT"] == len(report.faults) > 0
    assert report.outcomes["INVALID_FILE"] > 0
    assert all("--seed 7 --only toy:" in fault and "ZeroDivisionError" in fault for fault in report.faults)


def test_a_case_depends_on_its_seed_and_number_only() -> None:
    target = Target("toy", {"a": bytes(range(200)), "b": bytes(300)}, lambda content: None, ())
    assert case_content(target, 1, 5) == case_content(target, 1, 5)
    assert len({case_content(target, seed, case) for seed in (1, 2) for case in range(20)}) > 35


def test_a_mutation_takes_any_content() -> None:
    generator = np.random.default_rng(0)
    for length in [0, 1, 2, 3, 10] * 60:
        assert isinstance(mutate(bytes(length), [b"", b"other"], generator), bytes)
