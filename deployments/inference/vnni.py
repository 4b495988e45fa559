"""The kernels' inner loops, written in LLVM IR around the instruction VPDPBUSD.

VPDPBUSD multiplies unsigned bytes with signed bytes; each int32 lane of its result grows by the sum of four products.
So operands are laid out in quads: four bytes that are multiplied and summed together. A quad holds four dimensions of a
key or query, or four positions of one dimension of the values.

The intrinsics here are called by kernels and need a CPU with AVX-512 VNNI or AVX-VNNI. All but `address` return
nothing. Addresses and offsets are in bytes.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload
from numba.np.arrayobj import make_array

from deployments.inference.cpu import local_vnni_vector_bytes

ROWS_IN_BLOCK = 32
"""Weight rows whose sums are stored next to each other."""
KEYS_IN_BLOCK = 16
"""Keys that are interleaved in the KV cache, quad by quad: the first quad of each key, then the second, and so on."""
_CACHE_LINE = 64

_BYTE, _INT32, _INT64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_POINTER = ir.PointerType()


def vector_bytes() -> int:
    """Return the size of a vector register in bytes. Kernels may call it too; it is a constant in their code."""
    return local_vnni_vector_bytes()


def num_lanes() -> int:
    """Return the number of int32 lanes in a vector register. Kernels may call it too."""
    return vector_bytes() // 4


def key_blocks_per_pass() -> int:
    """Return how many blocks of keys are multiplied at once: enough independent sums to hide VPDPBUSD's latency.

    Kernels may call it too.
    """
    return num_lanes() // 4


def _constant_in_kernels(function: Callable[[], int]) -> None:
    """Let kernels call `function`: while a kernel is compiled, each call is replaced by the value for this CPU."""

    def implement() -> Callable[[], int]:
        value = function()
        return lambda: value

    overload(function, inline="always")(implement)


for _function in (vector_bytes, num_lanes, key_blocks_per_pass):
    _constant_in_kernels(_function)


def multiply_rows(num_tokens: int) -> Any:
    """Return an intrinsic that multiplies two weight rows, 128 added to each weight, with `num_tokens` tokens.

    It adds the products to `sums`, int32 of shape (2, all_tokens, ROWS_IN_BLOCK). Arguments:

    - weights, tokens, sums: the addresses of the first row, of the first token, and of the sum of their products
    - row_distance: how many rows after the first row the second one is
    - length: bytes of a row, which are also those of a token
    - all_tokens: tokens in the batch
    - num_vectors: vectors of each row and token to multiply
    - bytes_ahead: how far ahead of their use weights are prefetched
    """

    def write(code: "_IrWriter", arguments: Sequence[ir.Value]) -> None:
        weights, tokens, sums, row_distance, length, all_tokens, num_vectors, bytes_ahead = arguments
        rows = [weights, code.offset(weights, code.mul(row_distance, length))]
        token_rows = [code.offset(tokens, code.mul(length, token)) for token in range(num_tokens)]

        def accumulate(index: ir.Value, totals: list[ir.Value]) -> list[ir.Value]:
            start = code.mul(index, code.vector_bytes)
            token_vectors = [code.load_vector(token, start) for token in token_rows]
            updated: list[ir.Value] = []
            for row in rows:
                unsigned = code.add_128(code.load_vector(row, start))
                if num_tokens > 1:  # With one token the hardware prefetcher keeps up.
                    code.prefetch(code.offset(row, code.builder.add(start, bytes_ahead)))
                updated += [
                    code.dot_product_add(totals[len(updated) + i], unsigned, token_vectors[i])
                    for i in range(num_tokens)
                ]
            return updated

        totals = code.loop(num_vectors, 2 * num_tokens, accumulate)
        for i, total in enumerate(totals):
            row_start = code.mul(all_tokens, i // num_tokens)
            index = code.mul(code.builder.add(row_start, code.integer(i % num_tokens)), ROWS_IN_BLOCK)
            code.add_to_int32(code.offset(sums, code.mul(index, 4)), code.sum_lanes(total))

    def multiply(
        typing_context: Any,
        weights: Any,
        tokens: Any,
        sums: Any,
        row_distance: Any,
        length: Any,
        all_tokens: Any,
        num_vectors: Any,
        bytes_ahead: Any,
    ) -> Any:
        return types.none(*(types.voidptr,) * 3, *(types.intp,) * 5), _code_generator(write)

    return intrinsic(multiply)


def multiply_key_blocks(num_blocks: Callable[[], int]) -> Any:
    """Return an intrinsic that multiplies a query with `num_blocks()` blocks of keys, and overwrites `sums`.

    Arguments:

    - keys, query, sums: the addresses of uint8 (num_blocks, num_quads, KEYS_IN_BLOCK, 4), of int8 (num_quads, 4), and
      of int32 (num_blocks, KEYS_IN_BLOCK)
    - prefetched: the address of the bytes to prefetch, as many as the keys have
    - num_quads
    """

    def write(code: "_IrWriter", arguments: Sequence[ir.Value]) -> None:
        keys, query, sums, prefetched, num_quads = arguments
        quads_bytes, count = 4 * KEYS_IN_BLOCK, num_blocks()  # bytes of one quad of each key in a block
        starts = [
            code.offset(keys, code.builder.add(code.mul(num_quads, quads_bytes * block), code.integer(part)))
            for block in range(count)
            for part in range(0, quads_bytes, code.vector_bytes)
        ]

        def accumulate(index: ir.Value, totals: list[ir.Value]) -> list[ir.Value]:
            quad = code.broadcast_int32(query, code.mul(index, 4))
            start = code.mul(index, quads_bytes)
            code.prefetch(code.offset(prefetched, code.mul(index, quads_bytes * count)), quads_bytes * count)
            return [
                code.dot_product_add(totals[i], code.load_vector(keys_start, start), quad)
                for i, keys_start in enumerate(starts)
            ]

        code.store_vectors(code.loop(num_quads, len(starts), accumulate), sums)

    def multiply(typing_context: Any, keys: Any, query: Any, sums: Any, prefetched: Any, num_quads: Any) -> Any:
        return types.none(*(types.voidptr,) * 4, types.intp), _code_generator(write)

    return intrinsic(multiply)


def add_weighted_values(num_vectors: int) -> Any:
    """Return an intrinsic that sums values weighted by 16-bit attention weights, and overwrites the sums.

    It does `num_vectors` vectors of dimensions, one dimension per int32 lane. VPDPBUSD takes bytes, so the high and the
    low bytes of the weights give separate sums. Arguments:

    - values: the address of int8 (num_quads, head_dim, 4), at the first of those dimensions
    - high, low: the addresses of the weights' high and low bytes, uint8 (num_quads, 4) each
    - high_sums, low_sums: the addresses of the sums, int32, one per dimension
    - prefetched: the address of the bytes to prefetch, as many as the values have
    - num_quads, head_dim
    """

    def write(code: "_IrWriter", arguments: Sequence[ir.Value]) -> None:
        values, high, low, high_sums, low_sums, prefetched, num_quads, head_dim = arguments
        quads_bytes = code.mul(head_dim, 4)

        def accumulate(index: ir.Value, totals: list[ir.Value]) -> list[ir.Value]:
            start = code.mul(index, quads_bytes)
            quads = code.offset(values, start)
            code.prefetch(code.offset(prefetched, start), num_vectors * code.vector_bytes)
            loaded = [code.load_vector(quads, code.integer(i * code.vector_bytes)) for i in range(num_vectors)]
            updated: list[ir.Value] = []
            for weights in (high, low):
                weight = code.broadcast_int32(weights, code.mul(index, 4))
                updated += [
                    code.dot_product_add(totals[len(updated) + i], weight, loaded[i]) for i in range(num_vectors)
                ]
            return updated

        totals = code.loop(num_quads, 2 * num_vectors, accumulate)
        code.store_vectors(totals[:num_vectors], high_sums)
        code.store_vectors(totals[num_vectors:], low_sums)

    def add(
        typing_context: Any,
        values: Any,
        high: Any,
        low: Any,
        high_sums: Any,
        low_sums: Any,
        prefetched: Any,
        num_quads: Any,
        head_dim: Any,
    ) -> Any:
        return types.none(*(types.voidptr,) * 6, *(types.intp,) * 2), _code_generator(write)

    return intrinsic(add)


def multiply_queries(num_queries: int) -> Any:
    """Return an intrinsic that multiplies `num_queries` queries with `key_blocks_per_pass()` blocks of keys.

    It overwrites `sums`. Arguments:

    - keys, queries, sums: the addresses of uint8 (num_blocks, num_quads, KEYS_IN_BLOCK, 4), of int8 (num_queries,
      num_quads, 4), and of the first of the int32 (num_queries, num_blocks, KEYS_IN_BLOCK)
    - num_quads
    - sums_distance: the bytes from one query's sums to those of the next
    """

    def write(code: "_IrWriter", arguments: Sequence[ir.Value]) -> None:
        keys, queries, sums, num_quads, sums_distance = arguments
        quads_bytes = 4 * KEYS_IN_BLOCK
        key_starts = [
            code.offset(keys, code.builder.add(code.mul(num_quads, quads_bytes * block), code.integer(part)))
            for block in range(key_blocks_per_pass())
            for part in range(0, quads_bytes, code.vector_bytes)
        ]
        rows = [code.offset(queries, code.mul(num_quads, 4 * query)) for query in range(num_queries)]

        def load_keys(index: ir.Value) -> list[ir.Value]:
            return [code.load_vector(key_start, code.mul(index, quads_bytes)) for key_start in key_starts]

        totals = code.multiply_tile(num_quads, rows, len(key_starts), load_keys, is_row_signed=True)
        code.store_tile(totals, num_queries, sums, sums_distance)

    def multiply(typing_context: Any, keys: Any, queries: Any, sums: Any, num_quads: Any, sums_distance: Any) -> Any:
        return types.none(*(types.voidptr,) * 3, *(types.intp,) * 2), _code_generator(write)

    return intrinsic(multiply)


def sum_values(num_rows: int, num_vectors: Callable[[], int]) -> Any:
    """Return an intrinsic that sums values weighted by 8-bit weights, for `num_rows` rows of weights.

    It does `num_vectors()` vectors of dimensions, one dimension per int32 lane, and overwrites their sums. Arguments:

    - values: the address of int8 (num_quads, head_dim, 4), at the first of those dimensions
    - weights: the address of uint8 (num_rows, ...), four for each quad
    - sums: the address of int32 (num_rows, head_dim), at the first of those dimensions
    - num_quads, head_dim
    - weights_distance: the bytes from one row of weights to the next
    """

    def write(code: "_IrWriter", arguments: Sequence[ir.Value]) -> None:
        values, weights, sums, num_quads, head_dim, weights_distance = arguments
        rows = [code.offset(weights, code.mul(weights_distance, row)) for row in range(num_rows)]
        parts = range(0, num_vectors() * code.vector_bytes, code.vector_bytes)

        def load_values(index: ir.Value) -> list[ir.Value]:
            quads = code.offset(values, code.mul(code.mul(index, head_dim), 4))
            return [code.load_vector(quads, code.integer(part)) for part in parts]

        totals = code.multiply_tile(num_quads, rows, len(parts), load_values, is_row_signed=False)
        code.store_tile(totals, num_rows, sums, code.mul(head_dim, 4))

    def add(
        typing_context: Any,
        values: Any,
        weights: Any,
        sums: Any,
        num_quads: Any,
        head_dim: Any,
        weights_distance: Any,
    ) -> Any:
        return types.none(*(types.voidptr,) * 3, *(types.intp,) * 3), _code_generator(write)

    return intrinsic(add)


def _prefetch_block(code: "_IrWriter", arguments: Sequence[ir.Value]) -> None:
    code.prefetch(arguments[0], 4 * ROWS_IN_BLOCK)


@intrinsic  # type: ignore[untyped-decorator]
def prefetch_block(typing_context: Any, start: Any) -> Any:
    """Prefetch ROWS_IN_BLOCK 32-bit numbers from the address `start` on."""
    return types.none(types.voidptr), _code_generator(_prefetch_block)


@intrinsic  # type: ignore[untyped-decorator]
def address(typing_context: Any, array: Any, num_bytes: Any) -> Any:
    """Return the address of an array's first element plus `num_bytes`, even where that is outside the array."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        data = make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.gep(_as_opaque(builder, data), [arguments[1]], source_etype=_BYTE)

    return types.voidptr(array, types.intp), generate


def _as_opaque(builder: ir.IRBuilder, pointer: ir.Value) -> ir.Value:
    """Return one of numba's pointers, which may be typed, as an opaque pointer.

    A cast is not enough: llvmlite takes the two types for equal and casts nothing. So the pointer is put into a struct
    and taken out as opaque; LLVM optimizes that away.
    """
    struct = builder.insert_value(ir.Constant(ir.LiteralStructType([_POINTER]), ir.Undefined), pointer, 0)
    return builder.extract_value(struct, 0)


def _code_generator(write: Callable[["_IrWriter", Sequence[ir.Value]], None]) -> Callable[..., Any]:
    """Return the code generator of an intrinsic that returns nothing; `write` gets its arguments, pointers opaque."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        write(
            _IrWriter(builder, vector_bytes()),
            [_as_opaque(builder, value) if isinstance(value.type, ir.PointerType) else value for value in arguments],
        )
        return context.get_dummy_value()

    return generate


class _IrWriter:
    """Writes LLVM IR with opaque pointers and vectors of int32 lanes."""

    def __init__(self, builder: ir.IRBuilder, num_bytes: int) -> None:
        self.builder = builder
        self.vector_bytes = num_bytes
        self._lanes = num_bytes // 4
        self._vector = ir.VectorType(_INT32, self._lanes)
        self._zeros = ir.Constant(self._vector, None)

    def integer(self, value: int) -> ir.Value:
        return ir.Constant(_INT64, value)

    def mul(self, value: ir.Value, factor: ir.Value | int) -> ir.Value:
        return self.builder.mul(value, self.integer(factor) if isinstance(factor, int) else factor)

    def offset(self, pointer: ir.Value, num_bytes: ir.Value) -> ir.Value:
        return self.builder.gep(pointer, [num_bytes], source_etype=_BYTE)

    def load_vector(self, pointer: ir.Value, num_bytes: ir.Value) -> ir.Value:
        return self.builder.load(self.offset(pointer, num_bytes), align=1, typ=self._vector)

    def broadcast_int32(self, pointer: ir.Value, num_bytes: ir.Value) -> ir.Value:
        """Load four bytes into every lane."""
        loaded = self.builder.load(self.offset(pointer, num_bytes), align=1, typ=_INT32)
        first_lane = self.builder.insert_element(self._zeros, loaded, ir.Constant(_INT32, 0))
        return self.builder.shuffle_vector(first_lane, self._zeros, ir.Constant(self._vector, [0] * self._lanes))

    def store_vectors(self, vectors: Sequence[ir.Value], pointer: ir.Value) -> None:
        for i, vector in enumerate(vectors):
            self.builder.store(vector, self.offset(pointer, self.integer(i * self.vector_bytes)), align=1)

    def add_to_int32(self, pointer: ir.Value, value: ir.Value) -> None:
        self.builder.store(self.builder.add(self.builder.load(pointer, typ=_INT32), value), pointer)

    def dot_product_add(self, total: ir.Value, unsigned: ir.Value, signed: ir.Value) -> ir.Value:
        """Add the four products of each lane's bytes to that lane of `total`."""
        name = f"llvm.x86.avx512.vpdpbusd.{8 * self.vector_bytes}"
        return self._call(name, self._vector, total, unsigned, signed)

    def add_128(self, vector: ir.Value) -> ir.Value:
        """Turn each signed byte into an unsigned byte that is greater by 128."""
        return self.builder.xor(vector, ir.Constant(self._vector, [0x80808080] * self._lanes))

    def sum_lanes(self, vector: ir.Value) -> ir.Value:
        return self._call(f"llvm.vector.reduce.add.v{self._lanes}i32", _INT32, vector)

    def prefetch(self, pointer: ir.Value, num_bytes: int = 1) -> None:
        """Prefetch `num_bytes` for reading, into the second-level cache.

        Prefetching into the first-level cache evicts the data in use, and was slower than no prefetching.
        """
        for_reading, second_level, data = (ir.Constant(_INT32, value) for value in (0, 2, 1))
        for start in range(0, num_bytes, _CACHE_LINE):
            line = self.offset(pointer, self.integer(start))
            self._call("llvm.prefetch.p0", ir.VoidType(), line, for_reading, second_level, data)

    def multiply_tile(
        self,
        num_quads: ir.Value,
        rows: Sequence[ir.Value],
        num_vectors: int,
        load_vectors: Callable[[ir.Value], list[ir.Value]],
        *,
        is_row_signed: bool,
    ) -> list[ir.Value]:
        """Return the sums of products of each row with each vector, row by row.

        `rows` are addresses of quads. `load_vectors` writes the code that loads the `num_vectors` vectors with the
        quads of an index. One of rows and vectors is signed, the other unsigned.
        """

        def accumulate(index: ir.Value, totals: list[ir.Value]) -> list[ir.Value]:
            vectors = load_vectors(index)
            quads = [self.broadcast_int32(row, self.mul(index, 4)) for row in rows]
            pairs = [(vector, quad) if is_row_signed else (quad, vector) for quad in quads for vector in vectors]
            return [self.dot_product_add(total, *pair) for total, pair in zip(totals, pairs, strict=True)]

        return self.loop(num_quads, len(rows) * num_vectors, accumulate)

    def store_tile(self, totals: Sequence[ir.Value], num_rows: int, sums: ir.Value, distance: ir.Value) -> None:
        """Store what `multiply_tile` returns; `distance` is that from one row of sums to the next."""
        num_vectors = len(totals) // num_rows
        for row in range(num_rows):
            vectors = totals[row * num_vectors : (row + 1) * num_vectors]
            self.store_vectors(vectors, self.offset(sums, self.mul(distance, row)))

    def loop(
        self, count: ir.Value, num_totals: int, body: Callable[[ir.Value, list[ir.Value]], list[ir.Value]]
    ) -> list[ir.Value]:
        """Write a loop over the indices from 0 to `count` - 1, and return its totals, one vector each.

        `body` writes the code for one index: it takes the index and the totals so far, which begin at zero, and returns
        the updated totals.
        """
        builder = self.builder
        before = builder.block
        head, inside, done = (builder.append_basic_block(part) for part in ("head", "inside", "done"))
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(_INT64)
        index.add_incoming(self.integer(0), before)
        totals = [builder.phi(self._vector) for _ in range(num_totals)]
        for total in totals:
            total.add_incoming(self._zeros, before)
        builder.cbranch(builder.icmp_signed("<", index, count), inside, done)
        builder.position_at_end(inside)
        for total, updated in zip(totals, body(index, totals), strict=True):
            total.add_incoming(updated, inside)
        index.add_incoming(builder.add(index, self.integer(1)), inside)
        builder.branch(head)
        builder.position_at_end(done)
        return totals

    def _call(self, name: str, return_type: ir.Type, *arguments: ir.Value) -> ir.Value:
        """Call one of LLVM's intrinsics by its name."""
        module = self.builder.module
        function = module.globals.get(name)
        if function is None:
            argument_types = [_POINTER if isinstance(value.type, ir.PointerType) else value.type for value in arguments]
            function = ir.Function(module, ir.FunctionType(return_type, argument_types), name)
        return self.builder.call(function, arguments)
