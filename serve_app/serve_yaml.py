"""Reads a Serve YAML: the file that `serve run` takes."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from serve_app.settings import AppConfig


class InvalidServeYaml(Exception):
    """The file cannot be used; the message says why and names the key."""


def read_serve_yaml(path: Path) -> dict[str, Any]:
    """Return the content of a Serve YAML; raises InvalidServeYaml, also if a mapping has a key twice."""
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeyLoader)
    except OSError as error:
        raise InvalidServeYaml(f"{path} cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidServeYaml(f"{path} is not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise InvalidServeYaml(f"{path} is not a Serve configuration: its top level is not a mapping")
    return document


def settings_of(document: dict[str, Any]) -> AppConfig:
    """Return the settings that a server started with this YAML would have; `args:` of the first application counts.

    Raises InvalidServeYaml with the path of every key that is wrong.
    """
    applications = document.get("applications")
    if not isinstance(applications, list) or not applications or not isinstance(applications[0], dict):
        raise InvalidServeYaml("applications: must be a list with one application")
    return validate_settings(applications[0].get("args") or {}, "applications[0].args.")


def validate_settings(args: Any, prefix: str = "") -> AppConfig:
    """Return the settings in `args`, completed from the environment, `.env` and the defaults.

    Raises InvalidServeYaml with the path, after `prefix`, of every key that is wrong.
    """
    try:
        return AppConfig.model_validate(args)
    except ValidationError as error:
        raise InvalidServeYaml("; ".join(describe_errors(error, prefix))) from error


def describe_errors(error: ValidationError, prefix: str) -> list[str]:
    """Return one line for each error, with the path of its key after `prefix`."""
    return [f"{prefix}{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]


class _UniqueKeyLoader(yaml.SafeLoader):
    """Rejects a key that occurs twice in a mapping; YAML's own loader silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} occurs twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)
