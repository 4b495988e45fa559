"""The page at /app/ (serve_app/web_page.py). web/tests drives it in a browser."""

import base64
import hashlib
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from serve_app.web_page import PAGE_FOLDER
from tests.serve_app.conftest import MakeApi

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
SECTIONS = ["/app/", "/app/library/"]

NAMED_ADDRESSES = re.compile(
    r"http://www\.w3\.org/|https://(react\.dev/errors|nextjs\.org/docs|github\.com/zloirock/core-js)/?"
    r"|http://(localhost|n)\b|https://([ax]|тест)\b"
)
"""What the scripts only name: XML namespaces, explanations of errors of React and Next, and addresses that core-js, for
old browsers, parses to find out what they can do. The policy forbids to load from them in any case."""


@pytest.mark.parametrize("path", SECTIONS)
def test_a_section_is_html_that_loads_only_what_is_there(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    loaded = re.findall(r'(?:src|href)="([^"#]+)"', response.text)
    assert len(loaded) > 5
    assert [address for address in loaded if client.get(address).status_code != 200] == []


def test_the_export_names_no_address_to_load_from() -> None:
    texts = [path.read_text() for path in PAGE_FOLDER.rglob("*") if path.suffix in (".html", ".js", ".css", ".txt")]
    addresses = {address for text in texts for address in re.findall(r"https?://[\w.-]+[^\s\"'`)]*", text)}
    assert [address for address in addresses if not NAMED_ADDRESSES.match(address)] == []


def test_the_export_has_no_path_of_the_machine_that_built_it() -> None:
    texts = [path.read_text() for path in PAGE_FOLDER.rglob("*") if path.suffix in (".html", ".js", ".css", ".txt")]
    assert texts
    assert [text for text in texts if re.search(r"/(home|root|Users|tmp|work)/", text)] == []


@pytest.mark.parametrize("path", SECTIONS)
def test_the_policy_allows_the_scripts_within_the_html_and_nothing_from_elsewhere(
    client: TestClient, path: str
) -> None:
    response = client.get(path)
    policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
    scripts = re.findall(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", response.text, re.DOTALL)
    assert scripts
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy["script-src"].split()
    assert policy["default-src"] == "'none'"
    assert "unsafe" not in response.headers["content-security-policy"]
    assert "http" not in response.headers["content-security-policy"]


def test_files_are_kept_by_browsers_only_if_their_name_changes_with_their_content(client: TestClient) -> None:
    assert client.get("/app/").headers["cache-control"] == "no-cache"
    [script, *_] = sorted((PAGE_FOLDER / "_next/static/chunks").glob("*.js"))
    kept = client.get(f"/app/_next/static/chunks/{script.name}")
    assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
    again = client.get("/app/", headers={"If-None-Match": client.get("/app/").headers["etag"]})
    assert again.status_code == 304


def test_a_browser_is_sent_to_the_page_and_other_clients_are_not(client: TestClient) -> None:
    sent = client.get("/", headers=BROWSER, follow_redirects=False)
    assert (sent.status_code, sent.headers["location"], sent.headers["vary"]) == (307, "/app/", "Accept, Origin")
    assert client.get("/app", headers=BROWSER).url.path == "/app/"
    for accept in ("*/*", "application/json", "text/plain", ""):
        response = client.get("/", headers={"Accept": accept})
        assert response.json()["message"] == "Prism RAG System API"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/app/nothing.js", 404),
        ("GET", "/app/nothing/", 404),
        ("GET", "/app/../api.py", 404),
        ("GET", "/app/%2e%2e/api.py", 404),
        ("POST", "/app/", 405),
    ],
)
def test_what_the_page_does_not_have_is_answered_in_json(
    client: TestClient, method: str, path: str, status: int
) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert set(response.json()) == {"success", "error", "timestamp"}


def test_an_export_that_is_not_there_is_told_at_the_start(
    make_api: MakeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("serve_app.web_page.PAGE_FOLDER", tmp_path / "page")
    with pytest.raises(RuntimeError, match="does not exist"):
        make_api()
