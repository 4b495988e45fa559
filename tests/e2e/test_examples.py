"""The examples that `/docs` shows, run as they are, but for the server's port and the files' ids."""

import contextlib
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import requests

from deployments.project import project_folder
from samples.running_server import RunningServer
from serve_app.examples import BASE_URL, EXAMPLES, to_curl, to_python, to_typescript, variable
from tests.e2e.library import LibraryClient
from tests.e2e.test_readme import NODE

pytestmark = pytest.mark.e2e

FILES = ("article.pdf", "rules.docx", "clip.mp4")
"""The first files of the library, as EXAMPLES have them; the fourth one fails."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (*FILES, "picture.jpg", "recording.mp3"):
        shutil.copy(project_folder() / "samples" / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def ids(server: RunningServer, folder: Path, model_cache: Path) -> Mapping[str, int]:
    """The ids that the examples have, and those of the files on the server."""
    library = LibraryClient(server.url)
    found = [library.upload(name, (folder / name).read_bytes())["file_id"] for name in FILES]
    broken = library.upload("broken.pdf", b"%PDF-1.7\nbroken")["file_id"]
    for file_id in found:
        library.until_completed(file_id)
    assert library.until(broken, ("failed",))
    return {str(number): file_id for number, file_id in enumerate([*found, broken], 1)}


def test_each_route_has_examples(url: str) -> None:
    paths = requests.get(f"{url}/openapi.json", timeout=10).json()["paths"]
    routes = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    assert routes == {(example.method, example.path) for example in EXAMPLES}
    for path, operations in paths.items():
        for operation in operations.values():
            for language in ("bash", "python", "typescript"):
                assert f"```{language}\n" in operation["description"], path


@pytest.fixture
def codes(url: str, ids: Mapping[str, int]) -> Callable[[Callable[..., str]], list[str]]:
    def make(language: Callable[..., str]) -> list[str]:
        texts = [language(example).replace(BASE_URL, url) for example in EXAMPLES]
        return [re.sub(r"(?<=/files/)(\d)(?=\D|$)", lambda number: str(ids[number[1]]), text) for text in texts]

    return make


def test_the_examples_for_curl_work(codes: Callable[[Callable[..., str]], list[str]], folder: Path) -> None:
    for code in codes(to_curl):
        command = re.sub(r"\bcurl\b", "curl -sS --fail-with-body", code)
        run = subprocess.run(["bash", "-ec", command], cwd=folder, capture_output=True, text=True, check=False)
        assert run.returncode == 0, (code, run.stdout, run.stderr)
        assert run.stdout or (folder / "answer").read_bytes()


def test_the_examples_for_python_work(
    codes: Callable[[Callable[..., str]], list[str]], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for code in codes(to_python):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(code, code, "exec"), {})
        assert len(printed.getvalue()) > 1, code
        assert "event: error" not in printed.getvalue()


def test_the_examples_for_typescript_work(codes: Callable[[Callable[..., str]], list[str]], folder: Path) -> None:
    """All in one process of Node, which takes the types out itself."""
    names = []
    for number, code in enumerate(codes(to_typescript)):
        names.append(f"example{number}.ts")
        (folder / names[-1]).write_text(f"{code}\nexport {{}};\n")
    files = {
        variable(path.name): path.name for path in folder.iterdir() if path.suffix in (".pdf", ".jpg", ".mp3", ".mp4")
    }
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "all.ts").write_text(
        f"""
        import {{ openAsBlob }} from 'node:fs';
        for (const [name, path] of Object.entries({json.dumps(files)})) {{
            globalThis[name] = new File([await openAsBlob(path)], path);
        }}
        for (const name of {json.dumps(names)}) {{
            console.log(name);
            await import(`./${{name}}`);
        }}
        """
    )
    run = subprocess.run([NODE, "all.ts"], cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, (run.stdout[-500:], run.stderr)
    assert "event: error" not in run.stdout
