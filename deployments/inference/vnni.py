"""Loops around VPDPBUSD, the instruction that multiplies unsigned with signed bytes and adds up each four products.

They are intrinsics for compiled functions, which they give no value; an address is that of bytes. Only for CPUs with
AVX-512 VNNI or AVX-VNNI.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from deployments.inference.compiled import external

_capabilities = torch.cpu.get_capabilities()
IS_THERE = bool(_capabilities.get("avx512_vnni") or _capabilities.get("avx_vnni"))
WIDTH = 64 if _capabilities.get("avx512_vnni") else 32
"""Bytes of a vector register."""
LANES = WIDTH // 4
_CACHE_LINE = 64
ROWS_IN_BLOCK = 32
"""Pairs of rows of weights whose sums stand side by side."""
KEYS_IN_BLOCK = 16
"""Keys whose bytes stand side by side in memory, four of each."""

_BYTE, _WORD, _INDEX = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_VECTOR = ir.VectorType(_WORD, LANES)
_ZEROS = ir.Constant(_VECTOR, None)


def products(num_tokens: int) -> Any:
    """Return an intrinsic that multiplies two rows of weights, plus 128 each, with that many tokens.

    It adds to sums, int32 of shape (2, all tokens, ROWS_IN_BLOCK). Its arguments: the addresses of the first row, the
    first token and the first sum; how many rows farther the second row is; the length of rows and tokens; how many
    tokens there are in all; how many vectors to multiply; how many bytes ahead memory is asked for weights.
    """

    def write(code: "_Code", arguments: Sequence[Any]) -> None:
        weights, tokens, sums, distance, length, all_tokens, num_vectors, ahead = arguments
        rows = [weights, code.beyond(weights, code.times(distance, length))]
        others = [code.beyond(tokens, code.times(length, token)) for token in range(num_tokens)]

        def multiply(number: Any, totals: list[Any]) -> list[Any]:
            start = code.times(number, WIDTH)
            factors = [code.vector(token, start) for token in others]
            found: list[Any] = []
            for row in rows:
                unsigned = code.plus_128(code.vector(row, start))
                if num_tokens > 1:  # one leaves the processor the time to look ahead by itself
                    code.prefetch(code.beyond(row, code.builder.add(start, ahead)))
                found += [code.multiply_add(totals[len(found) + i], unsigned, factors[i]) for i in range(num_tokens)]
            return found

        totals = code.repeat(num_vectors, 2 * num_tokens, multiply)
        for i, total in enumerate(totals):
            of_row = code.times(all_tokens, i // num_tokens)
            place = code.times(code.builder.add(of_row, code.number(i % num_tokens)), ROWS_IN_BLOCK)
            target = code.builder.bitcast(code.beyond(sums, code.times(place, 4)), _WORD.as_pointer())
            code.builder.store(code.builder.add(code.builder.load(target), code.sum_of_lanes(total)), target)

    def function(
        typing_context: Any,
        weights: Any,
        tokens: Any,
        sums: Any,
        distance: Any,
        length: Any,
        all_tokens: Any,
        num_vectors: Any,
        ahead: Any,
    ) -> Any:
        return types.none(*(types.voidptr,) * 3, *(types.intp,) * 5), _generator(write)

    return intrinsic(function)


def key_products(num_blocks: int) -> Any:
    """Return an intrinsic that multiplies a query with that many blocks of keys.

    Its arguments: the addresses of the keys, unsigned bytes [block][four dimensions][key][dimension], of the query, a
    signed byte for each dimension, of the sums, an int32 for each key, and of as many bytes as the keys', for which
    memory is asked; how many times four dimensions there are.
    """

    def write(code: "_Code", arguments: Sequence[Any]) -> None:
        keys, query, sums, next_bytes, num_fours = arguments
        of_four = 4 * KEYS_IN_BLOCK
        starts = [
            code.beyond(keys, code.builder.add(code.times(num_fours, of_four * block), code.number(part)))
            for block in range(num_blocks)
            for part in range(0, of_four, WIDTH)
        ]

        def multiply(number: Any, totals: list[Any]) -> list[Any]:
            factor = code.same_for_all(query, code.times(number, 4))
            offset = code.times(number, of_four)
            code.prefetch(code.beyond(next_bytes, code.times(number, of_four * num_blocks)), of_four * num_blocks)
            return [code.multiply_add(totals[i], code.vector(start, offset), factor) for i, start in enumerate(starts)]

        code.store_all(code.repeat(num_fours, len(starts), multiply), sums)

    def function(typing_context: Any, keys: Any, query: Any, sums: Any, next_bytes: Any, num_fours: Any) -> Any:
        return types.none(*(types.voidptr,) * 4, types.intp), _generator(write)

    return intrinsic(function)


def weighted_values(num_vectors: int) -> Any:
    """Return an intrinsic that adds up values by weights of 16 bits, for that many vectors of dimensions.

    Its arguments: the addresses of the values, signed bytes [four positions][dimension][position], of the high and of
    the low bytes of the weights, of the sums by either, int32, and of as many bytes as the values', for which memory is
    asked; how many times four positions there are; how many dimensions a value has.
    """

    def write(code: "_Code", arguments: Sequence[Any]) -> None:
        values, high, low, high_sums, low_sums, next_bytes, num_fours, num_dimensions = arguments
        of_four = code.times(num_dimensions, 4)

        def multiply(number: Any, totals: list[Any]) -> list[Any]:
            start = code.times(number, of_four)
            here = code.beyond(values, start)
            code.prefetch(code.beyond(next_bytes, start), num_vectors * WIDTH)
            loaded = [code.vector(here, code.number(i * WIDTH)) for i in range(num_vectors)]
            found: list[Any] = []
            for weights in (high, low):
                weight = code.same_for_all(weights, code.times(number, 4))
                found += [code.multiply_add(totals[len(found) + i], weight, loaded[i]) for i in range(num_vectors)]
            return found

        totals = code.repeat(num_fours, 2 * num_vectors, multiply)
        code.store_all(totals[:num_vectors], high_sums)
        code.store_all(totals[num_vectors:], low_sums)

    def function(
        typing_context: Any,
        values: Any,
        high: Any,
        low: Any,
        high_sums: Any,
        low_sums: Any,
        next_bytes: Any,
        num_fours: Any,
        num_dimensions: Any,
    ) -> Any:
        return types.none(*(types.voidptr,) * 6, *(types.intp,) * 2), _generator(write)

    return intrinsic(function)


def _ask_for_rows(code: "_Code", arguments: Sequence[Any]) -> None:
    code.prefetch(arguments[0], 4 * ROWS_IN_BLOCK)


@intrinsic  # type: ignore[untyped-decorator]
def ask_for_rows(typing_context: Any, numbers: Any) -> Any:
    """Ask memory for ROWS_IN_BLOCK numbers of 32 bits from an address on."""
    return types.none(types.voidptr), _generator(_ask_for_rows)


@intrinsic  # type: ignore[untyped-decorator]
def address(typing_context: Any, array: Any, num_bytes: Any) -> Any:
    """Return the address so many bytes after the first element of an array, inside of it or not."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.gep(builder.bitcast(data, _BYTE.as_pointer()), [arguments[1]])

    return types.voidptr(array, types.intp), generate


def _generator(write: Callable[["_Code", Sequence[Any]], None]) -> Callable[..., Any]:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        write(_Code(builder), arguments)
        return context.get_dummy_value()

    return generate


class _Code:
    """Writes LLVM's instructions; vectors have LANES int32."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def number(self, value: int) -> Any:
        return ir.Constant(_INDEX, value)

    def times(self, count: Any, factor: Any) -> Any:
        return self.builder.mul(count, self.number(factor) if isinstance(factor, int) else factor)

    def beyond(self, start: Any, num_bytes: Any) -> Any:
        return self.builder.gep(start, [num_bytes])

    def vector(self, start: Any, num_bytes: Any) -> Any:
        """Load the vector that lies so far beyond an address."""
        pointer = self.builder.bitcast(self.beyond(start, num_bytes), _VECTOR.as_pointer())
        return self.builder.load(pointer, align=1)

    def same_for_all(self, start: Any, num_bytes: Any) -> Any:
        """Load the four bytes that lie so far beyond an address into every lane."""
        pointer = self.builder.bitcast(self.beyond(start, num_bytes), _WORD.as_pointer())
        first = self.builder.insert_element(_ZEROS, self.builder.load(pointer, align=1), ir.Constant(_WORD, 0))
        return self.builder.shuffle_vector(first, _ZEROS, ir.Constant(ir.VectorType(_WORD, LANES), [0] * LANES))

    def store_all(self, vectors: Sequence[Any], start: Any) -> None:
        for i, vector in enumerate(vectors):
            pointer = self.builder.bitcast(self.beyond(start, self.number(i * WIDTH)), _VECTOR.as_pointer())
            self.builder.store(vector, pointer, align=1)

    def multiply_add(self, total: Any, unsigned: Any, signed: Any) -> Any:
        """Add to each lane the products of its four bytes."""
        name = f"llvm.x86.avx512.vpdpbusd.{8 * WIDTH}"
        return self.builder.call(
            external(self.builder, name, _VECTOR, _VECTOR, _VECTOR, _VECTOR), [total, unsigned, signed]
        )

    def plus_128(self, vector: Any) -> Any:
        """Make signed bytes unsigned ones that are greater by 128."""
        return self.builder.xor(vector, ir.Constant(_VECTOR, [0x80808080] * LANES))

    def sum_of_lanes(self, vector: Any) -> Any:
        return self.builder.call(
            external(self.builder, f"llvm.vector.reduce.add.v{LANES}i32", _WORD, _VECTOR), [vector]
        )

    def prefetch(self, start: Any, num_bytes: int = 1) -> None:
        """Ask memory for the lines of so many bytes, for the second-level cache.

        What is asked for the first level pushes out what is worked on: that made it slower than nothing here.
        """
        word = ir.IntType(32)
        line = external(self.builder, "llvm.prefetch.p0", ir.VoidType(), _BYTE.as_pointer(), word, word, word)
        for_reading, second_level, data = (ir.Constant(word, part) for part in (0, 2, 1))
        for offset in range(0, num_bytes, _CACHE_LINE):
            address = self.beyond(start, self.number(offset))
            self.builder.call(line, [address, for_reading, second_level, data])

    def repeat(self, count: Any, num_totals: int, body: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
        """Write a loop over numbers from 0 in which `body` makes new totals of the last ones, which begin at zero."""
        builder = self.builder
        before = builder.block
        head, inside, done = (builder.append_basic_block(part) for part in ("head", "inside", "done"))
        builder.branch(head)
        builder.position_at_end(head)
        number = builder.phi(_INDEX)
        number.add_incoming(self.number(0), before)
        totals = [builder.phi(_VECTOR) for _ in range(num_totals)]
        for total in totals:
            total.add_incoming(_ZEROS, before)
        builder.cbranch(builder.icmp_signed("<", number, count), inside, done)
        builder.position_at_end(inside)
        for total, updated in zip(totals, body(number, totals), strict=True):
            total.add_incoming(updated, inside)
        number.add_incoming(builder.add(number, self.number(1)), inside)
        builder.branch(head)
        builder.position_at_end(done)
        return totals
