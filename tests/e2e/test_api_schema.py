"""The running server keeps what /openapi.json says, on every route that is there. The long form:
`python -m tests.api_schema`."""

import pytest
import requests
import schemathesis

from serve_app.odd_headers import MAX_HEADER_BYTES
from tests.api_schema.run import try_requests

pytestmark = pytest.mark.e2e

EXAMPLES = 10
"""Generated requests for each operation."""


@pytest.mark.parametrize("has_edge_cases", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_generated_requests_are_answered_as_the_schema_says(url: str, has_edge_cases: bool) -> None:
    run = try_requests(url, EXAMPLES, seed=1, has_edge_cases=has_edge_cases)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "No issues found" in run.stdout


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Origin": "http://elsewhere.example"}, 403), ({"X-Padding": "a" * (MAX_HEADER_BYTES + 1)}, 400)],
)
def test_what_is_refused_before_any_route_is_documented_on_each(url: str, headers: dict[str, str], status: int) -> None:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    num_operations = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        response = requests.request(operation.method, url + operation.path, headers=headers, timeout=30)
        assert response.status_code == status
        operation.Case().validate_response(response)
        num_operations += 1
    assert num_operations >= 7


def test_other_paths_and_methods_are_refused_in_the_same_form(url: str) -> None:
    document = requests.get(f"{url}/openapi.json", timeout=30).json()
    for path, operations in document["paths"].items():
        method = next(method for method in ("put", "patch", "delete") if method not in operations)
        response = requests.request(method, url + path, timeout=30)
        assert (response.status_code, response.json()["error"]["code"].upper()) == (405, "METHOD_NOT_ALLOWED")
        allowed = {method.strip().lower() for method in response.headers["Allow"].split(",")}
        assert allowed - {"head"} == set(operations)
    response = requests.get(f"{url}/api/nowhere", timeout=30)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "NOT_FOUND")
