"""Settings of the toy capability, and the tree with its section."""

from pathlib import Path

from deployments.settings import Section
from serve_app.settings import AppConfig


class NotebookConfig(Section):
    folder: Path = Path("/tmp")
    """Where the notes are kept."""


class ToyConfig(AppConfig):
    notebook: NotebookConfig = NotebookConfig()
