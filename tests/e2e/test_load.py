"""The load test in short; `python -m tests.endurance.load` is the long form."""

import pytest

from samples.running_server import RunningServer
from tests.endurance import load

pytestmark = pytest.mark.e2e


def test_six_mixed_clients_get_right_answers_for_a_while(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--minutes", "0.4", "--clients", "6", "--url", server.url]
    assert load.main(arguments) == 0, capsys.readouterr().out
