"""The toy capability (tests/toy) in a real graph: its node alone adds the deployment, its methods and its routes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml

from deployments.project import project_folder
from deployments.worker_threads import MAX_OVERDUE_S
from samples.running_server import RunningServer, running_server
from serve_app.system_monitor import OVERDUE_PERIOD_S
from tests.e2e.client import ORIGIN, error_of, replica_of
from tests.e2e.test_faults import RECOVERY_S, deployment, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture
def notes_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


@pytest.fixture
def server(tmp_path: Path, notes_folder: Path) -> Iterator[RunningServer]:
    document = yaml.safe_load((project_folder() / "config/mini.yaml").read_text())
    [application] = document["applications"]
    application["import_path"] = "tests.toy.app:build_app"
    application["args"] |= {
        "notebook": {"folder": str(notes_folder)},
        "serving": {"lazy_loading": True, "request_timeout_s": 20},
    }
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(document))
    with running_server(path) as running:
        yield running


@pytest.fixture
def url(server: RunningServer) -> str:
    return server.url


def add(url: str, method: str, note: str) -> requests.Response:
    return requests.post(f"{url}/toy/{method}", params={"note": note}, headers={"Origin": ORIGIN}, timeout=90)


def notes(url: str) -> list[str]:
    result: list[str] = requests.get(f"{url}/toy/notes", timeout=90).json()["notes"]
    return result


def test_a_row_adds_a_deployment_and_after_a_crash_only_what_it_allows_is_replayed(
    url: str, notes_folder: Path
) -> None:
    assert add(url, "add", "milk").json() == {"count": 1}
    assert add(url, "add", "crash").json() == {"count": 2}
    assert (notes_folder / "crashed").exists()
    assert notes(url) == ["crash", "milk"]

    (notes_folder / "crashed").unlink()
    message = error_of(add(url, "add_blindly", "crash"), 500)["message"]
    assert "may or may not have taken effect" in message
    assert notes(url) == ["crash", "crash", "milk"]
    assert add(url, "add_blindly", "bread").json() == {"count": 4}


def test_work_that_cannot_be_stopped_is_named_and_its_process_replaced(server: RunningServer) -> None:
    replica = replica_of(server.pid, "Notebook")
    response = requests.post(f"{server.url}/toy/hang", headers={"Origin": ORIGIN}, timeout=90)
    assert error_of(response, 504)["code"] == "TIMEOUT"

    def is_named() -> bool:
        return "after its deadline and cannot be stopped" in str(deployment(server, "Notebook")["detail"])

    wait_until(is_named, MAX_OVERDUE_S)
    wait_until(lambda: not replica.is_running(), MAX_OVERDUE_S + RECOVERY_S)
    wait_until(lambda: add(server.url, "add", "milk").status_code == 200, 2 * RECOVERY_S)
    wait_until(lambda: not is_named(), OVERDUE_PERIOD_S + RECOVERY_S)
