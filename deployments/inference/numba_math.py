"""Arithmetic that is inlined into several kernels: exp, the maximum of a row, the quantization of a row."""

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

FASTMATH = {"reassoc", "contract", "arcp", "nsz"}
"""Sums may be reordered, so that LLVM can vectorize them. NaN is not assumed away: NaN in gives NaN out."""

EXACT_ORDER = {"contract", "nsz"}
"""Sums and products may be fused, but not reordered: for code that adds a large number to round a small one."""

MIN_ABS_MAX = np.float32(1e-30)
"""The scale of a row is computed from at least this magnitude, so that a row of zeros is not divided by zero."""


@intrinsic  # type: ignore[untyped-decorator]
def bits_to_float(typing_context: Any, bits: Any) -> Any:
    """Reinterpret an int32 as fp32."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic  # type: ignore[untyped-decorator]
def float_to_bits(typing_context: Any, number: Any) -> Any:
    """Reinterpret fp32 as an int32."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


@numba.njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def exp(x: Any) -> Any:
    """Return e ** x for fp32 x, limited to [-87, 88], with a relative error of at most 2e-7.

    x is power * ln 2 + rest; ln 2 is subtracted in two parts, so that rest is exact. The coefficients of e ** rest are
    those of expf in Cephes (Moshier).
    """
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
    return y * bits_to_float((np.int32(power) + np.int32(127)) << np.int32(23))


@numba.njit(fastmath=EXACT_ORDER)  # type: ignore[untyped-decorator]
def exp2(x: Any) -> Any:
    """Return 2 ** x for fp32 x of at most 127, limited to -126, with a relative error of at most 7.5e-5.

    The polynomial is the best one of degree 3 for 2 ** rest, where rest is in [-0.5, 0.5].
    """
    x = x if x > np.float32(-126) else np.float32(-126)
    # Numbers of this size have no bits after the point. The lowest ones of the sum are the rounded x.
    shifted = x + np.float32(1.5 * 2**23)
    rest = x - (shifted - np.float32(1.5 * 2**23))
    y = np.float32(0.05517145)
    y = y * rest + np.float32(0.24261061)
    y = y * rest + np.float32(0.69326097)
    y = y * rest + np.float32(0.9999281)
    return bits_to_float(float_to_bits(y) + (float_to_bits(shifted) << np.int32(23)))


@numba.njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def row_max(x: Any) -> Any:
    """Return the maximum of fp32 numbers; if one of them is NaN, that may be NaN or the maximum of the others.

    Their bits are mapped to integers in the same order, and those compared: LLVM vectorizes this, but not the maximum
    of floats.
    """
    maximum = np.int32(-0x80000000)
    for i in range(len(x)):
        bits = float_to_bits(x[i])
        maximum = max(maximum, bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))
    return bits_to_float(maximum ^ ((maximum >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@numba.njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def quantize_row(x: Any, qmax: Any, quantized: Any) -> Any:
    """Quantize an fp32 row x to int8 in [-qmax, qmax] and return its scale: x is about quantized * scale."""
    # Without the sign bit, floats have the order of their bits, and NaN is the largest.
    bits = np.int32(0)
    for i in range(len(x)):
        bits = max(bits, float_to_bits(x[i]) & np.int32(0x7FFFFFFF))
    abs_max = bits_to_float(bits)
    if abs_max < MIN_ABS_MAX:
        abs_max = MIN_ABS_MAX
    factor = qmax / abs_max
    for i in range(len(x)):
        quantized[i] = np.int8(np.rint(x[i] * factor))
    return abs_max / qmax
