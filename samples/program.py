"""The command `prism samples`: sends files to a server and shows the results.

    prism samples                             the three samples, to the server at http://127.0.0.1:8000
    prism samples --mini                      the same with a server of its own on the miniature models
    prism samples --serve serve_config.yaml   the same with a server of its own on the models of that file
    prism samples holiday.jpg talk.mp3        your own files; the extension decides the route

The exit status is 1 if anything failed.
"""

import argparse
import io
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from deployments.commands import SERVE_COMMAND, SERVE_MINIATURES_COMMAND
from deployments.project import MINIATURES_FILE, project_folder
from serve_app.serve_yaml import InvalidServeYaml

from . import client, report
from .running_server import ServerDidNotStart, running_server

FOLDER = project_folder() / "samples"
SAMPLES = (FOLDER / "picture.jpg", FOLDER / "clip.mp4", FOLDER / "recording.mp3")
DEFAULT_URL = "http://127.0.0.1:8000"
START_COMMANDS = (SERVE_MINIATURES_COMMAND, SERVE_COMMAND)


def main(arguments: Sequence[str] | None = None, prog: str = "prism samples") -> int:
    """Send the files and show the results; returns the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a model may write characters that the terminal's encoding lacks
    options = _parse(arguments, prog)
    files = options.files or SAMPLES
    try:
        if options.serve is None:
            return show_all(options.url.rstrip("/"), files)
        _say(f"Starting a server with {options.serve} ...")
        with running_server(options.serve) as server:
            return show_all(server.url, files)
    except client.NoConnection as failure:
        _say(f"{failure} Start a server first, one of:")
        _say("".join(f"    {command}\n" for command in START_COMMANDS))
    except (client.Failure, ServerDidNotStart, InvalidServeYaml) as failure:
        _say(str(failure))
    except KeyboardInterrupt:
        _say("\nStopped.")
    return 1


def show_all(url: str, files: Sequence[Path]) -> int:
    """Send the files, then show the server's health; return the exit status."""
    _say(f"The server is {url}\n")
    client.wait_until_loaded(url, _say)
    num_failed = sum(not show(url, path) for path in files)
    health = client.health(url)
    _say(report.heading("server", _width()))
    _say(report.format_rows(report.health_rows(health), _width()) + "\n")
    note = report.miniature_note(health, _width())
    if note:
        _say(note)
    if num_failed:
        _say(f"{num_failed} of {len(files)} files failed.")
    return 1 if num_failed else 0


def show(url: str, path: Path) -> bool:
    """Send one file and show the result; return whether the file, and every frame of a video, succeeded."""
    _say(report.heading(path.name, _width()))
    try:
        upload = client.read_upload(path)
        _show_rows(report.upload_rows(upload))
        answer = client.analyze(url, upload)
    except client.Failure as failure:
        _show_rows([("failed", str(failure))])
        _say()
        return False
    _show_rows(report.answer_rows(answer))
    _say()
    return not report.failed_frames(answer.body)


def _parse(arguments: Sequence[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog,
        description="Sends files to a server and shows what the models say about them, how long it took, and the state "
        "of the server.",
        epilog="The exit status is 1 if anything failed.",
    )
    server = parser.add_mutually_exclusive_group()
    server.add_argument("--url", default=DEFAULT_URL, help="the running server (default: %(default)s)")
    server.add_argument(
        "--serve",
        type=Path,
        metavar="YAML",
        help="start a server with this file, on a free port, and stop it afterwards",
    )
    server.add_argument(
        "--mini",
        dest="serve",
        action="store_const",
        const=project_folder() / MINIATURES_FILE,
        help=f"the same with the project's {MINIATURES_FILE}: the bundled miniature models, ready in seconds",
    )
    parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="image, video or audio files; the extension decides which (default: the three sample files)",
    )
    options = parser.parse_args(arguments)
    if options.serve is not None and not options.serve.is_file():
        parser.error(f"there is no file {options.serve}")
    return options


def _show_rows(rows: list[report.Row]) -> None:
    _say(report.format_rows(rows, _width()))


def _say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _width() -> int:
    return shutil.get_terminal_size().columns
