"""A full disk: what needs no room goes on, the rest is refused at once, and all works again once there is room."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.e2e.namespaces import run_in_namespace

pytestmark = [pytest.mark.e2e, pytest.mark.faults, pytest.mark.slow]

AT_ONCE_S = 10.0
"""Far less than the 60 s for which a request waits for a replica."""


@pytest.fixture(scope="module")
def outcomes() -> Mapping[str, Any]:
    result: Mapping[str, Any] = json.loads(run_in_namespace("mount", "tests.e2e.full_disk", timeout_s=600))
    return result


def error(outcome: Mapping[str, Any], status: int) -> Mapping[str, str]:
    assert outcome["status"] == status, outcome
    assert outcome["seconds"] < AT_ONCE_S
    result: Mapping[str, str] = outcome["error"]
    return result


def test_a_large_upload_that_has_no_room_is_refused_at_once(outcomes: Mapping[str, Any]) -> None:
    assert outcomes["large video, with room"]["status"] == 200, "the test's video would be refused anyway"
    assert error(outcomes["large video, full"], 507)["code"] == "STORAGE_FULL"


def test_requests_that_need_no_room_are_answered(outcomes: Mapping[str, Any]) -> None:
    for step in ("picture, full", "clip, full", "picture, full, after the sampler was lost"):
        assert outcomes[step]["status"] == 200, step


def test_a_lost_replica_that_cannot_be_replaced_is_refused_at_once_with_the_cause(outcomes: Mapping[str, Any]) -> None:
    refusal = error(outcomes["clip, full, after the sampler was lost"], 503)
    assert refusal["code"] == "MODEL_NOT_LOADED"
    assert "FrameSampler cannot be started since the disk is full: free some space in /" in refusal["message"]
    health = outcomes["health, full"]
    [sampler] = [report for report in health["deployments"] if report["name"] == "FrameSampler"]
    assert (health["status"], sampler["state"], sampler["deaths"]) == ("degraded", "failing", 1)
    assert "the disk is full" in sampler["detail"]


def test_the_request_that_waited_for_the_lost_replica_is_refused_soon(outcomes: Mapping[str, Any]) -> None:
    assert outcomes["seconds until a clip is refused"] < 15


def test_once_there_is_room_everything_works_again(outcomes: Mapping[str, Any]) -> None:
    # Ray waits for 60 s for a process that has failed to start before it starts another.
    assert outcomes["seconds until a clip is answered again"] < 120
    for step in ("large video, with room again", "picture, with room again"):
        assert outcomes[step]["status"] == 200, step
