"""What an item of the hostile corpus is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

OK = "OK"
"""Stands for status 200 with the documented answer."""

CANARY_PORT = 8129
"""A port of this machine that items refer to, and on which nobody may ever connect."""
CANARY = f"http://127.0.0.1:{CANARY_PORT}"


@dataclass(frozen=True)
class RawRequest:
    """A request as it goes over the connection."""

    head: bytes
    """Request line and headers, with the empty line at their end."""
    body: bytes = b""


@dataclass(frozen=True)
class Item:
    """One hostile input, and how it must be answered."""

    name: str
    attack: str
    """What it attacks, in one line."""
    make: Callable[[], bytes | RawRequest]
    """Returns a file, or for the route `http` a whole request."""
    route: Literal["image", "video", "audio", "upload", "http"]
    """`upload` puts a document into the library; its outcome is how the indexing ends."""
    outcomes: tuple[str, ...]
    """Permitted error codes, or OK."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Of the form in which the file is sent."""
    is_slow: bool = False
    """Whether making and answering it may take more than some seconds; the short form leaves it out."""
    filename: str = ""
    """Of an upload."""


MadeT = TypeVar("MadeT", bytes, RawRequest)


class Collection:
    """Collects the items that a module makes."""

    def __init__(self, route: Literal["image", "video", "audio", "upload", "http"], **fields: str) -> None:
        self.items: list[Item] = []
        self._route = route
        self._fields = fields

    def item(
        self, *outcomes: str, is_slow: bool = False, filename: str = ""
    ) -> Callable[[Callable[[], MadeT]], Callable[[], MadeT]]:
        """Add the decorated function as an item; the first line of its docstring says what it attacks."""

        def add(make: Callable[[], MadeT]) -> Callable[[], MadeT]:
            name = make.__name__.replace("_", " ")
            attack = (make.__doc__ or "").splitlines()[0]
            self.items.append(Item(name, attack, make, self._route, outcomes, self._fields, is_slow, filename))
            return make

        return add
