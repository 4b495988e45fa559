"""The memory soak in short, and that it notices a leak."""

import random
from collections import Counter
from collections.abc import Sequence

import pytest

from tests.endurance.cases import (
    LOAD_MIX,
    SOAK_MIX,
    large_silence,
    long_recording,
    sample_recording,
    sample_video,
    schedule,
)
from tests.endurance.clients import Findings
from tests.endurance.memory import Sample
from tests.endurance.server import server_under_test
from tests.endurance.soak import SMALL_CACHES, Soak, report_memory, run_soak

NUM_REQUESTS = 200
MAX_GROWTH_MB = 80
"""A leak of 1 MB for each request would be 160 MB from the second tenth to the last."""


@pytest.mark.e2e
@pytest.mark.slow
def test_two_hundred_mixed_requests_leave_no_memory_behind() -> None:
    with server_under_test(None, None, SMALL_CACHES) as server:
        run_soak(server, NUM_REQUESTS, 4, seed=2, period_s=0.2)  # what is allocated once
        soak = run_soak(server, NUM_REQUESTS, 4, seed=3, period_s=0.2)
    assert soak.findings.wrong == []
    growth_mb = soak.growth_mb()
    assert growth_mb < MAX_GROWTH_MB


def test_each_kind_of_request_comes_hundreds_of_times() -> None:
    cases = Counter(schedule(SOAK_MIX, 20_000, random.Random(1)))
    assert sum(cases.values()) == 20_000
    kinds = {case for case, weight in SOAK_MIX.items() if weight}
    assert set(cases) == kinds
    assert min(cases.values()) >= 200
    # These take seconds each.
    assert set(LOAD_MIX) - kinds == {large_silence, long_recording, sample_recording, sample_video}


def soak_of(totals_mb: Sequence[float]) -> Soak:
    samples = [Sample(number, {"one": total - 100, "other": 100}, 50, 10, 5) for number, total in enumerate(totals_mb)]
    return Soak(Findings(), samples, len(totals_mb))


def test_level_memory_is_no_problem(capsys: pytest.CaptureFixture[str]) -> None:
    assert report_memory(soak_of([1000, 1500, *[2000, 2010, 1990] * 36])) == []
    assert "without pages of files -0.0" in capsys.readouterr().out


def test_growth_of_more_than_two_per_cent_is_a_problem_and_its_process_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    [problem] = report_memory(soak_of([2000 + 0.6 * number for number in range(100)]))
    assert "+2.45%" in problem
    [row] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("one ")]
    assert float(row.split()[-1]) - float(row.split()[2]) == pytest.approx(48, abs=0.3)


def test_pages_of_files_that_other_programs_share_for_a_while_are_no_problem() -> None:
    shared = [Sample(number, {"one": 1900.0}, 100, 10, 5) for number in range(50)]
    alone = [Sample(number, {"one": 2000.0}, 200, 10, 5) for number in range(50, 100)]
    assert report_memory(Soak(Findings(), [*shared, *alone], 100)) == []


def test_too_few_samples_are_a_problem() -> None:
    [problem] = report_memory(soak_of([2000, 2000]))
    assert "not judged" in problem
