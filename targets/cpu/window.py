"""Sliding windows: which input position each tap of each output position reads, and tiles that need no checks.

Along a row of outputs most tiles read only real inputs; those become one loop without any test. The few tiles at the
edges are printed one by one, and their taps that fall into the padding are left out when the kernel is built. Along the
height a tap's row is tested once per tile, outside the inner work.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mnv3c.graph.ops import Conv2d, Pool2d
from mnv3c.graph.tensor import TensorType
from mnv3c.targets.cpu.builder import Expr, KernelBuilder

# Taps along the width are printed one by one; a wider window would take minutes to compile.
MAX_PRINTED_TAPS = 64


@dataclass(frozen=True)
class Axis:
    """One spatial axis: output position i = 0 .. count - 1, tap j = 0 .. taps - 1.

    The tap reads input `step * i + first + tap_step * j` of `size`, with the kernel's tap `weight_first + weight_step *
    j`, for the output at `out_first + out_step * i`. A convolution has step = stride, first = -padding, tap_step =
    dilation; a transposed one is `stride` axes, one per phase, with step 1 and tap_step -1.
    """

    size: int
    count: int
    step: int
    first: int
    taps: int
    tap_step: int = 1
    weight_first: int = 0
    weight_step: int = 1
    out_first: int = 0
    out_step: int = 1

    def input(self, i: Expr, j: Expr) -> Expr:
        """Input position of tap j for output position i; it may lie in the padding."""
        return i * self.step + (self.first + self.tap_step * j)

    def output(self, i: Expr) -> Expr:
        """Position in the output tensor."""
        return i * self.out_step + self.out_first

    def weight(self, j: int) -> int:
        """The kernel's tap."""
        return self.weight_first + self.weight_step * j

    def inside(self, i: int, j: int) -> bool:
        """Whether a tap reads a real input."""
        return 0 <= int(self.input(i, j)) < self.size

    def interior(self, start: int, width: int) -> bool:
        """Whether all taps of the outputs start .. start + width - 1 read real inputs."""
        ends = (start, start + width - 1)
        return all(self.inside(i, j) for i in ends for j in (0, self.taps - 1)) if self.taps else True


def convolution_axis(size: int, count: int, taps: int, stride: int, padding: int, dilation: int = 1) -> Axis:
    """The axis of a convolution or a pool."""
    return Axis(size, count, stride, -padding, taps, dilation)


def convolution_axes(x: TensorType, out: TensorType, op: Conv2d | Pool2d) -> tuple[Axis, Axis]:
    """The vertical and the horizontal axis of a convolution or a pool from `x` to `out`."""
    dilation = op.dilation if isinstance(op, Conv2d) else (1, 1)
    vertical, horizontal = (
        convolution_axis(*extents)
        for extents in zip(x.spatial, out.spatial, op.kernel, op.stride, op.padding[:2], dilation, strict=True)
    )
    return vertical, horizontal


def transposed_axes(size: int, count: int, taps: int, stride: int, padding: int) -> tuple[Axis, ...]:
    """The phases of a transposed convolution: outputs o with (o + padding) mod stride = phase.

    Output o = input * stride + tap - padding, so within a phase tap = phase + stride * j reads input q - j, where
    q = (o + padding) div stride.
    """
    axes = []
    for phase in range(min(stride, count)):
        phase_of_first = (phase + padding) % stride
        axes.append(
            Axis(
                size=size,
                count=len(range(phase, count, stride)),
                step=1,
                first=(phase + padding) // stride,
                taps=len(range(phase_of_first, taps, stride)),
                tap_step=-1,
                weight_first=phase_of_first,
                weight_step=stride,
                out_first=phase,
                out_step=stride,
            )
        )
    return tuple(axes)


@dataclass(frozen=True)
class ColumnTile:
    """`width` outputs from `start`. Where `valid` is None every tap is real, else (column, tap) says which are."""

    start: Expr
    width: int
    valid: frozenset[tuple[int, int]] | None

    def reads(self, column: int, tap: int) -> bool:
        """Whether the tap of the tile's column reads a real input."""
        return self.valid is None or (column, tap) in self.valid


def for_column_tiles(k: KernelBuilder, axis: Axis, width: int, body: Callable[[ColumnTile], None]) -> None:
    """Print `body` for tiles of `width` outputs that cover the axis; the last one moves back to stay inside."""
    width = min(width, axis.count)
    whole, rest = divmod(axis.count, width)
    inner = [t for t in range(whole) if axis.interior(t * width, width)]
    for t in range(whole):
        if t not in inner:
            body(_edge_tile(axis, t * width, width))
        elif t == inner[0]:
            _inner_tiles(k, inner, width, body)
    if rest:
        start = axis.count - width
        body(ColumnTile(start, width, None) if axis.interior(start, width) else _edge_tile(axis, start, width))


def _inner_tiles(k: KernelBuilder, inner: list[int], width: int, body: Callable[[ColumnTile], None]) -> None:
    if len(inner) == 1:
        body(ColumnTile(inner[0] * width, width, None))
        return
    with k.serial(len(inner)) as t:
        body(ColumnTile((t + inner[0]) * width, width, None))


def _edge_tile(axis: Axis, start: int, width: int) -> ColumnTile:
    valid = frozenset((c, j) for c in range(width) for j in range(axis.taps) if axis.inside(start + c, j))
    return ColumnTile(start, width, valid)


def for_rows_inside(k: KernelBuilder, axis: Axis, i: Expr, body: Callable[[Expr, Expr], None]) -> None:
    """Print a loop over the taps of output row i: `body(tap, input row)` runs where the row is real."""
    with k.serial(axis.taps) as j:
        row = axis.input(i, j)
        if axis.interior(0, axis.count):
            body(j, row)
            return
        with k.when(k.both(row >= 0, row < axis.size)):
            body(j, row)


def tile_width(count: int, most: int) -> int:
    """A width of at most `most`: the one that needs the fewest tiles, and of those the narrowest."""
    tiles = -(-count // min(count, most))
    return -(-count // tiles)


def row_tiles(count: int, registers: int) -> tuple[int, ...]:
    """Widths of tiles along a row of `count` outputs, best guess first.

    A row that fits into half the registers is one tile. Longer rows do best with a quarter: from a third on LLVM keeps
    some accumulators or addresses on the stack (measured on AVX-512: 3x3 at 112x112 47 us with 8 columns, 68 with 16).
    """
    half, quarter = (tile_width(count, max(1, registers // share)) for share in (2, 4))
    widths = (half, quarter) if count <= registers // 2 else (quarter, half)
    return tuple(dict.fromkeys(widths))
