"""Finds chunks by words and by meaning.

A chunk's score is a weighted sum of its BM25, divided by the best chunk's, and of its cosine (a convex combination:
Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", ACM TOIS 2023). The weight is from two
sets of questions (chunks of 200 word pieces, all-MiniLM-L6-v2): 385 about 50 articles of medicine (COVID-QA) and 1000
about 11 articles of an encyclopedia (SQuAD's training set). These fractions of the questions had a passage with the
whole answer first, or among the first five:

                        COVID-QA      SQuAD
    BM25 alone          .491  .771    .762  .915
    weight 0.65         .509  .808    .783  .938
    weight 0.5          .517  .831    .795  .947
    this, weight 0.4    .522  .826    .796  .955
    weight 0.3          .517  .823    .794  .958
    weight 0.2          .514  .810    .772  .955

With the square root of the divided BM25, both sets gain .005, but a question about one of many pages that say much the
same no longer finds its page.

What BM25 is divided by is at least EXPECTED_PART of what a text of usual length with each word of the query once would
have: where nothing fits, a chunk that shares a common word with it gets little for that.

A chunk without any of the words counts only if it is similar enough.

If the words of the query are all in the paths of a few files, these come first, each with its best chunk.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from deployments.cancellation import Cancellation
from deployments.embedder.types import Vectors
from deployments.library.backend import VectorsBackend, WordsBackend
from deployments.library.chunks import Passage, PassageText, read_chunks, read_texts, visible_passages
from deployments.library.lookup import Counted, plan_lookup
from deployments.library.query import Query, parse_query
from deployments.library.spelling import Spelling
from deployments.library.stored_vectors import from_stored
from deployments.library.tables import FileRow, chunk_id_ranges
from deployments.library.types import FILE_TYPES, ChunkRecord, SearchHit, SearchRequest
from deployments.library.unspaced import separated
from deployments.library.words import Terms
from deployments.sentences import sentence_ranges
from deployments.source_info import narrowed

MIN_SIMILARITY = 0.3
"""The least cosine of a result that shares no word with the query. all-MiniLM-L6-v2 gives unrelated texts -0.1 to
0.2."""

WORD_WEIGHT = 0.4
"""Of BM25; the rest is the weight of the cosine."""

EXPECTED_PART = 0.75
"""Of the sum of the words' inverse document frequencies, which is BM25 of a text of usual length with each word once.
With 0, 0.5, 0.75 and 1, the five first passages held the answer to .829, .829, .826 and .823 of the first set of
questions and .954, .953, .955 and .954 of the second."""

MAX_NAMED_FILES = 3
"""If more files have all the words in their paths, such as those of a folder, they are not put first."""

MAX_ROWS = 30
"""Of so many of the best chunks, those that are rows of a table may be put before its header."""
TABLE_PART = 0.25
"""A chunk of which this part of the words has digits is of a table. Text has up to a tenth."""

MAX_REDUNDANT_SCORE = 0.7
"""A chunk beside a better one is redundant only if its score is at most this part of the better one's. On the same
questions, leaving these out cost .002 of the first five passages; without this bound it cost .013, because some of them
hold the answer."""

_MIN_CANDIDATES = 100
"""Chunks of each ranking that are fused, at least."""
_CANDIDATES_PER_RESULT = 5
"""As many of each ranking are fused for each result, because redundant chunks are left out."""
_MAX_CORRECTIONS = 3
"""Words that a misspelt one may mean."""
_MIN_CORRECTED_LENGTH = 5
"""Shorter words are not corrected: where nobody writes of baking, "bake" is not "make"."""

_PART = re.compile(r"[^\W_]+")
_WITH_DIGIT = re.compile(r"\d\S*")


@dataclass(frozen=True)
class _Candidate:
    id: int
    file_id: int
    number: int
    similarity: float
    word_score: float
    """BM25; 0 without any of the words."""
    score: float

    @property
    def order(self) -> tuple[float, int, int]:
        """Sorts the best first, always in the same way."""
        return -self.score, self.file_id, self.number


class _Texts:
    """The texts of chunks, read when they are first asked for."""

    def __init__(self, session: Session, terms: Terms, query: Query) -> None:
        self._session = session
        self._terms = terms
        self._asked = set(terms.distinct([*query.words, *query.phrases]))
        self._read: dict[int, PassageText] = {}
        self._words: dict[int, set[str]] = {}

    def read(self, candidates: Iterable[_Candidate]) -> None:
        """Read several texts at once."""
        self._read |= read_texts(self._session, [each.id for each in candidates if each.id not in self._read])

    def of(self, candidate: _Candidate) -> PassageText:
        if candidate.id not in self._read:
            self.read([candidate])
        return self._read[candidate.id]

    def words(self, candidate: _Candidate) -> set[str]:
        """Return the words of the query that are in a chunk."""
        if candidate.id not in self._words:
            self._words[candidate.id] = self._asked.intersection(self._terms.distinct([self.of(candidate).text]))
        return self._words[candidate.id]

    def placed(self, chunk: ChunkRecord) -> ChunkRecord:
        """Return a passage with the place of what was asked for: of speech, the time from the first sentence that has
        most words of the query; of a document without pages, the first such paragraph. Others are as they are."""
        place = chunk.parts[0].place if chunk.parts else {}
        if "start" in place:
            ranges = list(sentence_ranges(chunk.text))
        elif "paragraph" in place:
            ranges = [(part.start, part.end) for part in chunk.parts]
        else:
            return chunk
        terms = self._terms.of_each([chunk.text[start:end] for start, end in ranges])
        counts = [len(self._asked & of_range) for of_range in terms]
        start, _ = ranges[counts.index(max(counts))]
        return replace(chunk, source_info=narrowed(chunk.source_info, chunk.parts, start, len(chunk.text)))


class Searcher:
    """Searches the index of words and that of vectors."""

    def __init__(self, words: WordsBackend, vectors: VectorsBackend, terms: Terms, spelling: Spelling) -> None:
        self._words = words
        self._vectors = vectors
        self._terms = terms
        self._spelling = spelling

    def search(
        self, session: Session, request: SearchRequest, vector: Vectors | None, cancellation: Cancellation
    ) -> list[SearchHit]:
        """Return the best chunks that are visible in the session's transaction, the best first."""
        # Starts the transaction, so that it sees no chunk that is not yet in the vectors' index.
        session.execute(select(FileRow.id).limit(1))
        file_types = [file_type for file_type in FILE_TYPES if file_type in (request.file_types or FILE_TYPES)]
        num_candidates = max(_MIN_CANDIDATES, _CANDIDATES_PER_RESULT * request.limit)

        query = parse_query(request.query)
        word_scores: dict[int, float] = {}
        required = [self._counted(session, text) for text in query.phrases]
        wanted = [self._word_phrases(session, word) for word in query.words]
        lookup = plan_lookup(required, list(dict.fromkeys(chain.from_iterable(wanted))))
        if lookup is not None:
            word_scores = dict(self._words.search(session, lookup, chunk_id_ranges(file_types), num_candidates))
        cancellation.check("it was still looking for words")

        similar: list[int] = []
        if vector is not None:
            similar = [id for id, _ in self._vectors.search(session, vector, file_types, num_candidates)]
            if query.phrases:
                groups = tuple((separated(text),) for text in query.phrases)
                matching = self._words.matching(session, groups, similar)
                similar = [id for id in similar if id in matching]
        cancellation.check("it was still comparing vectors")

        expected_score = _expected_score([*([part] for part in required), *wanted], self._vectors.size(session))
        passages = visible_passages(session, {*word_scores, *similar})
        candidates = _candidates(passages, word_scores, vector, expected_score)
        candidates = self._with_named_files(candidates, passages, query)
        candidates.sort(key=lambda candidate: candidate.order)
        texts = _Texts(session, self._terms, query)
        candidates = _with_rows_before_headers(candidates, texts)
        results = _without_redundant(candidates, texts, request.limit)
        chunks = read_chunks(session, [result.id for result in results])
        return [SearchHit(texts.placed(chunks[result.id]), result.similarity, result.score) for result in results]

    def _word_phrases(self, session: Session, word: str) -> list[Counted]:
        """Return what to look up for a word: the word itself, or if it occurs nowhere its parts, and for a part that
        occurs nowhere the corrections of its spelling."""
        whole = self._counted(session, word)
        parts = _PART.findall(word)
        if whole.count and self._words.occurs(session, whole.phrase):
            # "state-of-the-art" also means its parts; "INV-2022-001" means itself.
            is_compound = len(parts) > 1 and not any(character.isdigit() for character in word)
            return [whole, *(self._counted(session, part) for part in parts)] if is_compound else [whole]
        found: list[Counted] = []
        for part in parts:
            counted = self._counted(session, part)
            found += [counted] if len(parts) > 1 and counted.count else self._corrections(session, part)
        return found

    def _corrections(self, session: Session, word: str) -> list[Counted]:
        """Return the terms that a misspelt word most probably means: of the nearest, the most frequent."""
        if len(word) < _MIN_CORRECTED_LENGTH:
            return []
        corrections = [
            self._counted(session, correction)
            for term in self._terms.sequence(word)
            for correction in self._spelling.corrections(term)
        ]
        corrections.sort(key=lambda counted: (-counted.count, counted.phrase))
        return [counted for counted in corrections if counted.count][:_MAX_CORRECTIONS]

    def _counted(self, session: Session, text: str) -> Counted:
        """Return the phrase of words that follow one another, and in how many chunks it can be at most."""
        counts = [self._words.num_chunks_with(session, term) for term in self._terms.sequence(text)]
        return Counted(separated(text), min(counts, default=0))

    def _with_named_files(
        self, candidates: Sequence[_Candidate], passages: Mapping[int, Passage], query: Query
    ) -> list[_Candidate]:
        """Return the candidates; the best one of each file whose path has all the words gets a score above all others,
        if these files are few."""
        asked = set(self._terms.distinct([*query.words, *query.phrases]))
        best: dict[int, _Candidate] = {}
        for candidate in sorted(candidates, key=lambda candidate: candidate.order):
            if candidate.word_score:
                best.setdefault(candidate.file_id, candidate)
        paths = [passages[candidate.id].path for candidate in best.values()]
        terms = self._terms.of_each(paths)
        named = {candidate.id for candidate, words in zip(best.values(), terms, strict=True) if asked <= words}
        if not named or len(named) > MAX_NAMED_FILES:
            return list(candidates)
        above = max(candidate.score for candidate in candidates)
        scores: dict[int, float] = {}
        for candidate in sorted(best.values(), key=lambda candidate: candidate.order, reverse=True):
            if candidate.id in named:
                scores[candidate.id] = above = math.nextafter(above, math.inf)
        return [replace(each, score=scores[each.id]) if each.id in scores else each for each in candidates]


def _expected_score(words: Iterable[Sequence[Counted]], num_chunks: int) -> float:
    """Return BM25 of a text of usual length that has each word once, in the rarest of its forms; `words` has the forms
    of each word."""
    counts = (min((form.count for form in forms), default=0) for forms in words)
    # The number of chunks may be from a moment before or after the counts.
    return sum(math.log(max(1.0, (num_chunks - count + 0.5) / (count + 0.5))) for count in counts)


def _candidates(
    passages: Mapping[int, Passage], word_scores: Mapping[int, float], vector: Vectors | None, expected_score: float
) -> list[_Candidate]:
    """Return the chunks of both rankings with their scores."""
    cosines = _cosines(vector, passages)
    best = max((score for id, score in word_scores.items() if id in passages), default=0.0)
    best = max(best, EXPECTED_PART * expected_score)
    candidates = []
    for id, passage in passages.items():
        similarity = min(1.0, max(0.0, cosines.get(id, 0.0)))
        word_score = word_scores.get(id, 0.0)
        if id in word_scores or similarity >= MIN_SIMILARITY:
            relative_word_score = word_score / best if best > 0 else 0.0
            score = WORD_WEIGHT * relative_word_score + (1 - WORD_WEIGHT) * similarity
            candidates.append(_Candidate(id, passage.file_id, passage.number, similarity, word_score, score))
    return candidates


def _with_rows_before_headers(candidates: Sequence[_Candidate], texts: _Texts) -> list[_Candidate]:
    """Return the candidates, the best first; before a table's header comes the row that has most of the words that are
    asked for and that the header lacks.

    A row without its header shares few words with a question, and means little: "Kentucky 3,100 295,891" answers how
    many there were in Kentucky.
    """
    best = candidates[:MAX_ROWS]
    texts.read(best)
    rows: dict[int, list[_Candidate]] = defaultdict(list)
    """By their header's id."""
    for rank, row in enumerate(best):
        if _is_table(texts.of(row).text):
            header = next((each for each in best[:rank] if _is_header(each, row, texts)), None)
            if header is not None:
                rows[header.id].append(row)
    scores = {}
    for header in best:
        if of_header := rows.get(header.id):
            row = max(of_header, key=lambda row: len(texts.words(row) - texts.words(header)))
            scores[row.id] = math.nextafter(header.score, math.inf)
    lifted = [replace(each, score=scores[each.id]) if each.id in scores else each for each in candidates]
    return sorted(lifted, key=lambda candidate: candidate.order) if scores else lifted


def _is_table(text: str) -> bool:
    """Return whether many words of a text have a digit."""
    return len(_WITH_DIGIT.findall(text)) >= TABLE_PART * len(text.split())


def _is_header(header: _Candidate, row: _Candidate, texts: _Texts) -> bool:
    """Return whether a chunk stands above a row of numbers, and both have words of the query that the other lacks."""
    return (
        header.file_id == row.file_id
        and header.number < row.number
        and not _is_table(texts.of(header).text)
        and texts.of(header).section == texts.of(row).section != ()
        and bool(texts.words(row) - texts.words(header))
        and bool(texts.words(header) - texts.words(row))
    )


def _without_redundant(candidates: Sequence[_Candidate], texts: _Texts, limit: int) -> list[_Candidate]:
    """Return the first `limit` candidates, without those that a reader of a better one sees anyway.

    These stand beside it, on the same page or under the same heading, and are not better than it in anything: BM25,
    similarity, or a word of the query that it lacks.
    """

    def makes_redundant(better: _Candidate, candidate: _Candidate) -> bool:
        return (
            better.score * MAX_REDUNDANT_SCORE >= candidate.score
            and better.word_score >= candidate.word_score
            and better.similarity >= candidate.similarity
            and texts.words(better) >= texts.words(candidate)
            and texts.of(better).section == texts.of(candidate).section
        )

    kept: dict[tuple[int, int], _Candidate] = {}
    for candidate in candidates:
        places = [(candidate.file_id, candidate.number + step) for step in (-1, 1)]
        if not any(place in kept and makes_redundant(kept[place], candidate) for place in places):
            kept[candidate.file_id, candidate.number] = candidate
        if len(kept) == limit:
            break
    return list(kept.values())


def _cosines(vector: Vectors | None, passages: Mapping[int, Passage]) -> dict[int, float]:
    """Return the cosine of each chunk's vector to the query's."""
    if vector is None or not passages:
        return {}
    # In float64 and each row by itself, so that a cosine does not depend on what else is found.
    stored = from_stored([passage.vector for passage in passages.values()]).astype(np.float64)
    cosines = (stored * vector.reshape(1, -1).astype(np.float64)).sum(axis=1)
    return dict(zip(passages, cosines.tolist(), strict=True))
