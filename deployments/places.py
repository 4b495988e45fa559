"""Where text is on a page or in a picture."""

from dataclasses import dataclass

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in fractions of the displayed page or picture (rotation applied), from its top left corner."""


@dataclass(frozen=True)
class TextLine:
    """A line of text, in reading order among its neighbours."""

    text: str
    box: Box
    confidence: float = 1.0
    """Between 0 and 1; 1 for text that did not have to be recognized."""
    words: tuple[Box, ...] = ()
    """Where each word of `text.split()` is; empty if that is not known."""
