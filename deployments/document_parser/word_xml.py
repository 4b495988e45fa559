"""Names and attributes in the XML of Word documents, in both namespaces of ISO/IEC 29500 (transitional and strict)."""

from collections.abc import Iterator
from functools import lru_cache

from lxml import etree

_NAMESPACES = {
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main": "w",
    "http://purl.oclc.org/ooxml/wordprocessingml/main": "w",
    "http://schemas.openxmlformats.org/officeDocument/2006/math": "m",
    "http://purl.oclc.org/ooxml/officeDocument/math": "m",
    "http://schemas.openxmlformats.org/drawingml/2006/main": "a",
    "http://purl.oclc.org/ooxml/drawingml/main": "a",
    "http://schemas.openxmlformats.org/drawingml/2006/chart": "c",
    "http://purl.oclc.org/ooxml/drawingml/chart": "c",
    "http://schemas.openxmlformats.org/markup-compatibility/2006": "mc",
}


def tag(element: etree._Element) -> str:
    """Return the name with a short prefix, such as `w:p`; empty for what is no element."""
    return _short_name(element.tag) if isinstance(element.tag, str) else ""


def attribute(element: etree._Element, name: str) -> str:
    """Return an attribute by its name without namespace; empty if there is none."""
    return next((str(value) for key, value in element.items() if str(key).rpartition("}")[2] == name), "")


def first_child(element: etree._Element, name: str) -> etree._Element | None:
    return next((inner for inner in element if tag(inner) == name), None)


def children(element: etree._Element, name: str) -> Iterator[etree._Element]:
    return (inner for inner in element if tag(inner) == name)


def descendants(element: etree._Element, name: str) -> Iterator[etree._Element]:
    return (inner for inner in element.iter() if tag(inner) == name)


def child_value(element: etree._Element, name: str) -> str | None:
    """Return the attribute `val` of a child; None if there is no such child."""
    found = first_child(element, name)
    return None if found is None else attribute(found, "val")


def is_on(element: etree._Element | None, name: str) -> bool:
    """Return whether a switch such as `<w:vanish/>` is among the children and on."""
    value = None if element is None else child_value(element, name)
    return value is not None and value not in ("0", "false", "off")


def as_number(text: str | None) -> int | None:
    """Return a number that is not negative; None if the text is none, which damaged files have."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None


@lru_cache(maxsize=1024)
def _short_name(name: str) -> str:
    namespace, _, local = name.rpartition("}")
    return f"{_NAMESPACES.get(namespace[1:], '')}:{local}"
