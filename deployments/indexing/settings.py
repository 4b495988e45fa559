"""Settings of the indexing."""

from pydantic import Field

from deployments.settings import Section


class IndexingConfig(Section):
    chunk_tokens: int = Field(200, ge=16, le=254)
    """Word pieces in a chunk, at most; the embedder's window holds 254 and two special ones."""
    caption_images: bool = True
    """Describe pictures and video frames by the captioner. Without it, only their text is found."""
