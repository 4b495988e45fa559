"""Vectors as the database holds them: float16, in SQLite as bytes, in Postgres as pgvector's `halfvec`.

Both round alike, so a cosine is the same whichever database has the vector.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Dialect, Integer, LargeBinary
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import UserDefinedType

from deployments.embedder.types import VECTOR_DIM, Vectors

STORED_BYTES = 2 * VECTOR_DIM
"""Of one vector."""


def to_stored(vectors: Vectors) -> list[bytes]:
    """Return each vector as a row holds it: little-endian float16."""
    return [row.tobytes() for row in np.ascontiguousarray(vectors, dtype="<f2")]


def from_stored(stored: Sequence[bytes]) -> Vectors:
    """Return vectors from rows, shape (len(stored), VECTOR_DIM)."""
    values = np.frombuffer(b"".join(stored), dtype="<f2").reshape(len(stored), VECTOR_DIM)
    return values.astype(np.float32)


class HalfVectorType(UserDefinedType[bytes]):
    """A column of pgvector's `halfvec`, whose values are the same bytes as in SQLite."""

    cache_ok = True

    def get_col_spec(self, **options: Any) -> str:
        return f"halfvec({VECTOR_DIM})"

    def bind_processor(self, dialect: Dialect) -> Callable[[bytes | None], Any]:
        from pgvector import HalfVector  # only there with the extra `postgres`

        return lambda stored: None if stored is None else HalfVector(np.frombuffer(stored, "<f2"))

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], bytes]:
        return lambda vector: bytes(vector.to_numpy().astype("<f2").tobytes())


STORED_VECTOR = LargeBinary().with_variant(HalfVectorType(), "postgresql")
"""The type of a column of vectors."""


class stored_length(FunctionElement[int]):
    """SQL: the bytes of a stored vector."""

    inherit_cache = True
    type = Integer()


@compiles(stored_length)
def _length_of_bytes(element: stored_length, compiler: SQLCompiler, **options: Any) -> str:
    return f"length({compiler.process(element.clauses, **options)})"


@compiles(stored_length, "postgresql")
def _length_of_halfvec(element: stored_length, compiler: SQLCompiler, **options: Any) -> str:
    return f"2 * vector_dims({compiler.process(element.clauses, **options)})"
