"""The tilings that are tried for a layer.

The set depends on the layer's shape and the array's grain alone. A budget only takes away from it, so more SRAM never
loses a tiling.
"""

from mnv3c.targets.edgetpu.layer_view import LayerView
from mnv3c.targets.edgetpu.plan import Tiling

# rows, columns, channels, depth, and 1 where rows are the outer loop: `Tiling` as numbers.
TileRow = tuple[int, int, int, int, int]


def halvings(extent: int, grain: int = 1) -> list[int]:
    """The extent, its half, its quarter, ... rounded up to multiples of the grain, each once, down to one grain."""
    found, parts = [extent], 2
    while found[-1] > grain:
        size = -(-extent // (parts * grain)) * grain
        if size < found[-1]:
            found.append(size)
        parts *= 2
    return found


def thinned(sizes: list[int]) -> list[int]:
    """The first three and the last size, and every other one of those between.

    Small tiles of channels need no fine choice: on the shipped devices it is worth less than 0.2 % of V3-Large.
    """
    return [*sizes[:3], *sizes[4:-1:2], sizes[-1]] if len(sizes) > 4 else sizes


def divisors(extent: int) -> list[int]:
    """The extent and divisors of it, each the largest up to half of the one before, down to one."""
    found = [extent]
    while found[-1] > 1:
        size = found[-1] // 2
        while extent % size:
            size -= 1
        found.append(size)
    return found


def candidates(view: LayerView, grain: int) -> list[TileRow]:
    """Tilings from the coarsest to the finest.

    1. Halves, quarters, ... of rows by halves, quarters, sixteenths, ... of channels (in multiples of the grain), in
       both loop orders where they differ.
    2. What fits into little SRAM: one row or a part of it, one grain of channels or one channel, and the input channels
       in equal parts. A concatenation and a softmax are never cut in their channels.
    """
    channels, depth, columns = view.channels, view.depth, view.columns
    uncut = view.job.op.kind in ("concat", "softmax")
    sizes = [channels] if uncut else thinned(halvings(channels, min(grain, channels)))
    product = view.job.kind == "product"
    found: list[TileRow] = []
    for rows in halvings(view.rows):
        for size in sizes:
            found.append((rows, columns, size, depth or size, 0))
            if product and rows < view.rows and size < channels:
                found.append((rows, columns, size, depth or size, 1))
    smallest = sizes if uncut else sorted({sizes[-1], 1}, reverse=True)
    widths, parts = halvings(columns), divisors(depth)[1:] if depth else []
    shapes = dict.fromkeys(((view.rows, columns), (1, columns), (1, 1)))
    for size in smallest:
        found += [(1, width, size, depth or size, 0) for width in widths if (width, size) != (columns, sizes[-1])]
        found += [(rows, width, size, part, 0) for part in parts for rows, width in shapes]
    return found


def tiling_of(row: TileRow) -> Tiling:
    """The tiling that these numbers are."""
    rows, columns, channels, depth, order = row
    return Tiling(rows, columns, channels, depth, "rows_outer" if order else "weights_outer")
