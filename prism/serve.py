"""The command `prism serve`: checks the configuration, then runs `serve run`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from deployments.project import MINIATURES_FILE, SERVE_FILE, project_folder


def main(arguments: Sequence[str] | None = None, prog: str = "prism serve") -> int:
    """Check the configuration, then replace this process by the server.

    Returns only if the check fails, with the exit status.
    """
    file = _parse(arguments, prog)
    # Imported here, because it imports ray, which takes seconds and which `--help` does not need.
    from serve_app.check import check
    from serve_app.odd_headers import PROXY_CALLBACK, PROXY_VARIABLE

    status = check(file, with_port=True)
    if status:
        return status
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ[PROXY_VARIABLE] = PROXY_CALLBACK
    command = [sys.executable, "-m", "ray.serve.scripts", "run", str(file)]
    os.execv(sys.executable, command)


def _parse(arguments: Sequence[str] | None, prog: str) -> Path:
    parser = argparse.ArgumentParser(
        prog,
        description="Checks the configuration and that its port is free, then starts the server with `serve run`, "
        "without Ray's usage statistics. Ctrl-C stops it.",
        epilog="The port is `http_options.port` in the file. The server fetches weights that are missing; "
        "`prism weights fetch` does that ahead of time.",
    )
    configuration = parser.add_mutually_exclusive_group()
    configuration.add_argument(
        "file",
        nargs="?",
        type=Path,
        metavar="FILE",
        help=f"a Serve YAML; default: the project's {SERVE_FILE}, with the real models",
    )
    configuration.add_argument(
        "--mini",
        action="store_true",
        help=f"use the project's {MINIATURES_FILE}: the bundled miniature models, ready in seconds",
    )
    options = parser.parse_args(arguments)
    if options.file is not None:
        return Path(options.file)
    return project_folder() / (MINIATURES_FILE if options.mini else SERVE_FILE)
