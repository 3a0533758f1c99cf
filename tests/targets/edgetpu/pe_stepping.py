"""A systolic array stepped cycle by cycle, its PEs' registers and all: the oracle of the closed forms.

Nothing here knows how long a product takes. Values move between neighbouring PEs, one PE per cycle; valid bits move
with them, and the array stops once every PE column (of idle ones too) has handed out all that is due. A product is cut
into folds; each begins with an empty array, so folds are stepped side by side, along the first axis of each register.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bits = NDArray[np.bool_]


@dataclass(frozen=True)
class Stepped:
    """The product (m, n), the cycles of all folds, and the elements that passed the array's edge."""

    product: Ints
    cycles: int
    ifmap_reads: int
    filter_reads: int
    psum_reads: int
    psum_writes: int


def step(dataflow: str, rows: int, cols: int, ifmap: Ints, weights: Ints) -> Stepped:
    """Multiply (m, k) by (k, n) on an array of rows x cols."""
    if dataflow == "os":
        return _output_stationary(rows, cols, ifmap, weights)
    if dataflow == "ws":
        product, cycles, streamed, loaded, read, written = _operand_stationary(rows, cols, ifmap, weights)
        return Stepped(product, cycles, streamed, loaded, read, written)
    # The same array with the operands' roles exchanged: the image stays and the filters stream.
    product, cycles, streamed, loaded, read, written = _operand_stationary(rows, cols, weights.T, ifmap.T)
    return Stepped(product.T, cycles, loaded, streamed, read, written)


def _tiles(extent: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, extent)) for start in range(0, extent, size)]


def _output_stationary(rows: int, cols: int, ifmap: Ints, weights: Ints) -> Stepped:
    folds = [(m, n) for n in _tiles(weights.shape[1], cols) for m in _tiles(ifmap.shape[0], rows)]
    depth = ifmap.shape[1]
    left = np.zeros((len(folds), rows, depth), np.int64)
    top = np.zeros((len(folds), depth, cols), np.int64)
    used_rows, used_cols = np.zeros((len(folds), rows), np.bool_), np.zeros((len(folds), cols), np.bool_)
    for fold, (m, n) in enumerate(folds):
        left[fold, : m.stop - m.start] = ifmap[m]
        top[fold, :, : n.stop - n.start] = weights[:, n]
        used_rows[fold, : m.stop - m.start] = True
        used_cols[fold, : n.stop - n.start] = True

    image, image_valid = np.zeros((len(folds), rows, cols), np.int64), np.zeros((rows, cols), np.bool_)
    filters, filters_valid = image.copy(), image_valid.copy()
    sums, done = image.copy(), np.zeros((rows, cols), np.int64)
    handed_out = np.zeros((rows, cols), np.bool_)
    results = np.zeros_like(sums)
    image_reads = filter_reads = cycle = 0
    while not handed_out.all():
        _shift_right(image, image_valid)
        _shift_down(filters, filters_valid)
        # Row r and column c are fed r and c cycles late, so that partners meet.
        for row in range(rows):
            if image_valid_here := 0 <= cycle - row < depth:
                image[:, row, 0] = left[:, row, cycle - row]
                image_reads += int(used_rows[:, row].sum())
            image_valid[row, 0] = image_valid_here
        for col in range(cols):
            if filters_valid_here := 0 <= cycle - col < depth:
                filters[:, 0, col] = top[:, cycle - col, col]
                filter_reads += int(used_cols[:, col].sum())
            filters_valid[0, col] = filters_valid_here
        assert (image_valid == filters_valid).all(), "operands miss each other"
        sums += np.where(image_valid, image * filters, 0)
        done += image_valid
        finished = (done == depth) & ~handed_out
        assert finished.sum(axis=0).max() <= 1, "two PEs drive the bus of their column at once"
        results = np.where(finished, sums, results)
        handed_out |= finished
        cycle += 1

    product = np.zeros((ifmap.shape[0], weights.shape[1]), np.int64)
    written = 0
    for fold, (m, n) in enumerate(folds):
        product[m, n] = results[fold, : m.stop - m.start, : n.stop - n.start]
        written += product[m, n].size
    return Stepped(product, cycle * len(folds), image_reads, filter_reads, 0, written)


def _operand_stationary(rows: int, cols: int, streamed: Ints, stationary: Ints) -> tuple[Ints, int, int, int, int, int]:
    """(t, k) times (k, c), which is kept in the array: product, cycles, elements streamed, loaded, read and written."""
    folds = [(k, c) for c in _tiles(stationary.shape[1], cols) for k in _tiles(stationary.shape[0], rows)]
    length = streamed.shape[0]
    loads = np.zeros((len(folds), rows, cols), np.int64)
    left = np.zeros((len(folds), length, rows), np.int64)
    used_rows, used = np.zeros((len(folds), rows), np.bool_), np.zeros(loads.shape, np.bool_)
    for fold, (k, c) in enumerate(folds):
        loads[fold, : k.stop - k.start, : c.stop - c.start] = stationary[k, c]
        left[fold, :, : k.stop - k.start] = streamed[:, k]
        used_rows[fold, : k.stop - k.start] = True
        used[fold, : k.stop - k.start, : c.stop - c.start] = True

    kept, kept_valid = np.zeros_like(loads), np.zeros((rows, cols), np.bool_)
    moving, moving_valid = np.zeros_like(loads), np.zeros((rows, cols), np.bool_)
    sums = np.zeros_like(loads)
    results, handed_out = np.zeros((len(folds), length, cols), np.int64), np.zeros(cols, np.int64)
    streams = loaded = cycle = fed = 0
    # What the last row keeps enters first and moves down as the others follow.
    while not kept_valid.all():
        _shift_down(kept, kept_valid)
        entering = rows - 1 - cycle
        kept[:, 0], kept_valid[0] = loads[:, entering], True
        loaded += int(used[:, entering].sum())
        cycle += 1
    while (handed_out < length).any():
        _shift_right(moving, moving_valid)
        for row in range(rows):
            # Row r is fed r cycles late, so that it meets the sum coming down.
            if valid := 0 <= fed - row < length:
                moving[:, row, 0] = left[:, fed - row, row]
                streams += int(used_rows[:, row].sum())
            moving_valid[row, 0] = valid
        sums[:, 1:] = sums[:, :-1].copy()
        sums[:, 0] = 0
        sums += np.where(moving_valid, kept * moving, 0)
        for col in np.flatnonzero(moving_valid[-1]):
            results[:, handed_out[col], col] = sums[:, -1, col]
            handed_out[col] += 1
        fed += 1
        cycle += 1

    product = np.zeros((length, stationary.shape[1]), np.int64)
    begun = np.zeros(product.shape, np.bool_)
    read = written = 0
    for fold, (_, c) in enumerate(folds):
        read += int(begun[:, c].sum())
        product[:, c] += results[fold, :, : c.stop - c.start]
        begun[:, c] = True
        written += product[:, c].size
    return product, cycle * len(folds), streams, loaded, read, written


def _shift_right(values: Ints, valid: Bits) -> None:
    values[:, :, 1:] = values[:, :, :-1].copy()
    valid[:, 1:] = valid[:, :-1].copy()


def _shift_down(values: Ints, valid: Bits) -> None:
    values[:, 1:] = values[:, :-1].copy()
    valid[1:] = valid[:-1].copy()
