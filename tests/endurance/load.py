"""`python -m tests.endurance.load`: ten mixed clients at once, for ten minutes, the content of every answer checked.

Exit status 0: every answer was documented and right, no process died, and when the clients are gone, no work goes on
and no temporary file is left. SERVER_BUSY is legal; clients come again when its Retry-After says so.
"""

import sys
from collections.abc import Sequence

from tests.endurance.cases import LOAD_MIX
from tests.endurance.clients import Findings, settle_doubts
from tests.endurance.server import Server, require_miniatures
from tests.endurance.timed import run_timed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the load test; returns the exit status."""
    return run_timed("load", __doc__, LOAD_MIX, arguments, prepare=require_miniatures, finish=_ask_again)


def _ask_again(server: Server, findings: Findings) -> Sequence[str]:
    settle_doubts(server.url, findings)
    return []


if __name__ == "__main__":
    sys.exit(main())
