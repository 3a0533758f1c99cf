"""What a kernel of our own compiler costs on a CPU, one thread, measured in the network that it belongs to.

A kernel costs `unit_ms` to call, and (one coefficient each; a name before the dot says which kernels):

    tile.products     products of tiles on the tile unit
    tile.depth        depth of a product on tiles: what begins and ends with each panel of weights
    tile.split        vectors of activations split into bfloat16 parts, scaled by a gate or not
    tile.weights      lines of weights, once from the third-level cache
    tile.again        lines of weights read again for a block of rows, where they have left the second-level cache
    vector.steps      cycles of the register tiles, as the compiler itself estimates them
    vector.tiles      register tiles: their first and last steps, their loop
    vector.inputs     lines of activations read
    vector.weights    lines of weights from the third-level cache, asked for a panel ahead
    vector.outputs    vectors finished and stored
    conv.steps        cycles of a convolution over all channels
    hswish            vectors that pass a hard swish or a hard sigmoid
    window.taps       taps of depthwise windows that lie in the image, a vector of channels each
    window.rows       the same where a group keeps its rows on chip
    window.lines      lines that windows read from the second-level cache
    window.conflicts  of those, what falls into the same sets: rows of positions an even number of lines apart
    window.narrow     taps of the last, narrower vector of wide windows, which LLVM compiles badly
    window.outputs    vectors of outputs
    weights.cold      lines of weights that nothing asked for: matrix-vector products and depthwise taps wait for them
    weights.warm      lines of weights that an earlier kernel has asked for, and that are still in the cache
    matrix_vector     matrix-vector products
    pool.lines        lines that a global pool reads
    pool.rest         vectors of rows beyond a multiple of eight, added one after another
    pool.conflicts    lines of a column of more rows than its sets hold: an even number of lines apart
    elementwise       vectors of a pass over a map
    shared            kernels whose loop threads share: to wake them and to wait for the last

Of a kernel whose loop is shared, all counts are those of the thread that has most to do.

Nominal cycles are rounded from 2,000 kernels of 42 random networks of this space on a Sapphire Rapids class server at
3.1 GHz. Beliefs are what was left there between networks: physics says most, a residual little.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from mnv3c.profiles.layer_table import ACTIVATIONS, Integers, LayerTable
from mnv3c.profiles.physics.base import UNIT_GROUP, Bound, Floats, Smoothness, Unit
from mnv3c.profiles.physics.compiled_kernels import LINE_BYTES, PRODUCTS, TILE, CpuSizes, Kernels, Mask

# A tile product takes 16 cycles: 16 x 16 sums of 32 products, 512 a cycle.
_TILE_CYCLES = 16.0
# Sums of a global pool that run side by side, and the ways of the first-level cache, as the kernel and most cores have.
_POOL_SUMS, _L1_WAYS = 8, 12
_HARD = tuple(ACTIVATIONS.index(name) for name in ("hswish", "hsigmoid"))
# Beyond these shares of its size a cache holds half, and nothing, of what is read again.
_L1_WINDOW, _L1_MAP, _L2_WEIGHTS, _POOL_SETS = (0.6, 1.2), (0.5, 1.5), (0.2, 0.7), (0.4, 0.6)


@dataclass(frozen=True)
class _Term:
    """Cycles for each of what is counted, the resource, the group, and (layers,) how many there are."""

    cycles: float
    bound: Bound
    group: str
    count: Callable[["_Work"], Floats]


@dataclass(frozen=True)
class _Work:
    """Kernels with what several terms share."""

    kernels: Kernels

    @cached_property
    def table(self) -> LayerTable:
        """The layers."""
        return self.kernels.table

    @cached_property
    def on_vectors(self) -> Mask:
        """Products on the vector unit."""
        return self.kernels.pointwise & ~self.kernels.on_tiles

    @cached_property
    def depthwise(self) -> Mask:
        """Depthwise layers that read their input from memory."""
        return self.kernels.kind("depthwise") & np.asarray(self.table.input_on_chip == 0, np.bool_)

    @cached_property
    def hard(self) -> Mask:
        """Convolutions followed by a hard swish or a hard sigmoid."""
        convolutions = self.kernels.pointwise | self.kernels.kind("depthwise") | self.kernels.kind("conv")
        return np.asarray(np.isin(self.table.activation, _HARD) & convolutions, np.bool_)

    @cached_property
    def outputs(self) -> Floats:
        """Vectors of outputs."""
        return np.asarray(self.kernels.rows * self.kernels.vectors_out, np.float64)

    @cached_property
    def warm(self) -> Floats:
        """Lines of weights that are there already."""
        return np.asarray(np.minimum(self.table.ahead_bytes / LINE_BYTES, self.kernels.weight_lines), np.float64)

    @cached_property
    def row_cycles(self) -> Floats:
        """Rows of the image that a product goes through one by one, else 1."""
        return np.asarray(np.where(self.kernels.by_rows, self.table.h_in, 1), np.float64)

    @cached_property
    def tile_products(self) -> Floats:
        """Products of tiles."""
        kernels = self.kernels
        items = kernels.computed_row_tiles * kernels.column_tiles * kernels.steps
        return np.asarray(items * (PRODUCTS * _TILE_CYCLES), np.float64)

    @cached_property
    def weights_again(self) -> Floats:
        """Lines of weights of a product on tiles that come from beyond the second-level cache again and again."""
        kernels = self.kernels
        lost = _ramp(kernels.weight_lines * LINE_BYTES / kernels.sizes.l2_bytes, *_L2_WEIGHTS)
        return (kernels.row_blocks - 1) * kernels.weight_lines * lost

    @cached_property
    def taps(self) -> Floats:
        """Taps of depthwise windows inside the image, a vector each."""
        down, across = self.kernels.taps_inside
        return down * across * self.kernels.vectors_out

    @cached_property
    def window_lines(self) -> Floats:
        """Lines from the second-level cache: each once, and again for each row where a window's rows do not stay."""
        table, lines, l1 = self.table, self.kernels.stored_lines, self.kernels.sizes.l1d_bytes / LINE_BYTES
        once = table.h_in * table.w_in * lines
        again = np.maximum(self._window_reads - once, 0)
        return once * _ramp(once / l1, *_L1_MAP) + again * self._window_lost

    @cached_property
    def window_conflicts(self) -> Floats:
        """Reads of rows that do not stay, times the share of the sets that their lines never fall into."""
        return self._window_reads * self._window_lost * (1 - 1 / self._line_gcd)

    @cached_property
    def narrow_taps(self) -> Floats:
        """Taps of a half vector behind whole ones."""
        table, lanes = self.table, self.kernels.sizes.lanes
        narrow = (table.c_in % lanes == lanes // 2) & (table.c_in > lanes) & (table.kernel_h >= 5)
        return np.asarray(self.kernels.rows * table.kernel_h * table.kernel_w * narrow, np.float64)

    @cached_property
    def convolved(self) -> Floats:
        """Vectors of multiply-accumulates of a direct convolution; a transposed one spreads every input."""
        table = self.table
        reduced = table.kernel_h * table.kernel_w * (table.c_in // table.groups)
        spread = (table.h_in * table.w_in) / np.maximum(table.h_out * table.w_out, 1)
        return np.asarray(self.outputs * reduced * np.where(table.is_kind("transposed_conv"), spread, 1.0), np.float64)

    @cached_property
    def pool_lines(self) -> Floats:
        """Lines that a pool over the whole map reads."""
        table = self.table
        return table.h_in * table.w_in * self.kernels.stored_lines

    @cached_property
    def pool_conflicts(self) -> Floats:
        """Lines of columns that are too tall for their sets; of less weight where positions lie far apart anyway."""
        lines, sets = self.kernels.stored_lines, self.kernels.sizes.l1d_bytes / LINE_BYTES / _L1_WAYS
        filled = self.table.h_in * self.table.w_in * np.minimum(self._line_gcd, sets) / (sets * _L1_WAYS)
        near = np.minimum(1, 8 / np.maximum(lines, 1))
        return np.asarray(self.pool_lines * _ramp(filled, *_POOL_SETS) * (lines % 2 == 0) * near, np.float64)

    @cached_property
    def pool_rest(self) -> Floats:
        """Vectors beyond a multiple of the sums side by side."""
        return np.asarray(self.kernels.vectors_out * (self.table.h_in * self.table.w_in % _POOL_SUMS), np.float64)

    @cached_property
    def _window_reads(self) -> Floats:
        return self.kernels.taps_inside[0] * self.table.w_in * self.kernels.stored_lines

    @cached_property
    def _window_lost(self) -> Floats:
        table, kernels = self.table, self.kernels
        rows = table.kernel_h * table.w_in * kernels.stored_lines * LINE_BYTES
        return _ramp(rows / kernels.sizes.l1d_bytes, *_L1_WINDOW)

    @cached_property
    def _line_gcd(self) -> Floats:
        whole = np.maximum(self.kernels.stored_lines, 1).astype(np.int64)
        return np.asarray(np.gcd(whole, 64), np.float64)


def _ramp(value: Floats, low: float, high: float) -> Floats:
    return np.asarray(np.clip((value - low) / (high - low), 0, 1), np.float64)


def _of(mask: Callable[[_Work], Mask], count: Callable[[_Work], Floats | Integers]) -> Callable[[_Work], Floats]:
    return lambda work: np.asarray(mask(work) * count(work), np.float64)


def _kind(name: str) -> Callable[[_Work], Mask]:
    return lambda work: work.kernels.kind(name)


def _tiles(work: _Work) -> Mask:
    return work.kernels.on_tiles


def _vectors(work: _Work) -> Mask:
    return work.on_vectors


def _depthwise(work: _Work) -> Mask:
    return work.depthwise


def _hard(work: _Work) -> Mask:
    return work.hard


def _fused_window(work: _Work) -> Mask:
    return work.kernels.kind("depthwise") & ~work.depthwise


def _passes(work: _Work) -> Mask:
    apart = np.asarray(work.table.output_on_chip == 0, np.bool_)
    # Of the last four none was measured: like any pass, they write a map.
    moved = work.table.is_kind("elementwise", "pool", "concat", "resize", "softmax")
    return moved | (work.kernels.kind("gate") & apart)


def _convolutions(work: _Work) -> Mask:
    return work.table.is_kind("conv", "grouped_conv", "transposed_conv")


def _waits(work: _Work) -> Mask:
    return work.kernels.kind("linear") | work.kernels.kind("depthwise")


_TERMS: Mapping[str, _Term] = MappingProxyType(
    {
        "tile.products": _Term(1.4, "compute", "tiles", _of(_tiles, lambda w: w.tile_products)),
        "tile.depth": _Term(30.0, "compute", "tiles", _of(_tiles, lambda w: w.table.c_in)),
        "tile.split": _Term(14.0, "compute", "tiles", _of(_tiles, lambda w: w.kernels.rows * w.table.c_in / TILE)),
        "tile.weights": _Term(4.0, "bandwidth", "far", _of(_tiles, lambda w: w.kernels.weight_lines - w.warm)),
        "tile.again": _Term(5.0, "bandwidth", "far", _of(_tiles, lambda w: w.weights_again)),
        "vector.steps": _Term(
            0.95,
            "compute",
            "vectors",
            _of(_vectors, lambda w: w.kernels.vector.cycles * w.table.c_in * w.row_cycles),
        ),
        "vector.tiles": _Term(
            30.0, "compute", "vectors", _of(_vectors, lambda w: w.kernels.vector.tiles * w.row_cycles)
        ),
        "vector.inputs": _Term(
            1.5,
            "bandwidth",
            "near",
            _of(lambda w: w.on_vectors & ~w.kernels.by_rows, lambda w: w.kernels.rows * w.table.c_in / TILE),
        ),
        "vector.weights": _Term(2.5, "bandwidth", "far", _of(_vectors, lambda w: w.kernels.weight_lines - w.warm)),
        "vector.outputs": _Term(1.0, "compute", "vectors", _of(_kind("pointwise"), lambda w: w.outputs)),
        "conv.steps": _Term(
            1.3,
            "compute",
            "vectors",
            _of(_convolutions, lambda w: w.convolved / 2),
        ),
        "hswish": _Term(1.5, "compute", "vectors", _of(_hard, lambda w: w.outputs)),
        "window.taps": _Term(0.58, "compute", "vectors", _of(_depthwise, lambda w: w.taps)),
        "window.rows": _Term(0.9, "compute", "vectors", _of(_fused_window, lambda w: w.taps)),
        "window.lines": _Term(0.9, "bandwidth", "near", _of(_depthwise, lambda w: w.window_lines)),
        "window.conflicts": _Term(0.7, "bandwidth", "near", _of(_depthwise, lambda w: w.window_conflicts)),
        "window.narrow": _Term(0.5, "compute", "vectors", _of(_depthwise, lambda w: w.narrow_taps)),
        "window.outputs": _Term(0.7, "compute", "vectors", _of(_depthwise, lambda w: w.outputs)),
        "weights.cold": _Term(6.9, "bandwidth", "far", _of(_waits, lambda w: w.kernels.weight_lines - w.warm)),
        "weights.warm": _Term(2.0, "bandwidth", "near", _of(_waits, lambda w: w.warm)),
        "matrix_vector": _Term(130.0, "overhead", "calls", _of(_kind("linear"), lambda w: np.ones(len(w.table)))),
        "pool.lines": _Term(1.8, "bandwidth", "near", _of(_kind("global_pool"), lambda w: w.pool_lines)),
        "pool.rest": _Term(2.5, "compute", "vectors", _of(_kind("global_pool"), lambda w: w.pool_rest)),
        "pool.conflicts": _Term(1.0, "bandwidth", "near", _of(_kind("global_pool"), lambda w: w.pool_conflicts)),
        "shared": _Term(1500.0, "overhead", "calls", lambda w: w.kernels.shared / np.maximum(w.kernels.share, 1e-3)),
        "elementwise": _Term(4.0, "bandwidth", "near", _of(_passes, lambda w: w.outputs)),
    }
)
_GROUP_DEVIATIONS: Mapping[str, float] = MappingProxyType(
    {UNIT_GROUP: 1.0, "calls": 1.0, "tiles": 0.3, "vectors": 0.3, "near": 0.5, "far": 0.5}
)

# Natural order: rows, channels in, channels out and window are binary logarithms.
_LENGTHS = (2.0, 1.5, 1.5, 0.7, 1.0, 0.5)


def _belief(deviation: float, noise: float) -> Smoothness:
    return Smoothness(deviation, 0.04, _LENGTHS, noise)


_FAMILIES: Mapping[str, Smoothness] = MappingProxyType(
    {
        "tile": _belief(0.05, 0.05),
        "gated tile": _belief(0.05, 0.05),
        "vector": _belief(0.06, 0.05),
        "gated vector": _belief(0.04, 0.05),
        "depthwise": _belief(0.07, 0.07),
        "rows": _belief(0.05, 0.04),
        "matrix-vector": _belief(0.05, 0.08),
        "pool": _belief(0.05, 0.11),
        "conv": _belief(0.08, 0.05),
        "pass": _belief(0.05, 0.15),
    }
)
_NAMES = tuple(_FAMILIES)


@dataclass(frozen=True)
class CompiledCpuPhysics:
    """A CPU under our own compiler; the defaults are a core of the Sapphire Rapids class, two of them sharing loops."""

    name: ClassVar[str] = "compiled_cpu"
    processors: ClassVar[tuple[str, ...]] = ("compiled-cpu",)
    term_names: ClassVar[tuple[str, ...]] = tuple(_TERMS)
    bounds: ClassVar[tuple[Bound, ...]] = tuple(term.bound for term in _TERMS.values())
    groups: ClassVar[tuple[str, ...]] = tuple(term.group for term in _TERMS.values())
    group_deviations: ClassVar[Mapping[str, float]] = _GROUP_DEVIATIONS
    families: ClassVar[tuple[str, ...]] = _NAMES
    unit: ClassVar[Unit] = "kernel"
    beliefs: ClassVar[tuple[Smoothness, ...]] = tuple(_FAMILIES.values())
    ratio_beliefs: ClassVar[tuple[Smoothness, ...]] = tuple(_FAMILIES.values())
    max_points: ClassVar[int] = 128
    unit_ms: ClassVar[float] = 26e-6
    usual_error: ClassVar[float] = 0.13

    clock_hz: float = 3.1e9
    lanes: int = 16
    registers: int = 32
    fma_pipes: int = 2
    fma_latency_cycles: int = 4
    tile_bf16_macs: int = 512
    l1d_bytes: int = 48 * 1024
    l2_bytes: int = 2 * 1024 * 1024
    sharing_cores: int = 2
    threads: int = 1

    def terms(self, table: LayerTable) -> Floats:
        work = _Work(self._kernels(table))
        ms = 1e3 / self.clock_hz
        counts = np.stack([term.count(work) * (term.cycles * ms) for term in _TERMS.values()], axis=1)
        return np.asarray(counts * work.kernels.share[:, None], np.float64) if self.threads > 1 else counts

    def family(self, table: LayerTable) -> Integers:
        kernels, last, first = self._kernels(table), table.ends, table.starts
        fused, gated = (last > first) & ~kernels.gated[last], kernels.gated[last]
        tiles = kernels.on_tiles[last]
        chosen = {
            "rows": fused,
            "gated tile": gated & tiles,
            "gated vector": gated,
            "tile": tiles,
            "vector": kernels.pointwise[last],
            "depthwise": kernels.kind("depthwise")[last],
            "matrix-vector": kernels.kind("linear")[last],
            "pool": kernels.kind("global_pool")[last],
            "conv": kernels.kind("conv")[last],
            "pass": (kernels.kind("elementwise") | kernels.kind("gate"))[last],
        }
        numbers = [_NAMES.index(name) for name in chosen]
        return np.asarray(np.select(list(chosen.values()), numbers, -1), np.int64)

    def descriptors(self, table: LayerTable) -> Floats:
        """(units, 6) rows, channels in and out, window as binary logarithms, stride, and the share of weights there."""
        first, last = table.starts, table.ends
        rows = np.where(table.is_kind("global_pool"), table.h_in * table.w_in, table.h_out * table.w_out)[last]
        ahead = table.per_unit_sum(table.ahead_bytes.astype(np.float64)) / np.maximum(4 * table.weights[last], 1)
        logarithms = np.stack([rows, table.c_in[first], table.c_out[last], table.per_unit_max(table.kernel_h)], axis=1)
        others = np.stack([table.per_unit_max(table.stride), np.minimum(ahead, 1.2)], axis=1)
        return np.asarray(np.hstack([np.log2(logarithms), others]), np.float64)

    def _kernels(self, table: LayerTable) -> Kernels:
        sizes = {field.name: getattr(self, field.name) for field in fields(CpuSizes)}
        return Kernels(table, CpuSizes(**sizes))
