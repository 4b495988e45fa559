"""The documents name what is there, and nothing that is not."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from deployments.project import project_folder
from prism import cli
from prism.cli import COMMANDS
from serve_app.modalities import MODALITIES
from serve_app.modalities.modality import Modality
from serve_app.settings import ENVIRONMENT_VARIABLES, AppConfig

ROOT = project_folder()
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("checkpoints/mini/**/*.md")])


def mapped_paths() -> list[str]:
    """Return the paths of the README's map: each line is indented below its folder."""
    [block] = re.findall(r"## Map\n\n```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    folders: list[str] = []
    paths = []
    for line in block.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        folders = folders[:depth]
        paths.append("".join([*folders, name]))
        if name.endswith("/"):
            folders.append(name)
    return paths


def test_the_map_has_a_line_for_each_module_of_the_product() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "serve_app", "deployments", "prism", "samples", "benchmarks", "recipes/*.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    modules = {path for path in tracked if path.endswith(".py") and not path.endswith("__init__.py")}
    modules = {path for path in modules if path.count("/") < 2 or not path.startswith("recipes/")}
    assert modules - set(mapped_paths()) == set()


def test_the_map_names_only_what_is_there() -> None:
    assert [path for path in mapped_paths() if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_within_the_project_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("modality", MODALITIES, ids=lambda modality: modality.kind)
def test_the_readme_lists_the_formats_of_each_route(modality: Modality[Any]) -> None:
    [listed] = re.findall(
        rf"\| `POST {modality.path}` \| `{modality.kind}`: (.*?), \d+ MB \|", (ROOT / "README.md").read_text()
    )
    assert re.sub(r" \([^)]*\)", "", listed).split(", ") == [each.name for each in modality.formats]


def settings(model: type[BaseModel] = AppConfig, section: str = "") -> Iterator[tuple[str, str, object]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings(field.annotation, name)
        else:
            yield section, name, field.default


def test_every_setting_is_documented_with_its_default() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    for section, name, default in settings():
        [table] = re.findall(rf"\n\| `{section}` \|.*?\n\n", page, re.DOTALL)
        [row] = [line for line in table.splitlines() if line.startswith(f"| `{name}` |")] or [""]
        assert row, f"{section}.{name} is not in docs/settings.md"
        if isinstance(default, bool):
            assert f"`{str(default).lower()}`" in row
        elif isinstance(default, int | float):
            assert re.search(rf"\| {default:g} \||\| {default} \|", row), f"{section}.{name} has the default {default}"
        elif isinstance(default, str | Path):
            assert f"`{default}`" in row


def test_every_environment_variable_is_documented_with_its_setting() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    for variable, (section, field) in ENVIRONMENT_VARIABLES.items():
        assert re.search(rf"\| `{variable}` \|.*\| `{section}\.{field}` \|", page)


def commands_of(document: Path) -> Iterator[list[str]]:
    """Yield the words of each `prism` command in a document's shell blocks."""
    for block in re.findall(r"```bash\n(.*?)```", document.read_text(), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if "prism" in words:
                yield words[len(words) - words[::-1].index("prism") :]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_shell_commands_of_the_documents_are_subcommands(document: Path) -> None:
    assert [words for words in commands_of(document) if words and words[0] not in {*COMMANDS, "--help"}] == []


def test_the_commands_of_the_recipes_have_these_options(capsys: pytest.CaptureFixture[str]) -> None:
    commands = list(commands_of(ROOT / "docs/recipes.md"))
    assert len(commands) > 10
    for name, *words in commands:
        with pytest.raises(SystemExit):
            cli.main([name, "--help"])
        usage = capsys.readouterr().out
        for option in (word for word in words if word.startswith("--")):
            assert option in usage, [name, *words]
