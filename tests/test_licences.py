"""docs/licences.md names every pinned package, and every library inside the installed wheels."""

import re
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "licences.md"


def pinned_packages() -> list[str]:
    lines = [
        line
        for name in ("requirements.txt", "requirements-postgres.txt", "requirements-dev.txt")
        for line in (ROOT / name).read_text().splitlines()
    ]
    return [match[1].lower() for line in lines if (match := re.match(r"([\w.-]+)(?:\[[\w,-]+\])?==", line))]


def bundled_libraries(package: str) -> set[str]:
    """Return the base names of the shared libraries in a wheel's `*.libs` folder: "libx264" of libx264-d6533a8d.so.165.

    Empty where the package is not installed, and where it was built without bundled libraries.
    """
    try:
        paths = files(package) or []
    except PackageNotFoundError:  # a package for another platform
        return set()
    # auditwheel puts a hash of 8 digits behind each library's name.
    return {re.split(r"-[0-9a-f]{8}|\.so", path.name)[0] for path in paths if path.parent.name.endswith(".libs")}


def section(page: str, heading: str) -> str:
    """Return the rows of the page's table from a heading in bold to the next one."""
    return page.partition(f"| **{heading}")[2].partition("\n| **")[0]


def names(text: str) -> set[str]:
    """Return everything that stands alone in backticks."""
    return set(re.findall(r"`([^`\n]+)`", text))


def test_every_pinned_package_is_named() -> None:
    packages = pinned_packages()
    assert "av" in packages
    assert "ray" in packages
    assert sorted(set(packages) - names(PAGE.read_text())) == []


def test_every_library_inside_a_wheel_is_named_beside_its_package() -> None:
    page = PAGE.read_text()
    missing = {
        package: sorted(libraries)
        for package in pinned_packages()
        if (libraries := bundled_libraries(package) - names(section(page, f"Inside `{package}`")))
    }
    assert missing == {}
