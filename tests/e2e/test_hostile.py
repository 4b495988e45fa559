"""The cheap part of the hostile corpus; `python -m tests.hostile` sends all of it."""

from collections.abc import Sequence

import pytest

from samples.running_server import RunningServer
from tests.hostile.corpus import CORPUS
from tests.hostile.item import Item
from tests.hostile.send import send_all, table_line

pytestmark = pytest.mark.e2e

ITEMS = [item for item in CORPUS if not item.is_slow and item.route != "upload"]
"""The documents are sent by test_library.py, to a server that is known to have the embedder."""
DEADLINE_S = 60.0
"""The default of REQUEST_TIMEOUT_SECONDS."""


@pytest.mark.parametrize("items", [ITEMS[::4], pytest.param(ITEMS, marks=pytest.mark.slow)], ids=["a quarter", "all"])
def test_hostile_inputs_are_answered_as_documented_and_harm_nobody_else(
    server: RunningServer, items: Sequence[Item]
) -> None:
    lines: list[str] = []
    summary = send_all(server.url, items, DEADLINE_S, server.pid, lambda result: lines.append(table_line(result)))
    assert summary.all_faults == [], "\n".join(lines)
