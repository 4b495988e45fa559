from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from deployments.model_loader import ModelStatus
from serve_app.system import DeploymentStatus
from tests.serve_app.fakes import FakeGraph, FakeSystem


def with_states(graph: FakeGraph, *states: str, **changes: Any) -> None:
    graph.system.statuses = [
        replace(status, state=state, **changes)  # type: ignore[arg-type]
        for status, state in zip(FakeSystem().statuses, states, strict=True)
    ]


def test_the_answer_has_exactly_the_documented_shape(client: TestClient) -> None:
    body = client.get("/api/health").json()
    assert body.pop("timestamp").endswith("Z")
    assert body == {
        "success": True,
        "status": "healthy",
        "models_loaded": True,
        "models": [
            {
                "name": "moondream2",
                "state": "loaded",
                "detail": "",
                "revision": "2025-06-21",
                "load_seconds": 12.3,
                "threads": 4,
                "weight_bytes": 3_900_000_000,
                "is_miniature": False,
            },
            {
                "name": "whisper-base",
                "state": "loaded",
                "detail": "",
                "revision": None,
                "load_seconds": 1.2,
                "threads": 2,
                "weight_bytes": 145_000_000,
                "is_miniature": False,
            },
        ],
        "deployments": [
            {"name": "Captioner", "state": "running", "deaths": 0, "detail": ""},
            {"name": "Transcriber", "state": "running", "deaths": 0, "detail": ""},
            {"name": "FrameSampler", "state": "running", "deaths": 0, "detail": ""},
        ],
        "available_endpoints": [
            "/api/analyze/image",
            "/api/analyze/video",
            "/api/analyze/audio",
            "/api/analyze/batch",
        ],
        "queue": {"requests": 0, "places": 18},
        "system_info": {"memory_usage_mb": 3200.0, "available_memory_mb": 8000.0, "cpu_usage_percent": 45.0},
        "usage_stats_enabled": False,
    }


@pytest.mark.parametrize(
    ("states", "changes", "status", "models_loaded"),
    [
        (("loaded", "loaded"), {}, "healthy", True),
        (("loaded", "loading"), {}, "loading", False),
        (("not_loaded", "not_loaded"), {}, "loading", False),
        (("loading", "failed"), {}, "degraded", False),
        (("loaded", "loaded"), {"is_miniature": True}, "degraded", True),
        (("loaded", "loading"), {"is_miniature": True}, "loading", False),
    ],
)
def test_the_status_follows_the_models_and_is_always_200(
    client: TestClient,
    graph: FakeGraph,
    states: tuple[str, str],
    changes: dict[str, Any],
    status: str,
    models_loaded: bool,
) -> None:
    with_states(graph, *states, **changes)
    response = client.get("/api/health")
    assert response.status_code == 200
    assert (response.json()["status"], response.json()["models_loaded"]) == (status, models_loaded)


def test_readyz_is_503_with_the_progress_until_all_models_are_loaded(client: TestClient, graph: FakeGraph) -> None:
    graph.system.statuses[1] = ModelStatus("whisper-base", "loading", detail="fetching base.pt, 0.1 of 0.14 GB")
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["error"] == {
        "code": "MODEL_NOT_LOADED",
        "message": "whisper-base is loading (fetching base.pt, 0.1 of 0.14 GB).",
    }
    assert "Retry-After" in response.headers
    with_states(graph, "loaded", "loaded")
    assert client.get("/readyz").json()["status"] == "ready"


def test_readyz_says_why_a_model_failed(client: TestClient, graph: FakeGraph) -> None:
    with_states(graph, "failed", "loaded", detail="No weights; run the fetch command.")
    assert "No weights; run the fetch command." in client.get("/readyz").json()["error"]["message"]


def test_it_is_ready_without_models_that_are_loaded_when_needed(client: TestClient, graph: FakeGraph) -> None:
    with_states(graph, "not_loaded", "not_loaded")
    assert client.get("/readyz").status_code == 503
    graph.system.statuses = [replace(status, is_lazy=True) for status in graph.system.statuses]
    assert client.get("/readyz").status_code == 200
    health = client.get("/api/health").json()
    assert (health["status"], health["models_loaded"]) == ("healthy", True)


def test_livez_is_200_whatever_the_models_do(client: TestClient, graph: FakeGraph) -> None:
    with_states(graph, "failed", "failed")
    assert client.get("/livez").status_code == 200


@pytest.mark.parametrize("path", ["/api/health", "/livez", "/readyz"])
def test_head_is_answered_without_a_body(client: TestClient, path: str) -> None:
    assert client.head(path).status_code == 200


def test_a_deployment_that_keeps_crashing_is_counted_named_and_not_ready(client: TestClient, graph: FakeGraph) -> None:
    graph.system.deployment_statuses[2] = DeploymentStatus("FrameSampler", "failing", 4, "FrameSampler: SIGSEGV.")
    body = client.get("/api/health").json()
    assert body["status"] == "degraded"
    assert body["deployments"][2] == {
        "name": "FrameSampler",
        "state": "failing",
        "deaths": 4,
        "detail": "FrameSampler: SIGSEGV.",
    }
    response = client.get("/readyz")
    assert (response.status_code, response.json()["error"]["message"]) == (503, "FrameSampler: SIGSEGV.")


def test_a_deployment_that_died_and_is_back_is_counted_but_does_no_harm(client: TestClient, graph: FakeGraph) -> None:
    graph.system.deployment_statuses[0] = DeploymentStatus("Captioner", "running", 1, "Its process ended at 12:00:01.")
    assert client.get("/api/health").json()["status"] == "healthy"
    assert client.get("/readyz").status_code == 200
