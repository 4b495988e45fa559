"""Each node of the graph agrees with its class, its Protocol, the settings and the YAML."""

import inspect
import subprocess
import sys
from collections.abc import AsyncGenerator
from pkgutil import resolve_name
from typing import Any, get_origin

import pytest
import yaml

from deployments.project import project_folder
from deployments.worker_threads import ThreadedDeployment
from serve_app.graph import GRAPH, INGRESS_OPTIONS, Node
from tests.toy.app import NOTEBOOK
from tests.toy.settings import ToyConfig

each_node = pytest.mark.parametrize("node", [*GRAPH, NOTEBOOK], ids=lambda node: node.name)


def public_methods(cls: type) -> dict[str, inspect.Signature]:
    """Return the methods that can be called from another process: those that return a coroutine or a generator."""
    return {
        name: inspect.signature(method)
        for name, method in vars(cls).items()
        if (inspect.iscoroutinefunction(method) or is_streaming(method)) and not name.startswith("_")
    }


def is_streaming(method: Any) -> bool:
    """Whether a method is an asynchronous generator, or, in a Protocol, says that it returns one."""
    return inspect.isfunction(method) and get_origin(inspect.signature(method).return_annotation) is AsyncGenerator


@each_node
def test_a_deployment_has_the_methods_of_its_protocol_with_the_same_signatures(node: Node[Any]) -> None:
    methods = public_methods(resolve_name(node.class_path))
    if node.model_section:
        assert list(methods.pop("status").parameters) == ["self"]
    if node.uses:
        assert list(methods.pop("close").parameters) == ["self"]  # ends its work in the background
    expected = public_methods(node.protocol)
    for name, replay in node.methods.items():
        if replay == "with_request_id":
            # RemoteService gives it, so that callers need not.
            parameters = methods[name].parameters
            assert parameters["request_id"].kind is inspect.Parameter.KEYWORD_ONLY
            without = [parameter for key, parameter in parameters.items() if key != "request_id"]
            methods[name] = methods[name].replace(parameters=without)
    assert methods == expected


@each_node
def test_each_method_says_whether_it_may_be_replayed(node: Node[Any]) -> None:
    assert node.methods.keys() == public_methods(node.protocol).keys()


@each_node
def test_the_methods_that_stream_are_named(node: Node[Any]) -> None:
    cls = resolve_name(node.class_path)
    assert {name for name in node.methods if inspect.isasyncgenfunction(vars(cls)[name])} == node.streaming_methods
    assert {name for name in node.methods if is_streaming(vars(node.protocol)[name])} == node.streaming_methods


@each_node
def test_a_deployment_takes_the_sections_of_its_row_by_name(node: Node[Any]) -> None:
    parameters = dict(inspect.signature(resolve_name(node.class_path)).parameters)
    if node.model_section:
        assert node.model_packages.keys() <= set(node.sections)
        assert parameters.pop("lazy").annotation is bool
    if node.uses:
        services = {used.keyword: parameters.pop(used.keyword).annotation for used in node.uses}
        assert services == {used.keyword: used.protocol for used in node.uses}
        del parameters["wait_for_turn"], parameters["share"]
    config = ToyConfig()
    expected = {section: type(getattr(config, section)) for section in node.sections}
    assert {name: parameter.annotation for name, parameter in parameters.items()} == expected


@each_node
def test_a_deployment_that_works_in_threads_is_watched_for_work_that_hangs(node: Node[Any]) -> None:
    cls = resolve_name(node.class_path)
    assert node.has_threads is ("WorkerThreads(" in inspect.getsource(cls)) is issubclass(cls, ThreadedDeployment)


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
