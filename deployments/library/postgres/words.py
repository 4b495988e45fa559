"""The words' index in Postgres: which chunks hold which words.

A row of `words` has the terms of a visible chunk's text and of its file's path, with their positions, as a `tsvector`
with a GIN index. The terms are made by the tokenizer of SQLite's index (`Terms`), so both find the same; none of
Postgres's own dictionaries takes part. Its ranking functions do not either, because they do not know how rare a word
is: chunks are ranked by BM25 with the constants of FTS5, from the positions.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from deployments.library.lookup import MAX_RANKED, Groups, Lookup
from deployments.library.tables import ChunkRow, FileRow
from deployments.library.words import PATH_WEIGHT, TEXT_WEIGHT, TOKENIZER, Terms

WORD_TABLES = ("words", "word_counts", "word_totals")

K1, B = 1.2, 0.75
"""Of BM25, as in FTS5: how soon more occurrences stop to count, and how much the length counts."""
_MIN_IDF = 1e-6
"""Of words that are in more than half of the chunks, as in FTS5."""

_MAX_POSITION = 16_383
"""Of a `tsvector`."""
PATH_START = 14_000
"""Terms of the path have positions from here on; a text has a few hundred."""
_MAX_TERM_BYTES = 2000
"""A `tsvector` takes a little more. Longer terms count as their beginning."""
_WRITTEN_AT_ONCE = 1000

_TABLES = f"""
CREATE TABLE words (id bigint PRIMARY KEY, length integer NOT NULL, terms tsvector NOT NULL);
CREATE INDEX ix_words_terms ON words USING gin (terms);
CREATE TABLE word_counts (term text PRIMARY KEY, chunks bigint NOT NULL);
CREATE TABLE word_totals (chunks bigint NOT NULL, terms bigint NOT NULL);
INSERT INTO word_totals VALUES (0, 0);
COMMENT ON TABLE words IS '{TOKENIZER}, path from {PATH_START}'
"""

_INSERT = """
INSERT INTO words SELECT * FROM unnest(%(ids)s::bigint[], %(lengths)s::integer[], %(terms)s::tsvector[])
"""
_COUNT = """
INSERT INTO word_counts AS known
SELECT lexeme, count(*) FROM words, unnest(words.terms) WHERE id = ANY(%(ids)s::bigint[]) GROUP BY lexeme
ON CONFLICT (term) DO UPDATE SET chunks = known.chunks + excluded.chunks
"""
_TOTAL = "UPDATE word_totals SET chunks = chunks + %(chunks)s, terms = terms + %(terms)s"

_DELETE = """
WITH removed AS (
    DELETE FROM words USING chunks WHERE chunks.id = words.id AND chunks.file_id = %(file_id)s
    RETURNING words.length, words.terms
),
counted AS (SELECT lexeme, count(*) AS chunks FROM removed, unnest(removed.terms) GROUP BY lexeme),
gone AS (DELETE FROM word_counts USING counted WHERE term = lexeme AND word_counts.chunks <= counted.chunks),
fewer AS (
    UPDATE word_counts SET chunks = word_counts.chunks - counted.chunks FROM counted
    WHERE term = lexeme AND word_counts.chunks > counted.chunks
)
UPDATE word_totals SET
    chunks = word_totals.chunks - (SELECT count(*) FROM removed),
    terms = word_totals.terms - (SELECT coalesce(sum(length), 0) FROM removed)
"""

# The terms that were asked for are marked, and the others filtered out, before the rows are unfolded. A phrase occurs
# where all its terms have positions that fit to one start. `length` goes along, because Postgres cannot know how many
# rows match and would join them in time that grows with their square.
_SEARCH = """
WITH matching AS MATERIALIZED (
    SELECT id, length, ts_filter(setweight(terms, 'A', %(terms)s::text[]), '{{a}}') AS terms
    FROM words WHERE terms @@ %(query)s::tsquery AND id BETWEEN %(first)s AND %(last)s
    {newest}
),
asked AS (
    SELECT * FROM unnest(%(numbers)s::integer[], %(offsets)s::integer[], %(terms)s::text[])
    AS asked(number, shift, term)
),
phrases AS (
    SELECT * FROM unnest(%(sizes)s::integer[], %(idfs)s::float8[]) WITH ORDINALITY AS phrases(size, idf, number)
),
starts AS (
    SELECT matching.id, matching.length, asked.number, position - asked.shift AS start, count(*) AS terms
    FROM matching, unnest(matching.terms) AS word, asked, unnest(word.positions) AS position
    WHERE asked.term = word.lexeme
    GROUP BY 1, 2, 3, 4
),
frequencies AS (
    SELECT starts.id, starts.length, phrases.idf,
        sum(CASE WHEN start < %(path_start)s THEN %(text)s ELSE %(path)s END) AS frequency
    FROM starts JOIN phrases USING (number) WHERE starts.terms = phrases.size
    GROUP BY starts.id, starts.length, starts.number, phrases.idf
)
SELECT id, sum(idf * frequency * (%(k1)s + 1) / (frequency + %(k1)s * (1 - %(b)s + %(b)s * length / %(mean)s))) AS rank
FROM frequencies GROUP BY id ORDER BY rank DESC, id LIMIT %(limit)s
"""
_NEWEST = "ORDER BY id DESC LIMIT %(max_ranked)s"

_DIFFERENT = """
SELECT 1 FROM unnest(%(ids)s::bigint[], %(lengths)s::integer[], %(terms)s::tsvector[]) AS right_ones(id, length, terms)
LEFT JOIN words USING (id)
WHERE words.length IS DISTINCT FROM right_ones.length OR words.terms IS DISTINCT FROM right_ones.terms LIMIT 1
"""
_WRONG_COUNTS = """
SELECT 1 FROM ts_stat('SELECT terms FROM words') AS right_ones FULL JOIN word_counts ON term = word
WHERE right_ones.ndoc IS DISTINCT FROM word_counts.chunks LIMIT 1
"""
_WRONG_TOTALS = """
SELECT 1 FROM word_totals, (SELECT count(*) AS chunks, coalesce(sum(length), 0) AS terms FROM words) AS right_ones
WHERE word_totals.chunks <> right_ones.chunks OR word_totals.terms <> right_ones.terms
"""


class PostgresWords:
    """Statements about the words' index; each takes the session of the transaction that it belongs to."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    def ensure(self, session: Session) -> bool:
        """Make the index anew if it is missing or was defined otherwise; returns whether that was so."""
        [(definition, *others)] = _execute(
            session,
            "SELECT obj_description(to_regclass('words'), 'pg_class'), to_regclass('ix_words_terms'), "
            "to_regclass('word_counts'), to_regclass('word_totals')",
        )
        if definition is not None and definition in _TABLES and all(others):
            return False
        self.rebuild(session)
        return True

    def rebuild(self, session: Session) -> None:
        _execute(session, f"DROP TABLE IF EXISTS {', '.join(WORD_TABLES)}")
        for statement in _TABLES.split(";"):
            _execute(session, statement)
        self._store(session, None)

    def add(self, session: Session, file_id: int) -> None:
        """Add the chunks of a file that is completed in this transaction."""
        self._store(session, file_id)

    def remove(self, session: Session, file_id: int) -> None:
        """Remove the chunks of a completed file; its rows must still be there."""
        _execute(session, _DELETE, file_id=file_id)

    def search(
        self, session: Session, lookup: Lookup, id_ranges: Iterable[tuple[int, int]], limit: int
    ) -> list[tuple[int, float]]:
        """Return the chunks in some ranges of ids that match, with their BM25, the best first; equal ones by id."""
        query = self._query(lookup.groups)
        [(num_chunks, num_terms)] = _execute(session, "SELECT chunks, terms FROM word_totals")
        if query is None or not num_terms:
            return []
        numbers: list[int] = []
        offsets: list[int] = []
        terms: list[str] = []
        sizes: list[int] = []
        idfs: list[float] = []
        # FTS5 counts each mention of a phrase.
        for phrase, mentions in Counter(phrase for group in lookup.groups for phrase in group).items():
            sequence = self._sequence(phrase)
            sizes.append(len(sequence))
            idfs.append(mentions * _idf(self._num_chunks_with_phrase(session, sequence), num_chunks))
            numbers += [len(sizes)] * len(sequence)
            offsets += range(len(sequence))
            terms += sequence
        statement = _SEARCH.format(newest=_NEWEST if lookup.count > MAX_RANKED else "")
        found: list[tuple[int, float]] = []
        for first, last in id_ranges:
            found += (
                (int(id), float(rank))
                for id, rank in _execute(
                    session,
                    statement,
                    query=query,
                    first=first,
                    last=last,
                    max_ranked=MAX_RANKED,
                    numbers=numbers,
                    offsets=offsets,
                    terms=terms,
                    sizes=sizes,
                    idfs=idfs,
                    path_start=PATH_START,
                    text=TEXT_WEIGHT,
                    path=PATH_WEIGHT,
                    k1=K1,
                    b=B,
                    mean=num_terms / num_chunks,
                    limit=limit,
                )
            )
        found.sort(key=lambda hit: (-hit[1], hit[0]))
        return found[:limit]

    def matching(self, session: Session, groups: Groups, ids: Iterable[int]) -> set[int]:
        """Return those of the chunks that match."""
        statement = "SELECT id FROM words WHERE id = ANY(%(ids)s::bigint[]) AND terms @@ %(query)s::tsquery"
        query = self._query(groups)
        return set() if query is None else {id for (id,) in _execute(session, statement, ids=list(ids), query=query)}

    def num_chunks(self, session: Session) -> int:
        [(count,)] = _execute(session, "SELECT count(*) FROM words")
        return int(count)

    def num_chunks_with(self, session: Session, term: str) -> int:
        """Return how many chunks hold a term, as `Terms` gives it."""
        rows = _execute(session, "SELECT chunks FROM word_counts WHERE term = %(term)s", term=_cut(term))
        return int(rows[0][0]) if rows else 0

    def occurs(self, session: Session, phrase: str) -> bool:
        """Return whether any chunk has a phrase."""
        query = self._query(((phrase,),))
        if query is None:
            return False
        return bool(_execute(session, "SELECT 1 FROM words WHERE terms @@ %(query)s::tsquery LIMIT 1", query=query))

    def terms(self, session: Session) -> list[str]:
        """Return every term of the index; reads all of it."""
        return [term for (term,) in _execute(session, "SELECT term FROM word_counts")]

    def fits(self, session: Session) -> bool:
        """Return whether the index fits the rows."""
        batches = self._rows(session, None)
        return not (
            any(_execute(session, _DIFFERENT, **batch) for batch in batches)
            or _execute(session, _WRONG_COUNTS)
            or _execute(session, _WRONG_TOTALS)
        )

    def merge(self, session: Session, *, start: bool) -> bool:
        """Nothing is to be done: Postgres takes deleted rows out of the index when it vacuums."""
        return False

    def _store(self, session: Session, file_id: int | None) -> None:
        """Add the chunks of a file, or of all completed files."""
        for batch in self._rows(session, file_id):
            _execute(session, _INSERT, **batch)
            _execute(session, _COUNT, ids=batch["ids"])
            _execute(session, _TOTAL, chunks=len(batch["ids"]), terms=sum(batch["lengths"]))

    def _rows(self, session: Session, file_id: int | None) -> Iterator[dict[str, list[Any]]]:
        """Yield columns of `words` as they should be, for the visible chunks of one file or of all."""
        rows = select(ChunkRow.id, ChunkRow.text, FileRow.path).join(FileRow, FileRow.id == ChunkRow.file_id)
        rows = rows.where(FileRow.status == "completed").order_by(ChunkRow.id)
        if file_id is not None:
            rows = rows.where(ChunkRow.file_id == file_id)
        result = session.execute(rows.execution_options(yield_per=_WRITTEN_AT_ONCE))
        path_terms: dict[str, list[str]] = {}
        for partition in result.partitions():
            batch: dict[str, list[Any]] = {"ids": [], "lengths": [], "terms": []}
            for id, text, path in partition:
                if path not in path_terms:
                    path_terms = {path: self._sequence(path)}
                of_text, of_path = self._sequence(text), path_terms[path]
                batch["ids"].append(id)
                batch["lengths"].append(len(of_text) + len(of_path))
                batch["terms"].append(_vector(of_text, of_path))
            yield batch

    def _sequence(self, text: str) -> list[str]:
        return [_cut(term) for term in self._terms.sequence(text)]

    def _query(self, groups: Groups) -> str | None:
        """Return the `tsquery` for groups of phrases; None if nothing can match."""
        parts = []
        for group in groups:
            phrases = [_phrase(sequence) for phrase in group if (sequence := self._sequence(phrase))]
            if not phrases:
                return None
            parts.append("(" + " | ".join(phrases) + ")")
        return " & ".join(parts)

    def _num_chunks_with_phrase(self, session: Session, sequence: Sequence[str]) -> int:
        if not sequence:
            return 0
        if len(sequence) == 1:
            return self.num_chunks_with(session, sequence[0])
        [(count,)] = _execute(
            session, "SELECT count(*) FROM words WHERE terms @@ %(query)s::tsquery", query=_phrase(sequence)
        )
        return int(count)


def _idf(num_with: int, num_chunks: int) -> float:
    return max(_MIN_IDF, math.log((num_chunks - num_with + 0.5) / (num_with + 0.5)))


def _vector(of_text: Sequence[str], of_path: Sequence[str]) -> str:
    """Return terms as the text of a `tsvector`, which keeps the first 255 positions of each: chunks have no more."""
    positions: dict[str, list[int]] = defaultdict(list)
    for position, term in enumerate(of_text, start=1):
        positions[term].append(min(position, PATH_START - 2))  # not a neighbour of the path's first term
    for position, term in enumerate(of_path, start=PATH_START):
        positions[term].append(min(position, _MAX_POSITION))
    return " ".join(f"{_quoted(term)}:{','.join(map(str, places))}" for term, places in positions.items())


def _phrase(sequence: Sequence[str]) -> str:
    """Return the part of a `tsquery` for terms that follow one another."""
    return "(" + " <-> ".join(map(_quoted, sequence)) + ")"


def _quoted(term: str) -> str:
    return "'" + term.replace("\\", "\\\\").replace("'", "''") + "'"


def _cut(term: str) -> str:
    encoded = term.encode()
    return term if len(encoded) <= _MAX_TERM_BYTES else encoded[:_MAX_TERM_BYTES].decode(errors="ignore")


def _execute(session: Session, statement: str, **parameters: Any) -> Sequence[tuple[Any, ...]]:
    result = session.connection().exec_driver_sql(statement, parameters or None)
    return [tuple(row) for row in result] if result.returns_rows else []
