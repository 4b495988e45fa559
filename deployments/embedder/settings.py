"""Settings of the embedder."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from deployments.settings import ModelSection


class EmbedderConfig(ModelSection):
    official_models: ClassVar[tuple[str, ...]] = ("all-MiniLM-L6-v2",)

    model: str = "all-MiniLM-L6-v2"
    """`all-MiniLM-L6-v2`, or a folder holding a BERT encoder in the hub's format (relative to the project's folder)."""
    threads: int = Field(0, ge=0)
    """Threads for passages, at the lowest priority; 0 means one. A query always takes one, at normal priority."""
    query_cache_mb: float = Field(4, ge=0)
    """Memory for the vectors of recent queries; 4 MB hold about 2,500."""

    @property
    def name(self) -> str:
        return self.model if self.is_official else Path(self.model).name
