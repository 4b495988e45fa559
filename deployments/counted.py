"""Numbers of things in sentences."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, which has an "s" in the plural: "1 passage", "1,200 passages"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
