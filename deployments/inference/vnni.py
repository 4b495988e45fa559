"""Kernels' inner loops around VPDPBUSD, written in LLVM IR.

VPDPBUSD multiplies unsigned with signed bytes and adds each four products to an int32 lane. The intrinsics here are
called by compiled kernels, return nothing, and need a CPU with AVX-512 VNNI or AVX-VNNI. Addresses count in bytes.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload
from numba.np.arrayobj import make_array

from deployments.inference.cpu import local_vnni_vector_bytes

ROWS_IN_BLOCK = 32
"""Pairs of weight rows whose sums are stored next to each other."""
KEYS_IN_BLOCK = 16
"""Keys that are interleaved in the KV cache, four dimensions of each at a time."""
_CACHE_LINE = 64

_BYTE, _INT32, _INT64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_POINTER = ir.PointerType()


def vector_bytes() -> int:
    """Return the bytes of a vector register, for Python and for kernels, where it is a constant."""
    return local_vnni_vector_bytes()


def num_lanes() -> int:
    """Return the int32 lanes of a vector register, for Python and for kernels."""
    return vector_bytes() // 4


def key_blocks_per_pass() -> int:
    """Return how many blocks `multiply_key_blocks` takes: enough independent sums to hide VPDPBUSD's latency."""
    return num_lanes() // 4


def _constant_in_kernels(function: Callable[[], int]) -> None:
    """Let kernels call a function that depends on the CPU; it is called while they are compiled."""

    def implement() -> Callable[[], int]:
        value = function()
        return lambda: value

    overload(function, inline="always")(implement)


for _function in (vector_bytes, num_lanes, key_blocks_per_pass):
    _constant_in_kernels(_function)


def multiply_rows(num_tokens: int) -> Any:
    """Return an intrinsic that multiplies two weight rows, plus 128 each, with `num_tokens` tokens.

    It adds to sums, int32 of shape (2, all_tokens, ROWS_IN_BLOCK). Arguments: the addresses of the first row, the first
    token and its first sum; by how many rows the second row lies behind the first; the bytes of a row, and of a token;
    the number of all tokens; the vectors to multiply; how many bytes ahead weights are prefetched.
    """

    def write(code: "_IrWriter", arguments: Sequence[Any]) -> None:
        weights, tokens, sums, row_distance, length, all_tokens, num_vectors, bytes_ahead = arguments
        rows = [weights, code.offset(weights, code.mul(row_distance, length))]
        token_rows = [code.offset(tokens, code.mul(length, token)) for token in range(num_tokens)]

        def accumulate(index: Any, totals: list[Any]) -> list[Any]:
            start = code.mul(index, code.vector_bytes)
            token_vectors = [code.load_vector(token, start) for token in token_rows]
            updated: list[Any] = []
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
        return types.none(*(types.voidptr,) * 3, *(types.intp,) * 5), _generator(write)

    return intrinsic(multiply)


def multiply_key_blocks(num_blocks: Callable[[], int]) -> Any:
    """Return an intrinsic that multiplies a query with `num_blocks()` blocks of keys.

    Arguments: the addresses of the keys, uint8 (blocks, num_fours, KEYS_IN_BLOCK, 4), of the query, int8 (num_fours,
    4), of the sums, int32 (blocks, KEYS_IN_BLOCK), and of what to prefetch, as many bytes as the keys; num_fours.
    """

    def write(code: "_IrWriter", arguments: Sequence[Any]) -> None:
        keys, query, sums, prefetched, num_fours = arguments
        block_bytes, count = 4 * KEYS_IN_BLOCK, num_blocks()  # of one four of dimensions
        starts = [
            code.offset(keys, code.builder.add(code.mul(num_fours, block_bytes * block), code.integer(part)))
            for block in range(count)
            for part in range(0, block_bytes, code.vector_bytes)
        ]

        def accumulate(index: Any, totals: list[Any]) -> list[Any]:
            four = code.broadcast_int32(query, code.mul(index, 4))
            start = code.mul(index, block_bytes)
            code.prefetch(code.offset(prefetched, code.mul(index, block_bytes * count)), block_bytes * count)
            return [
                code.dot_product_add(totals[i], code.load_vector(keys_start, start), four)
                for i, keys_start in enumerate(starts)
            ]

        code.store_vectors(code.loop(num_fours, len(starts), accumulate), sums)

    def multiply(typing_context: Any, keys: Any, query: Any, sums: Any, prefetched: Any, num_fours: Any) -> Any:
        return types.none(*(types.voidptr,) * 4, types.intp), _generator(write)

    return intrinsic(multiply)


def add_weighted_values(num_vectors: int) -> Any:
    """Return an intrinsic that sums values times 16-bit attention weights, for `num_vectors` vectors of dimensions.

    Arguments: the addresses of the values, int8 (num_fours, head_dim, 4 positions), of the weights' high bytes and low
    bytes, uint8 (num_fours, 4), of the sums by each of them, int32, and of what to prefetch, as many bytes as the
    values; num_fours; head_dim.
    """

    def write(code: "_IrWriter", arguments: Sequence[Any]) -> None:
        values, high, low, high_sums, low_sums, prefetched, num_fours, head_dim = arguments
        four_bytes = code.mul(head_dim, 4)

        def accumulate(index: Any, totals: list[Any]) -> list[Any]:
            start = code.mul(index, four_bytes)
            four = code.offset(values, start)
            code.prefetch(code.offset(prefetched, start), num_vectors * code.vector_bytes)
            loaded = [code.load_vector(four, code.integer(i * code.vector_bytes)) for i in range(num_vectors)]
            updated: list[Any] = []
            for weights in (high, low):
                weight = code.broadcast_int32(weights, code.mul(index, 4))
                updated += [
                    code.dot_product_add(totals[len(updated) + i], weight, loaded[i]) for i in range(num_vectors)
                ]
            return updated

        totals = code.loop(num_fours, 2 * num_vectors, accumulate)
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
        num_fours: Any,
        head_dim: Any,
    ) -> Any:
        return types.none(*(types.voidptr,) * 6, *(types.intp,) * 2), _generator(write)

    return intrinsic(add)


def _prefetch_block(code: "_IrWriter", arguments: Sequence[Any]) -> None:
    code.prefetch(arguments[0], 4 * ROWS_IN_BLOCK)


@intrinsic  # type: ignore[untyped-decorator]
def prefetch_block(typing_context: Any, start: Any) -> Any:
    """Prefetch the ROWS_IN_BLOCK numbers of 32 bits that begin at an address."""
    return types.none(types.voidptr), _generator(_prefetch_block)


@intrinsic  # type: ignore[untyped-decorator]
def address(typing_context: Any, array: Any, num_bytes: Any) -> Any:
    """Return the address `num_bytes` behind an array's first element, inside the array or not."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.gep(_as_opaque(builder, data), [arguments[1]], source_etype=_BYTE)

    return types.voidptr(array, types.intp), generate


def _as_opaque(builder: Any, pointer: Any) -> Any:
    """Return a pointer of numba's, which may still be typed, as an opaque one.

    It goes through a struct, which LLVM optimizes away: llvmlite's casts do nothing, as both types are equal to them.
    """
    struct = builder.insert_value(ir.Constant(ir.LiteralStructType([_POINTER]), ir.Undefined), pointer, 0)
    return builder.extract_value(struct, 0)


def _generator(write: Callable[["_IrWriter", Sequence[Any]], None]) -> Callable[..., Any]:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        write(
            _IrWriter(builder, vector_bytes()),
            [_as_opaque(builder, value) if isinstance(value.type, ir.PointerType) else value for value in arguments],
        )
        return context.get_dummy_value()

    return generate


class _IrWriter:
    """Writes LLVM IR with opaque pointers and vectors of int32 lanes."""

    def __init__(self, builder: Any, num_bytes: int) -> None:
        self.builder = builder
        self.vector_bytes = num_bytes
        self._lanes = num_bytes // 4
        self._vector = ir.VectorType(_INT32, self._lanes)
        self._zeros = ir.Constant(self._vector, None)

    def integer(self, value: int) -> Any:
        return ir.Constant(_INT64, value)

    def mul(self, value: Any, factor: Any) -> Any:
        return self.builder.mul(value, self.integer(factor) if isinstance(factor, int) else factor)

    def offset(self, pointer: Any, num_bytes: Any) -> Any:
        return self.builder.gep(pointer, [num_bytes], source_etype=_BYTE)

    def load_vector(self, pointer: Any, num_bytes: Any) -> Any:
        return self.builder.load(self.offset(pointer, num_bytes), align=1, typ=self._vector)

    def broadcast_int32(self, pointer: Any, num_bytes: Any) -> Any:
        """Load four bytes into every lane."""
        loaded = self.builder.load(self.offset(pointer, num_bytes), align=1, typ=_INT32)
        first_lane = self.builder.insert_element(self._zeros, loaded, ir.Constant(_INT32, 0))
        return self.builder.shuffle_vector(first_lane, self._zeros, ir.Constant(self._vector, [0] * self._lanes))

    def store_vectors(self, vectors: Sequence[Any], pointer: Any) -> None:
        for i, vector in enumerate(vectors):
            self.builder.store(vector, self.offset(pointer, self.integer(i * self.vector_bytes)), align=1)

    def add_to_int32(self, pointer: Any, value: Any) -> None:
        self.builder.store(self.builder.add(self.builder.load(pointer, typ=_INT32), value), pointer)

    def dot_product_add(self, total: Any, unsigned: Any, signed: Any) -> Any:
        """Add the four products of each lane's bytes to that lane of `total`."""
        name = f"llvm.x86.avx512.vpdpbusd.{8 * self.vector_bytes}"
        return self._call(name, self._vector, total, unsigned, signed)

    def add_128(self, vector: Any) -> Any:
        """Turn signed bytes into unsigned bytes that are 128 greater."""
        return self.builder.xor(vector, ir.Constant(self._vector, [0x80808080] * self._lanes))

    def sum_lanes(self, vector: Any) -> Any:
        return self._call(f"llvm.vector.reduce.add.v{self._lanes}i32", _INT32, vector)

    def prefetch(self, pointer: Any, num_bytes: int = 1) -> None:
        """Prefetch the cache lines of so many bytes for reading, into the second-level cache.

        Prefetching into the first level evicts the data in use, and was slower than no prefetching.
        """
        for_reading, second_level, data = (ir.Constant(_INT32, value) for value in (0, 2, 1))
        for start in range(0, num_bytes, _CACHE_LINE):
            line = self.offset(pointer, self.integer(start))
            self._call("llvm.prefetch.p0", ir.VoidType(), line, for_reading, second_level, data)

    def loop(self, count: Any, num_totals: int, body: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
        """Write a loop over indices below `count` and return its totals.

        `body` takes an index and the totals so far, which begin at zero, and returns the updated totals.
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

    def _call(self, name: str, returned: Any, *arguments: Any) -> Any:
        """Call one of LLVM's intrinsics by its name."""
        module = self.builder.module
        function = module.globals.get(name)
        if function is None:
            kinds = [_POINTER if isinstance(value.type, ir.PointerType) else value.type for value in arguments]
            function = ir.Function(module, ir.FunctionType(returned, kinds), name)
        return self.builder.call(function, arguments)
