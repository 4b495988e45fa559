"""The cheap part of the hostile corpus; `python -m tests.hostile` sends all of it."""

import pytest

from samples.running_server import RunningServer
from tests.hostile.corpus import CORPUS
from tests.hostile.send import send_all, table_line

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ITEMS = [item for item in CORPUS if not item.is_slow and item.route != "upload"]
"""The documents are sent by test_library.py, to a server that is known to have the embedder."""
DEADLINE_S = 60.0
"""The default of REQUEST_TIMEOUT_SECONDS."""


def test_every_hostile_input_is_answered_as_documented_and_harms_nobody_else(server: RunningServer) -> None:
    lines: list[str] = []
    summary = send_all(server.url, ITEMS, DEADLINE_S, server.pid, lambda result: lines.append(table_line(result)))
    assert summary.all_faults == [], "\n".join(lines)
