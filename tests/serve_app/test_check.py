from typing import Any

import pytest
import yaml

from deployments.project import project_folder
from serve_app.check import problems


def _parsed(name: str = "serve_config.yaml") -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((project_folder() / name).read_text())
    return config


@pytest.mark.parametrize("name", ["serve_config.yaml", "config/mini.yaml", "config/postgres.yaml"])
def test_the_shipped_files_have_no_problem(name: str) -> None:
    assert problems(_parsed(name)) == []


def test_misspelt_keys_are_named_at_every_depth() -> None:
    config = _parsed()
    config["http_option"] = config.pop("http_options")
    deployment = config["applications"][0]["deployments"][1]
    deployment["max_queued_request"] = deployment.pop("max_queued_requests")
    deployment["ray_actor_options"] = {"num_cpu": 0}
    assert set(problems(config)) == {
        "http_option: unknown key; did you mean 'http_options'?",
        "http_options.host: is missing; Serve would listen on 0.0.0.0, on all network interfaces",
        "applications[0].deployments[1].ray_actor_options.num_cpu: unknown key; did you mean 'num_cpus'?",
        "applications[0].deployments[1].max_queued_request: unknown key; did you mean 'max_queued_requests'?",
    }


def test_an_app_that_cannot_be_imported_is_named() -> None:
    config = _parsed()
    config["applications"][0]["import_path"] = "serve_app.app:build_ap"
    [problem] = problems(config)
    assert problem.startswith("applications[0].import_path:")
    assert "build_ap" in problem


def test_a_timeout_of_serve_itself_is_refused() -> None:
    config = _parsed()
    config["http_options"]["request_timeout_s"] = 65
    [problem] = problems(config)
    assert problem.startswith("http_options.request_timeout_s: leave it unset")


def test_more_calls_than_a_replica_is_made_for_are_refused() -> None:
    config = _parsed()
    config["applications"][0]["deployments"][1]["max_ongoing_requests"] = 8
    assert problems(config) == [
        "applications[0].deployments[1].max_ongoing_requests: must be 2, the number of calls that a replica of "
        "Captioner is made for"
    ]


def test_an_impossible_port_is_refused() -> None:
    config = _parsed()
    config["http_options"]["port"] = 99999
    assert problems(config) == ["http_options.port: 99999 is not a port; choose one from 1 to 65535"]


def test_a_misspelt_setting_is_named() -> None:
    config = _parsed()
    config["applications"][0]["args"] = {"captioner": {"modle": "moondream2"}}
    assert problems(config) == ["applications[0].args.captioner.modle: Extra inputs are not permitted"]


def test_a_wrong_value_is_named() -> None:
    config = _parsed()
    config["http_options"]["port"] = "eight thousand"
    assert [problem.split(":")[0] for problem in problems(config)] == ["http_options.port"]


def test_a_deployment_that_is_not_in_the_graph_is_named() -> None:
    config = _parsed()
    config["applications"][0]["deployments"][3]["name"] = "FrameSample"
    assert problems(config) == [
        "applications[0].deployments[3].name: 'FrameSample' is not in the graph; did you mean 'FrameSampler'?"
    ]


def test_a_queue_too_short_for_the_admitted_analyses_is_refused() -> None:
    config = _parsed()
    config["applications"][0]["args"] = {"serving": {"max_concurrent_requests": 65}}
    assert [problem.split(" is ")[0] for problem in problems(config)] == [
        f"applications[0].deployments[{index}].max_queued_requests: 64" for index in range(1, 10)
    ]
