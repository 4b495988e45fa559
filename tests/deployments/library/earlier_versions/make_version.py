"""Makes the folder of the present version: `python -m tests.deployments.library.earlier_versions.make_version`.

Run it once for each new version of the tables, before anything else changes them.
"""

from pathlib import Path

from deployments.library.library import Library
from deployments.library.settings import LibraryConfig
from deployments.library.tables import SCHEMA_VERSION
from tests.deployments.library.contents import index, upload


def main() -> None:
    folder = Path(__file__).parent / SCHEMA_VERSION
    library = Library(LibraryConfig(folder=folder))
    upload(library, "reports/year.txt", "The budget grew. Travel shrank.")
    index(library, ["The budget grew.", "Travel shrank."])
    upload(library, "waiting.txt")
    library.add_history("budget", 1, 12.5)
    library.close()
    (folder / "lock").unlink()
    (folder / "originals" / "incoming").rmdir()


if __name__ == "__main__":
    main()
