"""The arithmetic of int8 layers, in loops of our own where torch has none or slow ones.

A token is one row of activations. `few_linear` and `few_feed_forward` are whole layers for a few tokens, as fast as
memory can deliver the weights. For many tokens a layer is made of `round_tokens`, a product of integer matrices, and
`scale_back` or `gelu_rounded`.
"""

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array
from numpy.typing import NDArray
from torch import Tensor

from deployments.inference.compiled import FASTMATH, build_prefetch, compiled, exp, on_torch_threads, round_row

_WIDTH = 64 if torch.cpu.get_capabilities().get("avx512_vnni") else 32
"""Bytes of a vector register."""
_LANES = _WIDTH // 4
_PREFETCHED = 8192
"""Bytes ahead."""


def round_tokens(x: Tensor, largest: int) -> tuple[Tensor, Tensor]:
    """Return int8 tokens in [-largest, largest] and their scales, shape (n,), for fp32 x of shape (n, in)."""
    rounded, scales = torch.empty(x.shape, dtype=torch.int8), torch.empty(len(x))
    _round_tokens(x.contiguous().numpy(), np.float32(largest), rounded.numpy(), scales.numpy())
    return rounded, scales


def few_linear(x: Tensor, weight: Tensor, row_sums: Tensor, row_scales: Tensor, bias: Tensor) -> Tensor:
    """Return a linear layer's outputs in fp32, shape (n, out), for fp32 x (n, in) and int8 weights (out, in).

    `row_sums` are those of the weights, in int32. Needs a CPU with VNNI. The weights are read once for each few tokens.
    """
    y = torch.empty(len(x), len(weight))
    _few_linear(*(part.numpy() for part in (x.contiguous(), weight, row_sums, row_scales, bias, y)))
    return y


def few_feed_forward(x: Tensor, first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Return `few_linear` of the GELU of `few_linear` of x, given what that takes of both layers."""
    y = torch.empty(len(x), len(second[0]))
    _few_feed_forward(*(part.numpy() for part in (x.contiguous(), *first, *second, y)))
    return y


def scale_back(sums: Tensor, token_scales: Tensor, row_scales: Tensor, bias: Tensor) -> Tensor:
    """Return sums * token_scales * row_scales + bias in fp32, for sums of shape (n, out)."""
    y = torch.empty(sums.shape)
    _scale_back(sums.numpy(), token_scales.numpy(), row_scales.numpy(), bias.numpy(), y.numpy())
    return y


def gelu_rounded(
    sums: Tensor, token_scales: Tensor, row_scales: Tensor, bias: Tensor, largest: int
) -> tuple[Tensor, Tensor]:
    """Return `round_tokens` of the tanh form of GELU of what `scale_back` returns."""
    rounded, scales = torch.empty(sums.shape, dtype=torch.int8), torch.empty(len(sums))
    arguments = (sums, token_scales, row_scales, bias)
    _gelu_rounded(*(part.numpy() for part in arguments), np.float32(largest), rounded.numpy(), scales.numpy())
    return rounded, scales


@on_torch_threads
@compiled(parallel=True)
def _round_tokens(
    x: NDArray[np.float32], largest: np.float32, rounded: NDArray[np.int8], scales: NDArray[np.float32]
) -> None:
    for token in numba.prange(len(x)):
        scales[token] = round_row(x[token], largest, rounded[token])


@numba.njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def _scale_back_token(sums: Any, scale: Any, row_scales: Any, bias: Any, y: Any) -> None:
    for row in range(len(bias)):
        y[row] = np.float32(sums[row]) * (scale * row_scales[row]) + bias[row]


@numba.njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def _gelu(y: Any) -> None:
    """Replace y by the tanh form of its GELU.

    0.5 (1 + tanh(u)) is 1 / (1 + exp(-2u)); the factors are 2 sqrt(2 / pi), and 0.044715 of that.
    """
    for row in range(len(y)):
        x = y[row]
        y[row] = x / (np.float32(1) + exp(-x * (np.float32(1.5957691216) + np.float32(0.0713548162726) * x * x)))


@on_torch_threads
@compiled(parallel=True)
def _scale_back(
    sums: NDArray[np.int32],
    token_scales: NDArray[np.float32],
    row_scales: NDArray[np.float32],
    bias: NDArray[np.float32],
    y: NDArray[np.float32],
) -> None:
    for token in numba.prange(len(sums)):
        _scale_back_token(sums[token], token_scales[token], row_scales, bias, y[token])


@on_torch_threads
@compiled(parallel=True)
def _gelu_rounded(
    sums: NDArray[np.int32],
    token_scales: NDArray[np.float32],
    row_scales: NDArray[np.float32],
    bias: NDArray[np.float32],
    largest: np.float32,
    rounded: NDArray[np.int8],
    scales: NDArray[np.float32],
) -> None:
    for token in numba.prange(len(sums)):
        y = np.empty(len(bias), np.float32)
        _scale_back_token(sums[token], token_scales[token], row_scales, bias, y)
        _gelu(y)
        scales[token] = round_row(y, largest, rounded[token])


def _products(num_tokens: int) -> Any:
    """Return an intrinsic that multiplies two rows of weights with that many tokens and stores the sums.

    Its arguments: the addresses of the first row, the first token and the first sum; how many rows farther the second
    row is; the length of rows and tokens; the sums of a token; how many vectors to multiply.
    """
    name = f"llvm.x86.avx512.vpdpbusd.{8 * _WIDTH}"
    word, index = ir.IntType(32), ir.IntType(64)
    vector = ir.VectorType(word, _LANES)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        weights, tokens, sums, distance, length, sums_of_token, num_vectors = arguments

        def external(name: str, *types: Any) -> Any:
            returned, *taken = types
            return builder.module.globals.get(name) or ir.Function(
                builder.module, ir.FunctionType(returned, taken), name
            )

        multiply_add = external(name, vector, vector, vector, vector)
        add_up = external(f"llvm.vector.reduce.add.v{_LANES}i32", word, vector)

        def load(address: Any, start: Any) -> Any:
            pointer = builder.bitcast(builder.gep(address, [start]), vector.as_pointer())
            return builder.load(pointer, align=1)

        def times(count: Any, number: int) -> Any:
            return builder.mul(count, ir.Constant(index, number))

        rows = [weights, builder.gep(weights, [builder.mul(distance, length)])]
        others = [builder.gep(tokens, [times(length, token)]) for token in range(num_tokens)]
        before = builder.block
        head, body, done = (builder.append_basic_block(part) for part in ("head", "body", "done"))
        builder.branch(head)
        builder.position_at_end(head)
        number = builder.phi(index)
        number.add_incoming(ir.Constant(index, 0), before)
        totals = [[builder.phi(vector) for _ in others] for _ in rows]
        for total in (total for of_row in totals for total in of_row):
            total.add_incoming(ir.Constant(vector, None), before)
        builder.cbranch(builder.icmp_signed("<", number, num_vectors), body, done)

        builder.position_at_end(body)
        start = times(number, _WIDTH)
        factors = [load(token, start) for token in others]
        for row, of_row in zip(rows, totals, strict=True):
            loaded = load(row, start)
            if num_tokens > 1:  # one alone leaves the processor the time to look ahead by itself
                build_prefetch(builder, builder.gep(row, [builder.add(start, ir.Constant(index, _PREFETCHED))]))
            for total, factor in zip(of_row, factors, strict=True):
                total.add_incoming(builder.call(multiply_add, [total, factor, loaded]), body)
        number.add_incoming(builder.add(number, ir.Constant(index, 1)), body)
        builder.branch(head)

        builder.position_at_end(done)
        for place, of_row in zip((ir.Constant(index, 0), distance), totals, strict=True):
            for token, total in enumerate(of_row):
                target = builder.gep(sums, [times(builder.add(times(sums_of_token, token), place), 4)])
                found = builder.call(add_up, [total])
                builder.store(found, builder.bitcast(target, word.as_pointer()))
        return context.get_dummy_value()

    def products(
        typing_context: Any,
        weights: Any,
        tokens: Any,
        sums: Any,
        distance: Any,
        length: Any,
        sums_of_token: Any,
        num_vectors: Any,
    ) -> Any:
        return types.none(*(types.voidptr,) * 3, *(types.intp,) * 4), generate

    return intrinsic(products)


@intrinsic  # type: ignore[untyped-decorator]
def _address(typing_context: Any, array: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.bitcast(data, ir.IntType(8).as_pointer())

    return types.voidptr(array), generate


_products_1, _products_2, _products_3, _products_4, _products_5 = (_products(count) for count in range(1, 6))


@compiled(parallel=True)
def _products_of_few(weight: NDArray[np.int8], x: NDArray[np.uint8], sums: NDArray[np.int32]) -> None:
    num_tokens, length = x.shape
    num_rows = len(weight)
    num_vectors = length // _WIDTH
    half = (num_rows + 1) // 2
    # Two rows at once share what is read of the tokens. They are far apart because memory delivers two streams in
    # different pages faster than two in one.
    for row in numba.prange(half):
        distance = half if row + half < num_rows else 0
        weights = _address(weight[row])
        token = 0
        while token < num_tokens:
            tokens, found = _address(x[token]), _address(sums[token, row:])
            left = num_tokens - token
            if left >= 5:
                _products_5(weights, tokens, found, distance, length, num_rows, num_vectors)
            elif left == 4:
                _products_4(weights, tokens, found, distance, length, num_rows, num_vectors)
            elif left == 3:
                _products_3(weights, tokens, found, distance, length, num_rows, num_vectors)
            elif left == 2:
                _products_2(weights, tokens, found, distance, length, num_rows, num_vectors)
            else:
                _products_1(weights, tokens, found, distance, length, num_rows, num_vectors)
            token += 5
        for i in range(num_vectors * _WIDTH, length):  # what the vectors leave over
            for r in range(row, row + distance + 1, max(distance, 1)):
                for t in range(num_tokens):
                    sums[t, r] += np.int32(weight[r, i]) * np.int32(x[t, i])


@compiled(parallel=False)
def _linear_of_few(
    x: NDArray[np.float32],
    weight: NDArray[np.int8],
    row_sums: NDArray[np.int32],
    row_scales: NDArray[np.float32],
    bias: NDArray[np.float32],
    y: NDArray[np.float32],
) -> None:
    rounded, tokens = np.empty(x.shape, np.int8), np.empty(x.shape, np.uint8)
    scales, sums = np.empty(len(x), np.float32), np.empty(y.shape, np.int32)
    for token in range(len(x)):
        scales[token] = round_row(x[token], np.float32(127), rounded[token])
        of_token, unsigned = rounded[token], tokens[token]
        # VPDPBUSD multiplies unsigned with signed bytes, so 128 is added, and 128 times the weights taken off again.
        for i in range(len(of_token)):
            unsigned[i] = np.uint8(np.int32(of_token[i]) + np.int32(128))
    _products_of_few(weight, tokens, sums)
    for token in range(len(x)):
        of_sums = sums[token]
        for row in range(len(row_sums)):
            of_sums[row] -= np.int32(128) * row_sums[row]
        _scale_back_token(sums[token], scales[token], row_scales, bias, y[token])


_few_linear = on_torch_threads(_linear_of_few)


@on_torch_threads
@compiled(parallel=False)
def _few_feed_forward(
    x: NDArray[np.float32],
    weight_1: NDArray[np.int8],
    row_sums_1: NDArray[np.int32],
    row_scales_1: NDArray[np.float32],
    bias_1: NDArray[np.float32],
    weight_2: NDArray[np.int8],
    row_sums_2: NDArray[np.int32],
    row_scales_2: NDArray[np.float32],
    bias_2: NDArray[np.float32],
    y: NDArray[np.float32],
) -> None:
    inner = np.empty((len(x), len(bias_1)), np.float32)
    _linear_of_few(x, weight_1, row_sums_1, row_scales_1, bias_1, inner)
    for token in range(len(x)):
        _gelu(inner[token])
    _linear_of_few(inner, weight_2, row_sums_2, row_scales_2, bias_2, y)
