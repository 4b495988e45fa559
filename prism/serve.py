"""The command `prism serve`: checks the configuration, then becomes the server (prism/server.py)."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from deployments.project import MINIATURES_FILE, SERVE_FILE, project_folder

CLOUD_METADATA_HOSTS = ("169.254.169.254", "metadata.google.internal")
"""Where Ray's dashboard asks at each start in which cloud it runs, whether or not usage statistics are on."""
CLOSED_PORT = "http://127.0.0.1:9"
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")
PROXY_HEALTH_CHECK_PERIOD_S = 1
"""Serve replaces its HTTP proxy after three failed checks; its own default period is 10 s."""


def main(arguments: Sequence[str] | None = None, prog: str = "prism serve") -> int:
    """Check the configuration, then replace this process by the server.

    Returns only if the check fails, with the exit status.
    """
    file = _parse(arguments, prog)
    # Imported here, because it imports ray, which takes seconds and which `--help` does not need.
    from serve_app.check import check

    status = check(file, with_port=True)
    if status:
        return status
    os.execve(sys.executable, server_command(file), server_environment(os.environ))


def server_command(file: Path) -> list[str]:
    """Return the command that runs the server with a Serve YAML."""
    return [sys.executable, "-m", "prism.server", str(file)]


def server_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` with what the server's processes need: nothing leaves the machine, the HTTP proxy drops odd
    headers, and it is soon replaced when it is lost. malloc has one arena in each process: with one for every few
    threads, a process with Ray's 35 threads keeps 2 to 20 MB more (measured).

    Ray has no option against its question about the cloud. It asks with `requests`, which takes a proxy for a single
    host from the variable `http://HOST_proxy`; a closed port on this machine as the proxy lets the question fail at
    once, without a packet or a name look-up. An entry of `no_proxy` that covers these hosts would win, so this
    machine's own names take its place.
    """
    # Imported here, because `--help` does not need it.
    from serve_app.odd_headers import PROXY_CALLBACK, PROXY_VARIABLE

    result = {**environment, "RAY_USAGE_STATS_ENABLED": "0", PROXY_VARIABLE: PROXY_CALLBACK}
    result.setdefault("MALLOC_ARENA_MAX", "1")
    result.setdefault("RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S", str(PROXY_HEALTH_CHECK_PERIOD_S))
    for host in CLOUD_METADATA_HOSTS:
        result[f"http://{host}_proxy"] = CLOSED_PORT
    for name in ("no_proxy", "NO_PROXY"):
        entries = [entry.strip() for entry in result.get(name, "").split(",") if entry.strip()]
        kept = [entry for entry in entries if not _covers_a_metadata_host(entry)]
        if len(kept) < len(entries):
            result[name] = ",".join(dict.fromkeys([*kept, *LOOPBACK_HOSTS]))
        if "*" in entries:  # no proxy for any host
            result = {key: value for key, value in result.items() if key.lower() not in PROXY_VARIABLES}
    return result


def _covers_a_metadata_host(entry: str) -> bool:
    """Return whether an entry of `no_proxy` exempts one of them: a host, suffix or address range, or `*` for all."""
    # Imported here, because `--help` does not need it. Ray asks with `requests`, so its own rules count.
    from requests.utils import should_bypass_proxies

    return any(should_bypass_proxies(f"http://{host}", no_proxy=entry) for host in CLOUD_METADATA_HOSTS)


def _parse(arguments: Sequence[str] | None, prog: str) -> Path:
    parser = argparse.ArgumentParser(
        prog,
        description="Checks the configuration and that its port is free, then starts the server with `serve run`, "
        "without Ray's usage statistics and its other requests to the network. Ctrl-C or SIGTERM stops it: requests "
        "in progress get a few seconds to finish, then 503.",
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
