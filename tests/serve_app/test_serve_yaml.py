from pathlib import Path

import pytest

from deployments.project import project_folder
from serve_app.serve_yaml import InvalidServeYaml, read_serve_yaml, settings_of


@pytest.mark.parametrize("name", ["serve_config.yaml", "config/mini.yaml", "config/postgres.yaml"])
def test_the_shipped_files_are_read_and_their_settings_are_valid(name: str) -> None:
    document = read_serve_yaml(project_folder() / name)
    assert document["applications"][0]["import_path"] == "serve_app.app:build_app"
    assert settings_of(document).captioner.is_official == (name != "config/mini.yaml")


def test_a_duplicate_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("http_options: {port: 8000}\nhttp_options: {port: 8001}\n")
    with pytest.raises(InvalidServeYaml, match="'http_options' occurs twice"):
        read_serve_yaml(path)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"- 1", "not a mapping"), (b": :", "not valid YAML"), (b"\xff\xfe\x00", "not valid YAML")]
)
def test_a_file_that_is_not_a_serve_yaml_is_refused_by_name(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "serve.yaml"
    path.write_bytes(content)
    with pytest.raises(InvalidServeYaml, match=f"serve.yaml.*{reason}"):
        read_serve_yaml(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidServeYaml, match="missing.yaml cannot be read: No such file"):
        read_serve_yaml(tmp_path / "missing.yaml")


def test_a_misspelt_setting_is_named_with_its_path() -> None:
    document = {"applications": [{"args": {"captioner": {"modle": "moondream2"}}}]}
    with pytest.raises(InvalidServeYaml, match=r"applications\[0\]\.args\.captioner\.modle: Extra inputs"):
        settings_of(document)


@pytest.mark.parametrize("applications", [3, [], [1], None])
def test_a_file_without_applications_is_refused(applications: object) -> None:
    with pytest.raises(InvalidServeYaml, match="applications: must be a list"):
        settings_of({"applications": applications})
