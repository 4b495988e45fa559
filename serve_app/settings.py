"""All settings, as one typed tree.

Precedence: `args:` of the Serve YAML, then the environment, then `.env` (`deployments.project.env_file`), then the
defaults. An unknown key stops the start with a message that names it. Replicas, queues and CPUs are not here: they are
in the YAML's `deployments:` block.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from dotenv import dotenv_values
from pydantic import Field, field_validator, model_validator

from deployments.answerer.settings import AnswererConfig
from deployments.captioner.settings import CaptionerConfig
from deployments.document_parser.settings import DocumentParserConfig
from deployments.embedder.settings import EmbedderConfig
from deployments.frame_sampler.settings import FrameSamplerConfig
from deployments.indexing.settings import IndexingConfig
from deployments.library.settings import LibraryConfig
from deployments.project import env_file
from deployments.settings import LimitsConfig, Section, WeightsConfig
from deployments.text_reader.settings import TextReaderConfig
from deployments.transcriber.settings import TranscriberConfig
from deployments.transcriber.speakers.settings import SpeakersConfig

ENVIRONMENT_VARIABLES: Mapping[str, tuple[str, str]] = {
    "MODEL_CACHE_DIR": ("weights", "cache_dir"),
    "MAX_UPLOAD_SIZE_MB": ("limits", "max_upload_size_mb"),
    "MAX_CONCURRENT_REQUESTS": ("serving", "max_concurrent_requests"),
    "REQUEST_TIMEOUT_SECONDS": ("serving", "request_timeout_s"),
    "WHISPER_MODEL_SIZE": ("transcriber", "model"),
    "CORS_ORIGINS": ("serving", "cors_origins"),
    "MCP_FOLDERS": ("serving", "mcp_folders"),
    "LOG_LEVEL": ("serving", "log_level"),
    "LLM_MODEL": ("answerer", "model"),
    "LOG_FORMAT": ("serving", "log_format"),
    "ALLOWED_HOSTS": ("serving", "allowed_hosts"),
    "REQUESTS_PER_HOUR": ("serving", "requests_per_hour"),
    "DATA_DIR": ("library", "folder"),
    "DATABASE_URL": ("library", "database_url"),
    "PRISM_ENCRYPTION_KEY": ("library", "encryption_key"),
}
"""The environment variables, and the section and field that each one sets."""

SECRET_VARIABLES = frozenset({"DATABASE_URL", "PRISM_ENCRYPTION_KEY"})
"""Variables whose settings `args:` must not give, because Serve logs and shows these."""


class ServingConfig(Section):
    max_concurrent_requests: int = Field(2, ge=1)
    """Long analyses worked on at once. Short ones, such as an image, take turns with their steps."""
    max_queued_requests: int = Field(16, ge=0)
    """Analyses that may wait beyond those; one more is answered SERVER_BUSY."""
    max_uploads: int = Field(64, ge=1)
    """Bodies that may be arriving at once; one more takes the place of a slow one, or is answered SERVER_BUSY."""
    upload_memory_mb: float = Field(128, gt=0)
    """Memory for what has arrived of these bodies, without the large ones."""
    max_large_uploads: int = Field(2, ge=1)
    """Bodies larger than an image's that may be in memory at once; one more is answered SERVER_BUSY."""
    request_timeout_s: float = Field(60, gt=0)
    """From the request's arrival to its response: upload, queue and work."""
    min_free_memory_mb: float = Field(512, ge=0)
    """With less memory free on the machine, new analyses are answered SERVER_BUSY; 0 turns this off."""
    requests_per_hour: int = Field(0, ge=0)
    """Rate limit for each client address: analyses, uploads and searches together; 0 means none."""
    lazy_loading: bool = False
    """Load each model at its first request instead of at start."""
    video_summary: Literal["model", "join"] = "model"
    """Have the language model write a video's summary, or join the descriptions of its frames."""
    allowed_hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")
    """Names in the `Host` header under which the API may be called, without a port. Another name is that of a web page
    that had its own name resolve to this machine."""
    cors_origins: tuple[str, ...] = ("http://localhost:3000", "http://localhost:3001")
    """Browser origins that may call the API; a comma-separated string in the environment."""
    mcp_folders: tuple[Path, ...] = ()
    """Folders whose files, with everything below them, the tools of /mcp may read; a comma-separated string in the
    environment."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"
    """Of the log files: lines of text, or a JSON object a line."""

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_commas(cls, origins: Any) -> Any:
        if isinstance(origins, str):
            return tuple(origin.strip().rstrip("/") for origin in origins.split(",") if origin.strip())
        return origins

    @field_validator("mcp_folders", mode="before")
    @classmethod
    def _split_folders(cls, folders: Any) -> Any:
        if isinstance(folders, str):
            return tuple(folder.strip() for folder in folders.split(",") if folder.strip())
        return folders

    @field_validator("mcp_folders")
    @classmethod
    def _require_whole_paths(cls, folders: tuple[Path, ...]) -> tuple[Path, ...]:
        expanded = tuple(folder.expanduser() for folder in folders)
        for folder in expanded:
            if not folder.is_absolute():
                raise ValueError(f"must be whole paths, such as ~/Pictures, not {str(folder)!r}")
        return expanded

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _normalize_hosts(cls, hosts: Any) -> Any:
        if isinstance(hosts, str):
            hosts = [host for host in hosts.split(",") if host.strip()]
        if not isinstance(hosts, list | tuple) or not all(isinstance(host, str) for host in hosts):
            return hosts
        names = [host.strip().lower() for host in hosts]
        return tuple(f"[{name}]" if ":" in name and not name.startswith("[") else name for name in names)

    @field_validator("log_format", mode="before")
    @classmethod
    def _to_lower_case(cls, log_format: Any) -> Any:
        return log_format.lower() if isinstance(log_format, str) else log_format

    @field_validator("log_level", mode="before")
    @classmethod
    def _to_upper_case(cls, level: Any) -> Any:
        return level.upper() if isinstance(level, str) else level


class AppConfig(Section):
    """All settings; building one reads the environment and `.env` for what `args:` does not give."""

    weights: WeightsConfig = WeightsConfig()
    captioner: CaptionerConfig = CaptionerConfig()
    transcriber: TranscriberConfig = TranscriberConfig()
    speakers: SpeakersConfig = SpeakersConfig()
    frame_sampler: FrameSamplerConfig = FrameSamplerConfig()
    document_parser: DocumentParserConfig = DocumentParserConfig()
    text_reader: TextReaderConfig = TextReaderConfig()
    embedder: EmbedderConfig = EmbedderConfig()
    library: LibraryConfig = LibraryConfig()
    answerer: AnswererConfig = AnswererConfig()
    indexing: IndexingConfig = IndexingConfig()
    limits: LimitsConfig = LimitsConfig()
    serving: ServingConfig = ServingConfig()

    @model_validator(mode="before")
    @classmethod
    def _add_environment(cls, args: Any) -> Any:
        if not isinstance(args, Mapping):
            return args
        environment = {**dotenv_values(env_file()), **os.environ}
        merged = {key: dict(value) if isinstance(value, Mapping) else value for key, value in args.items()}
        for variable, (section, field) in ENVIRONMENT_VARIABLES.items():
            value = environment.get(variable)
            given = args.get(section)
            if variable in SECRET_VARIABLES and isinstance(given, Mapping) and field in given:
                raise ValueError(f"{section}.{field} is secret: set {variable} in the environment or in .env instead")
            if value and isinstance(merged.setdefault(section, {}), dict):
                merged[section].setdefault(field, value)
        return merged
