"""Checks a Serve YAML before it is run: `python -m serve_app.check serve_config.yaml`.

Serve ignores unknown keys nearly everywhere, so a misspelt limit would silently have no effect. This names every
unknown or repeated key, every bad value, a queue that is too short, an app that cannot be imported and a timeout that
Serve would answer in plain text; with `--port` also a port that is taken. The exit status is 1 if there is any.
"""

import argparse
import difflib
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from ray.serve.schema import ServeDeploySchema

from deployments.worker_threads import MAX_CONCURRENT_CALLS
from serve_app.graph import GRAPH, INGRESS, MAX_QUEUED_CALLS
from serve_app.settings import AppConfig

NAMES = (INGRESS, *(node.name for node in GRAPH))


def problems(config: dict[str, Any]) -> list[str]:
    """Return what is wrong with a parsed Serve YAML, one line each, empty when nothing is."""
    found = list(_unknown_keys(config, ServeDeploySchema, ""))
    try:
        ServeDeploySchema.model_validate(config)
    except ValidationError as error:
        found += _lines(error, "")
        return found
    if not config["applications"]:
        found.append("applications: there is none")
    http = config.get("http_options", {})
    if "host" not in http:
        found.append("http_options.host: is missing; Serve would listen on 0.0.0.0, the whole network")
    if http.get("request_timeout_s") is not None:
        found.append(
            "http_options.request_timeout_s: leave it unset: Serve answers it in plain text, which a page on another "
            "origin cannot read; REQUEST_TIMEOUT_SECONDS is the deadline"
        )
    if not 1 <= http.get("port", 8000) <= 65535:
        found.append(f"http_options.port: {http['port']} is no port; choose one from 1 to 65535")
    for index, application in enumerate(config["applications"]):
        found += _application_problems(application, f"applications[{index}].")
    return found


def _application_problems(application: dict[str, Any], path: str) -> Iterator[str]:
    try:
        resolve_name(application["import_path"])
    except (ImportError, AttributeError, ValueError) as error:
        yield f"{path}import_path: {error}"
    try:
        settings = AppConfig.model_validate(application.get("args", {}))
    except ValidationError as error:
        yield from _lines(error, f"{path}args.")
        return
    # An analysis makes one call at a time to a deployment.
    needed = settings.serving.max_concurrent_requests
    for index, deployment in enumerate(application.get("deployments", [])):
        name = deployment["name"]
        queue = deployment.get("max_queued_requests", MAX_QUEUED_CALLS)
        if name not in NAMES:
            yield f"{path}deployments[{index}].name: {name!r} is not in the graph{_guess(name, NAMES)}"
        elif name == INGRESS:
            continue
        elif deployment.get("max_ongoing_requests", MAX_CONCURRENT_CALLS) != MAX_CONCURRENT_CALLS:
            yield (
                f"{path}deployments[{index}].max_ongoing_requests: must be {MAX_CONCURRENT_CALLS}: a replica has "
                f"{MAX_CONCURRENT_CALLS} threads"
            )
        elif 0 <= queue < needed:
            yield (
                f"{path}deployments[{index}].max_queued_requests: {queue} is too few for {name}: "
                f"{settings.serving.max_concurrent_requests} analyses at once need {needed}"
            )


def _unknown_keys(value: Any, model: type[BaseModel], path: str) -> Iterator[str]:
    """Yield the keys of `value` that `model` does not have, and so on below, where a key's type is a model."""
    if not isinstance(value, dict):
        return
    for key, below in value.items():
        if key not in model.model_fields:
            yield f"{path}{key}: unknown key{_guess(str(key), model.model_fields)}"
            continue
        annotation = model.model_fields[key].annotation
        for inner in (annotation, *get_args(annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                items = below if isinstance(below, list) else [below]
                for index, item in enumerate(items):
                    at = f"{path}{key}[{index}]." if isinstance(below, list) else f"{path}{key}."
                    yield from _unknown_keys(item, inner, at)


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} is given twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def read(path: Path) -> dict[str, Any]:
    """Return the parsed file; raises OSError or yaml.YAMLError."""
    config = yaml.load(path.read_text(), _Loader)
    if not isinstance(config, dict):
        raise yaml.YAMLError("it is not a mapping, such as a Serve configuration is")
    return config


def _guess(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _lines(error: ValidationError, path: str) -> list[str]:
    return [f"{path}{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]


def _port_problem(config: dict[str, Any]) -> list[str]:
    http = ServeDeploySchema.model_validate(config).http_options
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((http.host, http.port))
        except OSError as error:
            return [f"http_options.port: {http.host}:{http.port} cannot be used ({error.strerror}); choose another"]
    return []


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m serve_app.check", description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path, help="the YAML to check")
    parser.add_argument("--port", action="store_true", help="also see that the port is free, as before a start")
    arguments = parser.parse_args()
    path = arguments.file
    try:
        config = read(path)
    except (OSError, yaml.YAMLError) as error:
        sys.stderr.write(f"{path}: {error}\n")
        return 1
    found = problems(config) or (_port_problem(config) if arguments.port else [])
    for problem in found:
        sys.stderr.write(f"{path}: {problem}\n")
    if not found:
        sys.stdout.write(f"{path}: all keys and values are good.\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
