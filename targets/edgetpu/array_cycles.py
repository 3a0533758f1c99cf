"""How long the array takes for tiles.

A tile is a product of m x k and k x n with its operands at hand, or m positions of n depthwise channels with k taps
each. All functions take arrays of tiles and work element by element.
"""

import numpy as np
import numpy.typing as npt

from mnv3c.targets.edgetpu.device import SystolicArray

Counts = npt.NDArray[np.int64]


def ceil_div(dividend: Counts, divisor: Counts | int) -> Counts:
    """Quotients rounded up."""
    return -(-dividend // divisor)


def product_cycles(array: SystolicArray, m: Counts, k: Counts, n: Counts) -> Counts:
    """Cycles of an m x k by k x n product: the closed forms of `array.gemm_cycles`."""
    rows, cols = array.rows, array.cols
    if array.dataflow == "os":
        return ceil_div(m, rows) * ceil_div(n, cols) * (k + (rows + cols - 2))
    if array.dataflow == "ws":
        return ceil_div(k, rows) * ceil_div(n, cols) * (m + (2 * rows + cols - 2))
    return ceil_div(k, rows) * ceil_div(m, cols) * (n + (2 * rows + cols - 2))


def product_operand_bytes(array: SystolicArray, m: Counts, k: Counts, n: Counts) -> Counts:
    """Bytes of int8 operands that the SRAM hands to the array in such a product: the reads of `array.traffic`."""
    if array.dataflow == "os":
        return m * k * ceil_div(n, array.cols) + k * n * ceil_div(m, array.rows)
    if array.dataflow == "ws":
        return m * k * ceil_div(n, array.cols) + k * n
    return m * k + k * n * ceil_div(m, array.cols)


def depthwise_cycles(array: SystolicArray, m: Counts, taps: Counts, channels: Counts) -> Counts:
    """Cycles of the array for depthwise channels, by the device's mapping; 0 where the vector unit does them.

    diagonal_ws: each channel's taps lie in a column of their own and in rows of their own, so a fold holds
    min(rows // taps, cols) channels and takes as long as any weight-stationary fold; a filter of more taps than rows
    takes ceil(taps / rows) folds for a single channel.
    """
    if array.depthwise == "per_channel":
        return channels * product_cycles(array, m, taps, np.ones_like(m))
    if array.depthwise == "diagonal_ws":
        side_by_side = np.clip(array.rows // taps, 1, array.cols)
        return ceil_div(channels, side_by_side) * ceil_div(taps, array.rows) * (m + (2 * array.rows + array.cols - 2))
    if array.depthwise_macs_per_cycle is not None:
        return ceil_div(m * taps * channels, array.depthwise_macs_per_cycle)
    return np.zeros_like(m * taps * channels)


def channel_grain(array: SystolicArray) -> int:
    """Output channels that the array works on side by side: tiles are cut in multiples of it."""
    return array.cols
