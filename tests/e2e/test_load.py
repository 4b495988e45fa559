"""The load tests in short; `python -m tests.endurance.load` and `library` are the long forms."""

import pytest

from samples.running_server import RunningServer
from tests.endurance import library, load

pytestmark = pytest.mark.e2e


def test_six_mixed_clients_get_right_answers_for_a_while(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--minutes", "0.4", "--clients", "6", "--url", server.url]
    assert load.main(arguments) == 0, capsys.readouterr().out


@pytest.mark.slow
def test_four_clients_of_the_library_get_right_answers_for_a_while(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--minutes", "0.5", "--clients", "4", "--url", server.url]
    assert library.main(arguments) == 0, capsys.readouterr().out
