"""Settings of the document parser."""

from pydantic import Field

from deployments.settings import Section


class DocumentParserConfig(Section):
    max_pages: int = Field(20_000, ge=1)
    """A PDF with more pages is refused."""
