"""Where the project's own files are: its YAML files, the miniature checkpoints and the samples."""

from pathlib import Path

SERVE_FILE = "serve_config.yaml"
"""Serve YAML with the real models, in the project's folder."""
MINIATURES_FILE = "config/mini.yaml"
"""Serve YAML with the bundled miniature models, in the project's folder."""

_PARENT = Path(__file__).resolve().parent.parent


def is_installed() -> bool:
    """Return whether this is an installed copy and not a checkout of the repository."""
    return not (_PARENT / "pyproject.toml").is_file()


def project_folder() -> Path:
    """Return the folder of the checkout; in an installed copy, the data folder of the package `prism`.

    Both contain `serve_config.yaml`, `config/mini.yaml`, `checkpoints/mini` and the media of `samples`:
    `pyproject.toml` puts them into the wheel.
    """
    return _PARENT / "prism" / "project" if is_installed() else _PARENT


def env_file() -> Path:
    """Return where `.env` may be: in the checkout, or for an installed copy in the current folder."""
    return (Path.cwd() if is_installed() else _PARENT) / ".env"
