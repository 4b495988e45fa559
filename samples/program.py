"""The command `prism samples`: sends files to a server and shows the results.

    prism samples                             the three samples, to the server at http://127.0.0.1:8000
    prism samples --mini                      the same with a server of its own on the miniature models, and its library
    prism samples --serve serve_config.yaml   the same with a server of its own on the models of that file
    prism samples holiday.jpg talk.mp3        your own files; the extension decides the route

A server of its own has a library in a temporary folder. The samples are put into it, with two documents, and three
questions are asked. A running server's library stays as it is. The exit status is 1 if anything failed.
"""

import argparse
import io
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from deployments.commands import SERVE_COMMAND, SERVE_MINIATURES_COMMAND
from deployments.project import MINIATURES_FILE, project_folder
from prism.library.client import Failure, NoConnection
from serve_app.serve_yaml import InvalidServeYaml, read_serve_yaml, settings_of
from serve_app.settings import AppConfig

from . import client, library, report
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
        settings = settings_of(read_serve_yaml(options.serve))
        _say(f"Starting a server with {options.serve} ...")
        with running_server(options.serve) as server:
            # The questions are about the samples.
            return show_all(server.url, files, None if options.files else settings)
    except NoConnection as failure:
        _say(f"{failure} Start a server first, one of:")
        _say("".join(f"    {command}\n" for command in START_COMMANDS))
    except (Failure, ServerDidNotStart, InvalidServeYaml) as failure:
        _say(str(failure))
    except KeyboardInterrupt:
        _say("\nStopped.")
    return 1


def show_all(url: str, files: Sequence[Path], library_settings: AppConfig | None = None) -> int:
    """Send the files, then show the server's health; return the exit status.

    With `library_settings`, those of a server whose library may be written to, its library is tried, too.
    """
    _say(f"The server is {url}\n")
    client.wait_until_loaded(url, _say)
    num_failed = sum(not show(url, path) for path in files)
    library_failed = library_settings is not None and not show_library(url, library_settings)
    health = client.health(url)
    _say(report.heading("server", _width()))
    _say(report.format_rows(report.health_rows(health), _width()) + "\n")
    note = report.miniature_note(health, _width())
    if note:
        _say(note)
    if num_failed:
        _say(f"{num_failed} of {len(files)} files failed.")
    if library_failed:
        _say("The library failed.")
    return 1 if num_failed or library_failed else 0


def show(url: str, path: Path) -> bool:
    """Send one file and show the result; return whether the file, and every frame of a video, succeeded."""
    _say(report.heading(path.name, _width()))
    try:
        upload = client.read_upload(path)
        _show_rows(report.upload_rows(upload))
        answer = client.analyze(url, upload)
    except Failure as failure:
        _show_rows([("failed", str(failure))])
        _say()
        return False
    _show_rows(report.answer_rows(answer))
    _say()
    return not report.failed_frames(answer.body)


def show_library(url: str, settings: AppConfig) -> bool:
    """Put the samples and two documents into the library, ask the questions; return whether all went well."""
    _say(report.heading("library", _width()))
    files = [*SAMPLES, *library.DOCUMENTS]
    _show_rows([("added", ", ".join(path.name for path in files))])
    note = library.download_note(settings)
    if note:
        _show_rows([("download", note)])
    try:
        library.index(url, files, settings, lambda line: _show_rows([("progress", line)]))
        for question in library.QUESTIONS:
            _show_rows(report.passage_rows(question, library.find(url, question)))
    except Failure as failure:
        _show_rows([("failed", str(failure))])
        return False
    finally:
        _say()
    return True


def _parse(arguments: Sequence[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog,
        description="Sends files to a server and shows what the models say about them, how long it took, and the state "
        "of the server. A server of its own (--mini, --serve) also has the samples and two documents put into its "
        "library, which is a temporary folder, and three questions asked.",
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
