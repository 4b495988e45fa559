"""Settings of the library."""

from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from deployments.settings import Section

POSTGRES_URL = "postgresql+psycopg://"


class LibraryConfig(Section):
    folder: Path = Field(Path("~/.local/share/prism"), validate_default=True)
    """The library's folder (`DATA_DIR`): database and originals. `~` is the user's home."""
    database_url: SecretStr = SecretStr("")
    """Of a Postgres database (`DATABASE_URL`), `postgresql+psycopg://user:password@host/name`, which then has all but
    the originals. Empty for SQLite in the folder."""
    keep_history: bool = True
    """Whether searches are written down."""
    max_attempts: int = Field(3, ge=1)
    """How often indexing a file is tried when it fails for a reason that may go away."""

    @field_validator("folder")
    @classmethod
    def _expand_home(cls, path: Path) -> Path:
        return path.expanduser()

    @field_validator("database_url")
    @classmethod
    def _check_url(cls, url: SecretStr) -> SecretStr:
        if url.get_secret_value() and not url.get_secret_value().startswith(POSTGRES_URL):
            raise ValueError(
                f"DATABASE_URL must begin with {POSTGRES_URL}, or be empty for SQLite in the folder of the library"
            )
        return url
