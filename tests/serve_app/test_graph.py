"""Each row of the graph agrees with its class, its Protocol, the settings and the YAML."""

import inspect
import subprocess
import sys
from pkgutil import resolve_name
from typing import Any

import pytest
import yaml

from deployments.project import project_folder
from serve_app.graph import GRAPH, INGRESS_OPTIONS, Node
from serve_app.settings import AppConfig

rows = pytest.mark.parametrize("node", GRAPH, ids=lambda node: node.name)


def public_methods(cls: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(method)
        for name, method in vars(cls).items()
        if inspect.iscoroutinefunction(method) and not name.startswith("_")
    }


@rows
def test_a_deployment_has_the_methods_of_its_protocol_with_the_same_signatures(node: Node[Any]) -> None:
    methods = public_methods(resolve_name(node.class_path))
    if node.model_section:
        assert list(methods.pop("status").parameters) == ["self"]
    assert methods == public_methods(node.protocol)


@rows
def test_each_method_says_whether_it_may_be_replayed(node: Node[Any]) -> None:
    assert node.methods.keys() == public_methods(node.protocol).keys()


@rows
def test_a_method_that_is_replayed_by_its_request_id_takes_one(node: Node[Any]) -> None:
    for name, signature in public_methods(node.protocol).items():
        assert ("request_id" in signature.parameters) == (node.methods[name] == "with_request_id")


@rows
def test_a_deployment_takes_the_sections_of_its_row(node: Node[Any]) -> None:
    config = AppConfig()
    parameters = list(inspect.signature(resolve_name(node.class_path)).parameters.values())
    expected = [type(getattr(config, section)) for section in node.sections] + [bool] * bool(node.model_section)
    assert [parameter.annotation for parameter in parameters] == expected
    assert node.model_section is None or (node.model_section in node.sections and parameters[-1].name == "lazy")


@pytest.mark.parametrize(
    "options", [INGRESS_OPTIONS, *(node.serve_options() for node in GRAPH)], ids=lambda options: options["name"]
)
def test_the_main_yaml_repeats_the_tables_options_of_each_deployment(options: dict[str, Any]) -> None:
    application = yaml.safe_load((project_folder() / "serve_config.yaml").read_text())["applications"][0]
    [in_yaml] = [entry for entry in application["deployments"] if entry["name"] == options["name"]]
    assert in_yaml == options


def test_analyses_import_no_http_code_and_the_table_imports_no_model_code() -> None:
    code = "import sys, serve_app.modalities, serve_app.graph; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=project_folder())
    assert "serve_app.modalities.video" in run.stdout.split()
    assert {"fastapi", "starlette", "ray", "torch", "cv2", "av", "whisper"} & set(run.stdout.split()) == set()
