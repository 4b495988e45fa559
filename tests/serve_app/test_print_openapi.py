import json

import pytest
from starlette.testclient import TestClient

from serve_app.print_openapi import main


def test_the_printed_schema_is_that_of_a_server(client: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert json.loads(capsys.readouterr().out) == client.get("/openapi.json").json()
