"""What is told of the library as a whole."""

from pathlib import Path

from starlette.testclient import TestClient

from deployments.library.deployment import LibraryDeployment
from deployments.library.settings import LibraryConfig
from serve_app import __version__
from tests.serve_app.conftest import MakeApi
from tests.serve_app.fakes import FakeGraph
from tests.serve_app.library.conftest import LibraryApi


def test_the_root_says_what_this_is(api: LibraryApi) -> None:
    assert api.client.get("/").json() == {"message": "Prism RAG System API", "version": __version__}


def test_health_is_healthy_while_the_library_works(api: LibraryApi) -> None:
    api.upload(b"Some text.")
    body = api.client.get("/health").json()
    assert (body["status"], body["version"]) == ("healthy", __version__)
    assert body["library"] == {"state": "ready", "detail": "", "total_files": 1, "active_files": 1}


def test_health_names_what_holds_the_folder(make_api: MakeApi, graph: FakeGraph, tmp_path: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("")
    graph.library = LibraryDeployment(LibraryConfig(folder=blocked / "library"))
    with TestClient(make_api()) as client:
        body = client.get("/health").json()
        assert body["status"] == "degraded"
        assert str(blocked) in body["library"]["detail"]
        assert client.get("/files").json()["error"]["code"] == "MODEL_NOT_LOADED"


def test_stats_count_files_chunks_and_rows(api: LibraryApi) -> None:
    api.upload(b"Some text.")
    api.index(("Some text.", {"type": "document", "heading": [], "paragraph": 1}, []))
    body = api.client.get("/debug/stats").json()
    assert (body["total_files"], body["total_chunks"], body["index_size"]) == (1, 1, 1)
    assert body["memory_usage"] > 0
    assert body["table_rows"]


def test_metrics_have_the_names_of_the_guide(api: LibraryApi) -> None:
    api.upload(b"Some text.")
    api.client.post("/search", json={"query": "text"})
    response = api.client.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain")
    lines = response.text.splitlines()
    for name in ("prism_uploads_total", "prism_searches_total", "prism_processing_seconds_count", "prism_active_files"):
        assert any(line.startswith(f"{name} ") for line in lines), name
    assert "prism_active_files 1.0" in lines


def test_verify_and_rebuild_find_a_new_library_in_order(api: LibraryApi) -> None:
    api.upload(b"Some text.")
    for action in ("verify", "rebuild", "checkpoint"):
        assert api.client.post(f"/library/{action}").json()["problems"] == []
