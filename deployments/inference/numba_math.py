"""Arithmetic that is inlined into several kernels: exp, the maximum of a row, the quantization of a row."""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

FASTMATH = {"reassoc", "contract", "arcp", "nsz"}
"""Sums may be reordered, so that LLVM can vectorize them. NaN is not assumed away: NaN in gives NaN out."""

MIN_ABS_MAX = np.float32(1e-30)
"""Lower bound of a row's largest magnitude when it is quantized: a row of zeros is not divided by zero."""


@intrinsic  # type: ignore[untyped-decorator]
def _bits_to_float(typing_context: Any, bits: Any) -> Any:
    """Reinterpret an int32 as fp32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic  # type: ignore[untyped-decorator]
def _float_to_bits(typing_context: Any, number: Any) -> Any:
    """Reinterpret fp32 as an int32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


@numba.njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def exp(x: Any) -> Any:
    """Return e ** x with a relative error of at most 2e-7; coefficients of expf in Cephes (Moshier)."""
    x = min(max(x, np.float32(-87)), np.float32(88))
    power = np.rint(x * np.float32(1.44269504088896341))
    rest = x - power * np.float32(0.693359375) + power * np.float32(2.12194440e-4)
    y = np.float32(1.9875691500e-4)
    y = y * rest + np.float32(1.3981999507e-3)
    y = y * rest + np.float32(8.3334519073e-3)
    y = y * rest + np.float32(4.1665795894e-2)
    y = y * rest + np.float32(1.6666665459e-1)
    y = y * rest + np.float32(5.0000001201e-1)
    y = y * rest * rest + rest + np.float32(1)
    return y * _bits_to_float((np.int32(power) + np.int32(127)) << np.int32(23))


@numba.njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def row_max(x: Any) -> Any:
    """Return the maximum of fp32 numbers, or NaN if one of them is NaN.

    Compares their bits as integers, mapped to the same order: LLVM does not vectorize the comparison of floats.
    """
    maximum = np.int32(-0x80000000)
    for i in range(len(x)):
        bits = _float_to_bits(x[i])
        maximum = max(maximum, bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))
    return _bits_to_float(maximum ^ ((maximum >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@numba.njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def quantize_row(x: Any, qmax: Any, quantized: Any) -> Any:
    """Quantize an fp32 row to integers in [-qmax, qmax] and return its scale: x is about quantized * scale."""
    # Without the sign bit, floats are ordered like their bits, and NaN comes last.
    bits = np.int32(0)
    for i in range(len(x)):
        bits = max(bits, _float_to_bits(x[i]) & np.int32(0x7FFFFFFF))
    abs_max = _bits_to_float(bits)
    if abs_max < MIN_ABS_MAX:
        abs_max = MIN_ABS_MAX
    factor = qmax / abs_max
    for i in range(len(x)):
        quantized[i] = np.int8(np.rint(x[i] * factor))
    return abs_max / qmax
