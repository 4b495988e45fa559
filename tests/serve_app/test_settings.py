from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr, ValidationError

from deployments.project import project_folder
from serve_app import settings
from serve_app.settings import ENVIRONMENT_VARIABLES, AppConfig


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `.env` file of the test's own, where the settings look for one."""
    env_file = tmp_path / ".env"
    monkeypatch.setattr(settings, "env_file", lambda: env_file)
    return env_file


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("MODEL_CACHE_DIR", "/models", Path("/models")),
        ("MAX_UPLOAD_SIZE_MB", "7", 7),
        ("MAX_CONCURRENT_REQUESTS", "3", 3),
        ("REQUEST_TIMEOUT_SECONDS", "90.5", 90.5),
        ("WHISPER_MODEL_SIZE", "tiny", "tiny"),
        ("CORS_ORIGINS", "http://a:1, http://b:2/", ("http://a:1", "http://b:2")),
        ("LOG_LEVEL", "debug", "DEBUG"),
        ("LLM_MODEL", "Qwen2.5-0.5B-Instruct", "Qwen2.5-0.5B-Instruct"),
        ("PRISM_ENCRYPTION_KEY", "a key, long enough", SecretStr("a key, long enough")),
    ],
)
def test_every_variable_sets_its_setting(
    env_file: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: object
) -> None:
    section, field = ENVIRONMENT_VARIABLES[variable]
    default = getattr(getattr(AppConfig(), section), field)
    assert default != expected
    monkeypatch.setenv(variable, value)
    assert getattr(getattr(AppConfig(), section), field) == expected


def test_args_win_over_environment_over_env_file_over_default(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert AppConfig().serving.request_timeout_s == 60
    env_file.write_text("REQUEST_TIMEOUT_SECONDS=10\n")
    assert AppConfig().serving.request_timeout_s == 10
    monkeypatch.setenv("REQUEST_TIMEOUT_SECONDS", "20")
    assert AppConfig().serving.request_timeout_s == 20
    assert AppConfig.model_validate({"serving": {"request_timeout_s": 30}}).serving.request_timeout_s == 30


def test_an_unknown_key_is_refused_by_name(env_file: Path) -> None:
    with pytest.raises(ValidationError, match=r"serving\.lazy_laoding"):
        AppConfig.model_validate({"serving": {"lazy_laoding": True}})


def test_an_unknown_whisper_size_is_refused_with_the_known_ones(
    env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPER_MODEL_SIZE", "huge")
    with pytest.raises(ValidationError, match="tiny, base, small, medium"):
        AppConfig()


@pytest.mark.parametrize(
    "args",
    [
        {"library": {"encryption_key": "a key, long enough"}},
        {"library": {"encryption_key": None}},
        {"library": {"encryption_key": ["a key, long enough"], "folder": 7}},
    ],
)
def test_the_encryption_key_is_not_taken_from_the_yaml(
    env_file: Path, monkeypatch: pytest.MonkeyPatch, args: dict[str, object]
) -> None:
    for variable in ("another key, long enough", ""):
        monkeypatch.setenv("PRISM_ENCRYPTION_KEY", variable)
        with pytest.raises(ValidationError, match=r"library\.encryption_key.*set PRISM_ENCRYPTION_KEY") as caught:
            AppConfig.model_validate(args)
        assert "long enough" not in str(caught.value)


@pytest.mark.parametrize("args", [{}, {"library": {"foldr": "x"}}, {"library": "x"}, {"serving": 7}, 7])
def test_no_error_or_representation_of_the_settings_shows_the_key(
    env_file: Path, monkeypatch: pytest.MonkeyPatch, args: object
) -> None:
    monkeypatch.setenv("PRISM_ENCRYPTION_KEY", "too short")
    with pytest.raises(ValidationError) as caught:
        AppConfig.model_validate(args)
    assert "too short" not in str(caught.value)
    monkeypatch.setenv("PRISM_ENCRYPTION_KEY", "a key, long enough")
    assert "long enough" not in repr(AppConfig()) + AppConfig().model_dump_json() + str(AppConfig().model_dump())


def test_the_home_folder_is_expanded_in_the_default_cache(env_file: Path) -> None:
    assert AppConfig().weights.cache_dir == Path.home() / ".cache" / "multimodal_models"


def test_the_shipped_example_names_every_variable_with_its_default(
    env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = (project_folder() / ".env.example").read_text()
    defaults = AppConfig()
    env_file.write_text(example)
    assert all(f"\n{variable}=" in example for variable in ENVIRONMENT_VARIABLES)
    assert AppConfig() == defaults


@pytest.mark.parametrize("name", ["serve_config.yaml", "config/mini.yaml"])
def test_the_args_of_the_shipped_yaml_files_are_valid(env_file: Path, name: str) -> None:
    application = yaml.safe_load((project_folder() / name).read_text())["applications"][0]
    AppConfig.model_validate(application.get("args", {}))


def test_the_main_yaml_shadows_no_environment_variable() -> None:
    application = yaml.safe_load((project_folder() / "serve_config.yaml").read_text())["applications"][0]
    assert "args" not in application


def test_allowed_hosts_are_written_as_in_the_host_header(env_file: Path) -> None:
    serving = AppConfig.model_validate({"serving": {"allowed_hosts": ["Laptop.Local", "::1", "[fd00::5]"]}}).serving
    assert serving.allowed_hosts == ("laptop.local", "[::1]", "[fd00::5]")


def test_folders_for_tools_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("MCP_FOLDERS", "~/Pictures, /media/disk,")
    assert AppConfig().serving.mcp_folders == (Path("/home/somebody/Pictures"), Path("/media/disk"))
    monkeypatch.setenv("MCP_FOLDERS", "")
    assert AppConfig().serving.mcp_folders == ()
    monkeypatch.setenv("MCP_FOLDERS", "Pictures")
    with pytest.raises(ValidationError, match="must be whole paths"):
        AppConfig()
