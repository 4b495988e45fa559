"""The commands `prism verify` and `prism rebuild`: compare the library's parts with each other, or make its index anew.

They ask the running server. Without one they work on the folder themselves, under its lock.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Literal

from deployments.errors import ServiceError
from deployments.library.types import CheckReport
from prism.library.client import Failure, LibraryClient, NoConnection
from prism.library.command import run_command, show_report
from serve_app.serve_yaml import InvalidServeYaml, validate_settings
from serve_app.settings import AppConfig


def verify(arguments: Sequence[str] | None = None, prog: str = "prism verify") -> int:
    """Verify the library; the exit status is 1 if something is wrong."""
    return _main(arguments, prog, "verify", "Compares originals, rows and index with each other; changes nothing.")


def rebuild(arguments: Sequence[str] | None = None, prog: str = "prism rebuild") -> int:
    """Rebuild the index."""
    return _main(arguments, prog, "rebuild", "Makes the index of words and vectors anew from the database.")


Action = Literal["verify", "rebuild"]


def _main(arguments: Sequence[str] | None, prog: str, action: Action, description: str) -> int:
    parser = argparse.ArgumentParser(
        prog, description=description + " Works with the running server, or on the folder if there is none."
    )

    def work(client: LibraryClient, options: argparse.Namespace) -> int:
        return show_report(_report(client, action))

    return run_command(parser, arguments, work)


def _settings() -> AppConfig:
    try:
        return validate_settings({})
    except InvalidServeYaml as error:
        raise Failure(str(error)) from error


def _report(client: LibraryClient, action: Action) -> CheckReport:
    try:
        answer = client.check(action)
        return CheckReport(answer["problems"], answer["repaired"])
    except NoConnection:
        settings = _settings()
        sys.stderr.write(
            f"There is no server at {client.url}, so this works on the folder {settings.library.folder}.\n"
        )
        # Imported here: it imports the database and FAISS, which a running server makes unnecessary.
        from deployments.library.offline import run_offline

        try:
            return run_offline(settings.library, action)
        except ServiceError as error:
            raise Failure(str(error)) from error
