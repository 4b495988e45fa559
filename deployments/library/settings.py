"""Settings of the library."""

from pathlib import Path

from pydantic import Field, SecretStr, field_validator, model_validator

from deployments.settings import Section

POSTGRES_URL = "postgresql+psycopg://"

MIN_KEY_LENGTH = 16
"""Characters; `openssl rand -base64 32` makes 44."""


class LibraryConfig(Section):
    folder: Path = Field(Path("~/.local/share/prism"), validate_default=True)
    """The library's folder (`DATA_DIR`): database and originals. `~` is the user's home."""
    database_url: SecretStr = SecretStr("")
    """Of a Postgres database (`DATABASE_URL`), `postgresql+psycopg://user:password@host/name`, which then has all but
    the originals. Empty for SQLite in the folder. Because of its password it is not taken from `args:`, as the key."""
    keep_history: bool = True
    """Whether searches are written down."""
    encryption_key: SecretStr | None = None
    """Encrypts the database and the originals (`PRISM_ENCRYPTION_KEY`, at least MIN_KEY_LENGTH characters). It is read
    from the environment or `.env` only, because Serve logs and shows `args:`."""
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

    @field_validator("encryption_key")
    @classmethod
    def _refuse_short_key(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and len(key.get_secret_value()) < MIN_KEY_LENGTH:
            raise ValueError(f"PRISM_ENCRYPTION_KEY must have at least {MIN_KEY_LENGTH} characters")
        return key

    @model_validator(mode="after")
    def _refuse_half_encryption(self) -> "LibraryConfig":
        if self.encryption_key is not None and self.database_url.get_secret_value():
            raise ValueError(
                "PRISM_ENCRYPTION_KEY encrypts a library in SQLite; in Postgres its text could be read. Encrypt the "
                "server's disk and the folder's, and remove the key"
            )
        return self
