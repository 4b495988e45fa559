"""`prism openapi`: prints `/openapi.json` without a server, for programs that generate a client."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from serve_app.api import create_api
from serve_app.context import AppContext
from serve_app.graph import GRAPH
from serve_app.object_store import in_object_store
from serve_app.settings import AppConfig
from serve_app.speeds import Speeds
from serve_app.system_monitor import SystemMonitor


def main(arguments: Sequence[str] | None = None, program: str | None = None) -> int:
    """Write the schema of all routes to standard output; return the exit status."""
    argparse.ArgumentParser(program, description="Print the API's OpenAPI schema, as /openapi.json has it.").parse_args(
        arguments
    )
    config = AppConfig()
    system = SystemMonitor(GRAPH, {}, config, _read_nothing)
    schema = create_api(AppContext({}, config, system, in_object_store, Speeds(None))).openapi()
    sys.stdout.write(json.dumps(schema, indent=2, ensure_ascii=False) + "\n")
    return 0


async def _read_nothing() -> Mapping[str, Any]:
    return {}
