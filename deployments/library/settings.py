"""Settings of the library."""

from pathlib import Path

from pydantic import Field, field_validator

from deployments.settings import Section


class LibraryConfig(Section):
    folder: Path = Field(Path("~/.local/share/prism"), validate_default=True)
    """The library's folder (`DATA_DIR`): database and originals. `~` is the user's home."""
    keep_history: bool = True
    """Whether searches are written down."""
    max_attempts: int = Field(3, ge=1)
    """How often indexing a file is tried when it fails for a reason that may go away."""

    @field_validator("folder")
    @classmethod
    def _expand_home(cls, path: Path) -> Path:
        return path.expanduser()
