"""The wheel, installed into a virtual environment of its own and used from an empty folder.

Nothing is downloaded: the wheel is built with the hatchling of this environment (requirements-dev.txt), and the new
environment finds the dependencies in this environment's site-packages, through a `.pth` file. Python does not read the
`.pth` files of that folder, so an editable install of the checkout there is not visible.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.project import project_folder
from serve_app import __version__
from serve_app.web_page import PAGE_FOLDER

pytestmark = pytest.mark.e2e

COPIED = ("serve_app", "deployments", "prism", "samples", "benchmarks", "config", "checkpoints")
"""The folders that the wheel is built from; single files are copied too."""

SEARCH_FILES = project_folder() / "benchmarks" / "search_files"

Prism = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from a copy of the checkout, which stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in COPIED:
        shutil.copytree(project_folder() / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in project_folder().iterdir():
        if path.is_file():
            shutil.copy(path, source)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs in a virtual environment with the wheel."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=False)
    pip("--python", str(folder / "bin/python"), "install", "--no-deps", "--no-index", str(wheel))
    [site_packages] = folder.glob("lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


@pytest.fixture
def prism(scripts: Path, tmp_path: Path) -> Prism:
    """Runs the installed command in an empty folder."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [scripts / "prism", *arguments],
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


def pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments], check=True)


def packaged(scripts: Path, name: str) -> Path:
    """Return where a file of the project is in the installed copy."""
    [folder] = scripts.parent.glob("lib/python*/site-packages/prism/project")
    return folder / name


def test_the_wheel_has_our_packages_and_the_projects_files(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top_level = {name.partition("/")[0] for name in names}
    assert top_level == {"serve_app", "deployments", "prism", f"multimodal_analysis_backend-{__version__}.dist-info"}
    project = {name for name in names if name.startswith("prism/project/")}
    assert {name.removeprefix("prism/project/") for name in project} == {
        "serve_config.yaml",
        "config/mini.yaml",
        "config/postgres.yaml",
        "samples/picture.jpg",
        "samples/clip.mp4",
        "samples/recording.mp3",
        "samples/article.pdf",
        "samples/rules.docx",
        *(f"benchmarks/search_files/{path.name}" for path in SEARCH_FILES.iterdir()),
        "checkpoints/mini/whisper-mini.md",
        "checkpoints/mini/whisper-mini.pt",
        "checkpoints/mini/moondream-mini/README.md",
        "checkpoints/mini/moondream-mini/config.json",
        "checkpoints/mini/moondream-mini/model.safetensors",
        "checkpoints/mini/moondream-mini/tokenizer.json",
    }
    page = {f"serve_app/page/{path.relative_to(PAGE_FOLDER)}" for path in PAGE_FOLDER.rglob("*") if path.is_file()}
    assert "serve_app/page/index.html" in page & set(names)
    assert {name.rpartition(".")[2] for name in set(names) - project - page if ".dist-info" not in name} == {"py"}
    assert page <= set(names)


def test_the_wheel_names_its_licence_and_dependencies(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    metadata = archive.read(f"multimodal_analysis_backend-{__version__}.dist-info/METADATA").decode()
    assert "License-Expression: Apache-2.0\n" in metadata
    dependencies = re.findall("^Requires-Dist: (.*)$", metadata, re.MULTILINE)
    pinned = "".join((project_folder() / f"requirements{name}.txt").read_text() for name in ("", "-postgres"))
    assert {"torch==2.13.0", "ray[serve]==2.60.0"} <= set(dependencies)
    assert "pgvector==0.5.1; extra == 'postgres'" in dependencies
    assert len(dependencies) == len(re.findall("^[a-z].*==", pinned, re.MULTILINE))


def test_help_and_version(prism: Prism) -> None:
    assert "send files to a server" in prism("--help").stdout
    assert prism("--version").stdout == f"prism {__version__}\n"
    assert "usage: prism samples" in prism("samples", "--help").stdout
    assert "usage: prism benchmark transcriber" in prism("benchmark", "transcriber", "--help").stdout


@pytest.mark.parametrize("name", ["serve_config.yaml", "config/mini.yaml", "config/postgres.yaml"])
def test_the_packaged_yaml_files_pass_the_check(prism: Prism, scripts: Path, name: str) -> None:
    run = prism("check", str(packaged(scripts, name)))
    assert run.stdout == f"{packaged(scripts, name)}: all keys and values are valid.\n", run.stderr


@pytest.mark.slow
def test_the_samples_are_described_and_found_by_a_server_of_the_installed_copy(prism: Prism, scripts: Path) -> None:
    run = prism("samples", "--serve", str(packaged(scripts, "config/mini.yaml")))
    words = " ".join(run.stdout.split())
    assert run.returncode == 0, run.stdout + run.stderr
    assert "A large yellow star at the top left" in words
    assert "Please close the gate when you leave." in words
    assert "moondream-mini: loaded" in words
    assert "found in article.pdf, page 1 passage" in words
    assert "found in rules.docx, Rules of the workshop > Machines > Furnace, paragraph" in words
    assert "found in recording.mp3, 0:00:03 to 0:00:06 passage The apple trees are in bloom this week." in words
    assert "status degraded" in words
