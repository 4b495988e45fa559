"""Which database the originals in a folder belong to, where that is not a file in the folder.

Originals without a row are removed when a library is opened. So a folder must never be opened with another library's
database: both hold the same number.
"""

from pathlib import Path

from deployments.library.sync import replace_file

DATABASE_ID_FILE = "database_id"


def database_id_of(folder: Path) -> int | None:
    """Return the number of the database that a folder belongs to; None if none is noted."""
    try:
        return int((folder / DATABASE_ID_FILE).read_text())
    except FileNotFoundError:
        return None


def note_database_id(folder: Path, database_id: int) -> None:
    """Write the number to the disk; a crash leaves the former one."""
    replace_file(folder / DATABASE_ID_FILE, f"{database_id}\n".encode())
