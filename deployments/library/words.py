"""The words' index: which chunks hold which words, with SQLite's FTS5.

It indexes the view `chunk_words`, which has the text and the file's path of each visible chunk, so that words of a
file's name are found, too. It stores no text of its own, and it is made anew from the rows when its definition changed.
Words are folded (case, accents) and stemmed by Porter's rules. In scripts that are written without spaces each
character is a word of its own, and a word of the query a phrase of them.
"""

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from deployments.library.lookup import MAX_RANKED, Groups, Lookup
from deployments.library.unspaced import separated

TEXT_WEIGHT, PATH_WEIGHT = 1.0, 2.0
"""What an occurrence in the text and one in the path count, for BM25. With 0.5, 1, 2 and 4 for the path, the right
passage was first for .790, .793, .796 and .797 of the questions of SQuAD in search.py, whose files are named for their
topics."""

TOKENIZER = "porter unicode61 remove_diacritics 2"
"""How FTS5 splits text into terms; Postgres has the same ones."""
_DEFINITIONS = {
    "chunk_words": (
        "CREATE VIEW chunk_words AS SELECT chunks.id AS id, separated(chunks.text) AS text, "
        "separated(files.path) AS path FROM chunks JOIN files ON files.id = chunks.file_id "
        "WHERE files.status = 'completed'"
    ),
    "words": (
        "CREATE VIRTUAL TABLE words USING fts5(text, path, content='chunk_words', content_rowid='id', "
        f"tokenize='{TOKENIZER}')"
    ),
    "word_counts": "CREATE VIRTUAL TABLE word_counts USING fts5vocab(words, 'row')",
}
_MERGED_PAGES = 2000
"""How much of the index one step of `merge` writes, in pages; about a tenth of a second."""


class WordIndex:
    """Statements about the words' index; each takes the session of the transaction that it belongs to."""

    def ensure(self, session: Session) -> bool:
        """Make the index anew if it is missing or was defined otherwise; returns whether that was so."""
        rows = _execute(
            session, "SELECT name, sql FROM sqlite_master WHERE name IN ('chunk_words','words','word_counts')"
        )
        if dict(rows) == _DEFINITIONS:
            return False
        self.rebuild(session)
        return True

    def rebuild(self, session: Session) -> None:
        for name in reversed(_DEFINITIONS):
            kind = "VIEW" if name == "chunk_words" else "TABLE"
            _execute(session, f"DROP {kind} IF EXISTS {name}")
        for definition in _DEFINITIONS.values():
            _execute(session, definition)
        _execute(session, "INSERT INTO words(words) VALUES('rebuild')")

    def add(self, session: Session, file_id: int) -> None:
        """Add the chunks of a file that is completed in this transaction."""
        _execute(
            session,
            "INSERT INTO words(rowid, text, path) SELECT id, text, path FROM chunk_words WHERE id IN "
            "(SELECT id FROM chunks WHERE file_id = ?)",
            file_id,
        )

    def remove(self, session: Session, file_id: int) -> None:
        """Remove the chunks of a completed file; its rows must still be there."""
        _execute(
            session,
            "INSERT INTO words(words, rowid, text, path) SELECT 'delete', id, text, path FROM chunk_words WHERE id IN "
            "(SELECT id FROM chunks WHERE file_id = ?)",
            file_id,
        )

    def search(
        self, session: Session, lookup: Lookup, id_ranges: Iterable[tuple[int, int]], limit: int
    ) -> list[tuple[int, float]]:
        """Return the chunks in some ranges of ids that match, with their BM25, the best first; equal ones by id."""
        expression = _expression(lookup.groups)
        found: list[tuple[int, float]] = []
        for first, last in id_ranges:
            if lookup.count > MAX_RANKED:
                first = self._oldest_ranked(session, expression, first, last)
            found += (
                (int(id), -float(rank))
                for id, rank in _execute(
                    session,
                    "SELECT rowid, rank FROM words WHERE words MATCH ? AND rank MATCH ? AND rowid BETWEEN ? AND ? "
                    "ORDER BY rank, rowid LIMIT ?",
                    expression,
                    f"bm25({TEXT_WEIGHT}, {PATH_WEIGHT})",
                    first,
                    last,
                    limit,
                )
            )
        found.sort(key=lambda hit: (-hit[1], hit[0]))
        return found[:limit]

    def _oldest_ranked(self, session: Session, expression: str, first: int, last: int) -> int:
        """Return the id from which on MAX_RANKED chunks of a range match."""
        rows = _execute(
            session,
            "SELECT rowid FROM words WHERE words MATCH ? AND rowid BETWEEN ? AND ? "
            "ORDER BY rowid DESC LIMIT 1 OFFSET ?",
            expression,
            first,
            last,
            MAX_RANKED - 1,
        )
        return int(rows[0][0]) if rows else first

    def matching(self, session: Session, groups: Groups, ids: Iterable[int]) -> set[int]:
        """Return those of the chunks that match."""
        statement = "SELECT rowid FROM words WHERE words MATCH ? AND rowid = ?"
        expression = _expression(groups)
        return {id for id in ids if _execute(session, statement, expression, id)}

    def num_chunks(self, session: Session) -> int:
        [(count,)] = _execute(session, "SELECT count(*) FROM words_docsize")
        return int(count)

    def num_chunks_with(self, session: Session, term: str) -> int:
        """Return how many chunks hold a term, as `Terms` gives it."""
        rows = _execute(session, "SELECT doc FROM word_counts WHERE term = ?", term)
        return int(rows[0][0]) if rows else 0

    def occurs(self, session: Session, phrase: str) -> bool:
        """Return whether any chunk has a phrase."""
        return bool(_execute(session, "SELECT 1 FROM words WHERE words MATCH ? LIMIT 1", _expression(((phrase,),))))

    def terms(self, session: Session) -> list[str]:
        """Return every term of the index; reads all of it."""
        return [term for (term,) in _execute(session, "SELECT term FROM word_counts")]

    def fits(self, session: Session) -> bool:
        """Return whether the index fits the rows; needs a transaction that may write."""
        try:
            with session.begin_nested():
                _execute(session, "INSERT INTO words(words, rank) VALUES('integrity-check', 1)")
        except DatabaseError:
            return False
        return True

    def merge(self, session: Session, *, start: bool) -> bool:
        """Do one step of writing the whole index anew without what was deleted; returns whether more is to do.

        With `start`, everything that is there now takes part.
        """
        before = _num_changes(session)
        pages = -_MERGED_PAGES if start else _MERGED_PAGES
        _execute(session, "INSERT INTO words(words, rank) VALUES('merge', ?)", pages)
        return _num_changes(session) - before >= 2  # FTS5's documentation: fewer if there was nothing to merge


class Terms:
    """Splits text into the terms of the words' index, with an index in memory that has the same rules."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._connection.execute(f"CREATE VIRTUAL TABLE sample USING fts5(text, tokenize='{TOKENIZER}')")
        self._connection.execute("CREATE VIRTUAL TABLE sequence USING fts5vocab(sample, 'instance')")
        self._connection.execute("CREATE VIRTUAL TABLE distinct_terms USING fts5vocab(sample, 'row')")

    def close(self) -> None:
        self._connection.close()

    def sequence(self, text: str) -> list[str]:
        """Return the terms of a text in their order."""
        return self._read([text], "SELECT term FROM sequence ORDER BY offset")

    def distinct(self, texts: Sequence[str]) -> list[str]:
        """Return every term that occurs in some texts, once."""
        return self._read(texts, "SELECT term FROM distinct_terms")

    def of_each(self, texts: Sequence[str]) -> list[set[str]]:
        """Return the terms of each text."""
        terms: list[set[str]] = [set() for _ in texts]
        for number, term in self._rows(texts, "SELECT doc, term FROM sequence"):
            terms[number].add(term)
        return terms

    def _read(self, texts: Sequence[str], query: str) -> list[str]:
        return [term for (term,) in self._rows(texts, query)]

    def _rows(self, texts: Sequence[str], query: str) -> list[Any]:
        """Return what a query about the texts returns, which have the numbers from 0 on."""
        with self._lock, self._connection as connection:
            connection.execute("BEGIN")
            rows = ((number, separated(text)) for number, text in enumerate(texts))
            connection.executemany("INSERT INTO sample(rowid, text) VALUES(?, ?)", rows)
            found = connection.execute(query).fetchall()
            connection.execute("ROLLBACK")
        return found


def _expression(groups: Groups) -> str:
    """Return what FTS5 is asked for groups of phrases."""
    return " AND ".join("(" + " OR ".join(map(_quoted, group)) + ")" for group in groups)


def _quoted(phrase: str) -> str:
    return '"' + phrase.replace('"', '""') + '"'


def _execute(session: Session, statement: str, *parameters: object) -> Sequence[tuple]:  # type: ignore[type-arg]
    result = session.connection().exec_driver_sql(statement, parameters)
    return [tuple(row) for row in result] if result.returns_rows else []


def _num_changes(session: Session) -> int:
    [(count,)] = _execute(session, "SELECT total_changes()")
    return int(count)
