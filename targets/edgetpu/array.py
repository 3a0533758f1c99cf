"""How long a systolic array takes for a matrix product, and what passes between it and its SRAM: closed forms.

An array has `rows` x `cols` PEs, each with one multiply-accumulate per cycle. Operands move one PE per cycle, to the
right and down. A product of M x K and K x N is cut into folds that fill the array; a fold begins when the one before
has left. Two of the three extents lie across the array and the third streams through it:

| dataflow | rows hold | cols hold | streams | cycles of a fold         |
|----------|-----------|-----------|---------|--------------------------|
| os       | M         | N         | K       | rows + cols + K - 2      |
| ws       | K         | N         | M       | 2 * rows + cols + M - 2  |
| is       | K         | M         | N       | 2 * rows + cols + N - 2  |

An edge fold takes as long as any other: it has idle PEs, but what it computes crosses the whole array. WS and IS spend
`rows` cycles on moving the stationary operand in, and their partial sums pass all rows. In OS a sum leaves in the cycle
of its last multiply-accumulate over a bus that its column shares, so no time is spent on moving sums out; the paper of
SCALE-Sim (Samajdar et al., ISPASS 2020) has 2 * rows for OS too.

Source: SCALE-Sim 3.0.0, whose "Total Cycles" is the number of the last cycle counted from 0, so one less for each
layer. A depthwise convolution is as many layers as it has channels, each M x K times K x 1.
"""

from dataclasses import dataclass
from typing import Literal

Dataflow = Literal["os", "ws", "is"]


@dataclass(frozen=True)
class Gemm:
    """A product of matrices of m x k and k x n, all positive.

    A convolution has m = output pixels, k = kernel height * width * input channels, n = output channels.
    """

    m: int
    k: int
    n: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.m * self.k * self.n


@dataclass(frozen=True)
class Traffic:
    """Elements that pass between SRAM and array in one product.

    Of the results, K's first fold is written and every further one is read, added to and written again; the last
    write of each is the result. OS keeps its sums in the PEs and reads none.
    """

    ifmap_reads: int
    filter_reads: int
    psum_reads: int
    psum_writes: int


def fold_cycles(dataflow: Dataflow, rows: int, cols: int, gemm: Gemm) -> int:
    """Cycles of one fold, from the first operand's entry to the last result's exit."""
    if dataflow == "os":
        return rows + cols + gemm.k - 2
    return 2 * rows + cols + (gemm.m if dataflow == "ws" else gemm.n) - 2


def folds(dataflow: Dataflow, rows: int, cols: int, gemm: Gemm) -> int:
    """How often the array is filled."""
    across_rows = gemm.m if dataflow == "os" else gemm.k
    across_cols = gemm.m if dataflow == "is" else gemm.n
    return _ceil_div(across_rows, rows) * _ceil_div(across_cols, cols)


def gemm_cycles(dataflow: Dataflow, rows: int, cols: int, gemm: Gemm) -> int:
    """Cycles of the whole product, with operands always at hand."""
    return folds(dataflow, rows, cols, gemm) * fold_cycles(dataflow, rows, cols, gemm)


def utilization(dataflow: Dataflow, rows: int, cols: int, gemm: Gemm) -> float:
    """The part of the array's multiply-accumulates that are the product's, in 0..1."""
    return gemm.macs / (gemm_cycles(dataflow, rows, cols, gemm) * rows * cols)


def traffic(dataflow: Dataflow, rows: int, cols: int, gemm: Gemm) -> Traffic:
    """What the product reads and writes. Idle PEs of edge folds read and write nothing.

    Reads and the writes of WS and IS are as SCALE-Sim 3.0.0 counts them; it counts no reads of partial sums.
    """
    m, k, n = gemm.m, gemm.k, gemm.n
    if dataflow == "os":
        return Traffic(m * k * _ceil_div(n, cols), k * n * _ceil_div(m, rows), 0, m * n)
    passes = _ceil_div(k, rows)
    sums_read, sums_written = m * n * (passes - 1), m * n * passes
    if dataflow == "ws":
        return Traffic(m * k * _ceil_div(n, cols), k * n, sums_read, sums_written)
    return Traffic(m * k, k * n * _ceil_div(m, cols), sums_read, sums_written)


def _ceil_div(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
