"""The command line, without starting a server."""

import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import requests
import yaml

from deployments.project import project_folder
from prism import serve, tools
from prism.cli import COMMANDS, main
from samples.running_server import free_port
from serve_app import __version__, check
from serve_app.odd_headers import PROXY_CALLBACK, PROXY_VARIABLE

HEAVY = ("torch", "ray", "whisper", "fastapi", "pydantic", "numba", "cv2", "av")


def help_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as exit_status:
        main([*arguments, "--help"])
    assert exit_status.value.code == 0
    return capsys.readouterr().out


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys)
    for name, command in COMMANDS.items():
        assert f"  {name.ljust(11)}  {command.summary}\n" in text


@pytest.mark.parametrize(
    ("arguments", "mentioned"),
    [
        (["samples"], ["usage: prism samples", "--serve", "--url", "FILE"]),
        (["serve"], ["usage: prism serve", "--mini", "FILE", "serve_config.yaml"]),
        (["check"], ["usage: prism check", "--port", "FILE"]),
        (["weights"], ["usage: prism weights", "fetch", "verify", "shrink"]),
        (["weights", "fetch"], ["usage: prism weights fetch", "--captioner", "--transcriber", "--config", "resumed"]),
        (["weights", "shrink"], ["usage: prism weights shrink", "int8", "half the disk space"]),
        (["conformance"], ["usage: prism conformance", "--precision", "DIR", "expected.json"]),
        (["benchmark"], ["usage: prism benchmark", "captioner", "transcriber", "fairness"]),
        (["benchmark", "fairness"], ["usage: prism benchmark fairness", "--clients", "--pictures"]),
        (["benchmark", "captioner"], ["usage: prism benchmark captioner", "--against", "--rounds"]),
        (["benchmark", "speech"], ["usage: prism benchmark speech", "--weights", "--differences"]),
        (["benchmark", "transcriber"], ["usage: prism benchmark transcriber", "--size", "--rounds"]),
    ],
)
def test_each_command_has_its_own_help(
    capsys: pytest.CaptureFixture[str], arguments: list[str], mentioned: list[str]
) -> None:
    text = " ".join(help_of(capsys, *arguments).split())
    for words in mentioned:
        assert words in text


def test_help_and_version_import_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from prism.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"sys.stderr.write(', '.join(sys.modules.keys() & {set(HEAVY)}))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=project_folder(), capture_output=True, text=True, check=True)
    assert "commands:" in run.stdout
    assert run.stderr == ""


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"prism {__version__}\n"


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_status:
        main(["surve"])
    assert exit_status.value.code == 2
    assert "'surve'" in capsys.readouterr().err


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would have replaced this process."""
    commands: list[list[str]] = []
    monkeypatch.setattr(serve.os, "execve", lambda program, arguments, environment: commands.append(arguments))
    return commands


def file_with_port(folder: Path, port: int) -> Path:
    path = folder / "serve.yaml"
    path.write_text((project_folder() / "config/mini.yaml").read_text().replace("port: 8000", f"port: {port}"))
    return path


def test_serve_runs_a_checked_file(tmp_path: Path, executed: list[list[str]]) -> None:
    path = file_with_port(tmp_path, free_port())
    main(["serve", str(path)])
    assert executed == [[sys.executable, "-m", "prism.server", str(path)]]


def test_the_server_runs_without_usage_statistics_drops_odd_headers_and_soon_replaces_a_lost_proxy() -> None:
    environment = serve.server_environment({"RAY_USAGE_STATS_ENABLED": "1", "HOME": "/home/me"})
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
    assert environment[PROXY_VARIABLE] == PROXY_CALLBACK
    assert environment["RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S"] == "1"
    assert environment["HOME"] == "/home/me"


@pytest.mark.parametrize(
    "no_proxy",
    [None, "localhost,169.254.169.254, .internal,127.0.0.1", "169.254.0.0/16", "*", "x,*", "0.0.0.0/0", "169.0.0.0/8"],
)
def test_requests_to_the_clouds_metadata_service_stay_on_the_machine(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str | None
) -> None:
    given = {"no_proxy": no_proxy} if no_proxy else {}
    for name, value in serve.server_environment(given).items():
        monkeypatch.setenv(name, value)
    for url in ("http://169.254.169.254/latest/meta-data/", "http://metadata.google.internal/computeMetadata/v1"):
        with pytest.raises(requests.exceptions.ProxyError, match="127.0.0.1"):
            requests.get(url, timeout=1)
    assert requests.utils.get_environ_proxies("https://huggingface.co/model").get("https") is None


def test_other_hosts_stay_in_no_proxy() -> None:
    environment = serve.server_environment({"NO_PROXY": "localhost,169.254.169.254,10.0.0.0/8"})
    assert environment["NO_PROXY"] == "localhost,10.0.0.0/8,127.0.0.1,::1"
    assert serve.server_environment({"NO_PROXY": "10.0.0.0/8"})["NO_PROXY"] == "10.0.0.0/8"


def test_whoever_uses_no_proxy_for_any_host_goes_on_using_none() -> None:
    environment = serve.server_environment({"NO_PROXY": "*", "HTTPS_PROXY": "http://10.0.0.1", "http_proxy": "x"})
    assert not {"HTTPS_PROXY", "http_proxy"} & set(environment)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "localhost"])
def test_a_free_port_may_be_on_any_of_this_machines_addresses(host: str) -> None:
    config = yaml.safe_load((project_folder() / "config/mini.yaml").read_text())
    config["http_options"] = {"host": host, "port": free_port()}
    assert check._port_problem(config) == []


def test_serve_refuses_a_port_that_is_in_use(
    tmp_path: Path, executed: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        path = file_with_port(tmp_path, other.getsockname()[1])
        assert main(["serve", str(path)]) == 1
    assert "cannot be used" in capsys.readouterr().err
    assert executed == []


@pytest.mark.parametrize(
    ("arguments", "file"), [([], "serve_config.yaml"), (["--mini"], "config/mini.yaml"), (["my.yaml"], "my.yaml")]
)
def test_serve_chooses_the_file(monkeypatch: pytest.MonkeyPatch, arguments: list[str], file: str) -> None:
    checked: list[Path] = []
    monkeypatch.setattr(check, "check", lambda path, *, with_port: checked.append(path) or 1)
    assert main(["serve", *arguments]) == 1
    assert checked == [Path("my.yaml") if file == "my.yaml" else project_folder() / file]


def test_conformance_passes_its_arguments_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", str(tmp_path), "--precision", "int8"]) == 2
    assert "Nothing was compared" in capsys.readouterr().err


@pytest.mark.parametrize(("installed", "name"), [(False, "samples.program"), (True, "prism.samples.program")])
def test_tools_are_found_in_a_checkout_and_in_an_installed_copy(
    monkeypatch: pytest.MonkeyPatch, installed: bool, name: str
) -> None:
    monkeypatch.setattr(tools, "is_installed", lambda: installed)
    monkeypatch.setattr(tools.importlib, "import_module", ModuleType)
    assert tools.import_tool("samples.program").__name__ == name
