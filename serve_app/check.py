"""Checks a Serve YAML before it is run: `prism check serve_config.yaml`, or `python -m serve_app.check`.

Serve ignores most keys that it does not know, so a misspelt limit would silently have no effect. The check reports
every unknown or duplicate key, every invalid value, a queue that is too short, an app that cannot be imported and a
timeout of Serve's own, which would be answered in plain text; with `--port` also a port that is in use. The exit status
is 1 if there is a problem.
"""

import argparse
import difflib
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from ray.serve.schema import ServeDeploySchema

from serve_app.graph import GRAPH, INGRESS, MAX_QUEUED_CALLS
from serve_app.serve_yaml import InvalidServeYaml, describe_errors, read_serve_yaml
from serve_app.settings import AppConfig

NAMES = (INGRESS, *(node.name for node in GRAPH))
MAX_CALLS = {node.name: node.max_ongoing_requests for node in GRAPH}


def problems(config: dict[str, Any]) -> list[str]:
    """Return what is wrong with the content of a Serve YAML, one line each."""
    lines = list(_unknown_keys(config, ServeDeploySchema, ""))
    try:
        ServeDeploySchema.model_validate(config)
    except ValidationError as error:
        lines += describe_errors(error, "")
        return lines
    if not config["applications"]:
        lines.append("applications: the list is empty")
    http = config.get("http_options", {})
    if "host" not in http:
        lines.append("http_options.host: is missing; Serve would listen on 0.0.0.0, on all network interfaces")
    if http.get("request_timeout_s") is not None:
        lines.append(
            "http_options.request_timeout_s: leave it unset: Serve would answer in plain text, which a web page on "
            "another origin cannot read; the deadline is REQUEST_TIMEOUT_SECONDS"
        )
    if not 1 <= http.get("port", 8000) <= 65535:
        lines.append(f"http_options.port: {http['port']} is not a port; choose one from 1 to 65535")
    for index, application in enumerate(config["applications"]):
        lines += _application_problems(application, f"applications[{index}].")
    return lines


def _application_problems(application: dict[str, Any], path: str) -> Iterator[str]:
    try:
        resolve_name(application["import_path"])
    except (ImportError, AttributeError, ValueError) as error:
        yield f"{path}import_path: {error}"
    try:
        settings = AppConfig.model_validate(application.get("args", {}))
    except ValidationError as error:
        yield from describe_errors(error, f"{path}args.")
        return
    # An analysis makes one call at a time to a deployment.
    max_calls = settings.serving.max_concurrent_requests
    for index, deployment in enumerate(application.get("deployments", [])):
        name = deployment["name"]
        queue = deployment.get("max_queued_requests", MAX_QUEUED_CALLS)
        if name not in NAMES:
            yield f"{path}deployments[{index}].name: {name!r} is not in the graph{_suggestion(name, NAMES)}"
        elif name == INGRESS:
            continue
        elif deployment.get("max_ongoing_requests", MAX_CALLS[name]) != MAX_CALLS[name]:
            yield (
                f"{path}deployments[{index}].max_ongoing_requests: must be {MAX_CALLS[name]}, the number of calls that "
                f"a replica of {name} is made for"
            )
        elif 0 <= queue < max_calls:  # -1 is a queue without limit
            yield (
                f"{path}deployments[{index}].max_queued_requests: {queue} is too few for {name}: "
                f"{max_calls} analyses at once make up to {max_calls} calls; raise it to {max_calls}"
            )


def _unknown_keys(value: Any, model: type[BaseModel], path: str) -> Iterator[str]:
    """Yield a line for each key of `value`, at `path`, that `model` does not have; likewise for nested models."""
    if not isinstance(value, dict):
        return
    for key, nested in value.items():
        if key not in model.model_fields:
            yield f"{path}{key}: unknown key{_suggestion(str(key), model.model_fields)}"
            continue
        annotation = model.model_fields[key].annotation
        for inner in (annotation, *get_args(annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                items = nested if isinstance(nested, list) else [nested]
                for index, item in enumerate(items):
                    item_path = f"{path}{key}[{index}]." if isinstance(nested, list) else f"{path}{key}."
                    yield from _unknown_keys(item, inner, item_path)


def _suggestion(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _port_problem(config: dict[str, Any]) -> list[str]:
    http = ServeDeploySchema.model_validate(config).http_options
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((http.host, http.port))
        except OSError as error:
            return [f"http_options.port: {http.host}:{http.port} cannot be used ({error.strerror}); choose another"]
    return []


def main(arguments: Sequence[str] | None = None, prog: str = "python -m serve_app.check") -> int:
    """Check one file; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog,
        description="Checks a Serve YAML before it is run: unknown or duplicate keys, invalid values, an app that "
        "cannot be imported. Serve itself ignores most keys that it does not know.",
        epilog="The exit status is 1 if there is a problem.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the YAML to check, such as serve_config.yaml")
    parser.add_argument("--port", action="store_true", help="also check that the port is free, as before a start")
    options = parser.parse_args(arguments)
    return check(options.file, with_port=options.port)


def check(path: Path, *, with_port: bool) -> int:
    """Write what is wrong with a file to stderr, one line each; returns the exit status."""
    try:
        config = read_serve_yaml(path)
    except InvalidServeYaml as error:
        sys.stderr.write(f"{error}\n")
        return 1
    lines = problems(config) or (_port_problem(config) if with_port else [])
    for line in lines:
        sys.stderr.write(f"{path}: {line}\n")
    if not lines:
        sys.stdout.write(f"{path}: all keys and values are valid.\n")
        sys.stdout.flush()
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
