"""What a layer costs on one big core of a phone, with 128-bit vectors and caches, under TFLite, XNNPACK or TVM.

Terms, in milliseconds at the rates of a nominal core (2.8 GHz, two 128-bit multiply-accumulates a cycle):

    products         multiply-accumulates of matrix products, in whole tiles of 6 pixels and 8 channels
    product_bank     the same where a pixel's inputs fill whole pairs of cache lines, and loads of a tile collide
    taps             multiply-accumulates of depthwise convolutions, in whole vectors
    padded_taps      those that fall on padding; some runtimes skip them
    windows          taps of depthwise convolutions of all pixels, each a pointer to load
    depthwise_pixels elements that a depthwise convolution writes
    row_16k, row_8k  taps whose rows lie 16 or 8 KiB apart, and so compete for the same ways of the cache
    wide_window      taps of windows that, with their weights, begin to fill the first cache
    hswish           bytes of maps that an h-swish passes; up to four times over where a runtime composes it
    add              bytes of maps that a residual or another elementwise operation passes
    streams          bytes that pooling reads, and that gating, copying and scaling write
    writes           bytes that matrix products write
    patches          bytes of the windows of a full convolution, copied to be multiplied
    weights          bytes of weights, loaded once
    vector_weights   bytes of the weights of matrix-vector products, which nothing hides
    window_32k ...   bytes that a depthwise convolution reads again, as its rows exceed a cache
    over_128k ...    bytes of a layer's maps beyond the size of a cache
    streams_128k ... the same of pooling and gating
    calls            layers

Which terms there are was found by leave-one-resolution-out on nn-Meter's 854 blocks of a Pixel 4 and of a Pixel 6
(mean error of physics alone 1.7 and 2.3 %; without conflicts 2.5 and 3.0 %, without the projected shortcut 4.4 and
4.6 %), `hswish` and `vector_weights` on once-for-all's blocks of a Galaxy Note10.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from mnv3c.profiles.layer_table import PRODUCTS, Integers, LayerTable
from mnv3c.profiles.physics.base import UNIT_GROUP, Bound, Floats, Smoothness, Unit
from mnv3c.profiles.physics.block_families import BLOCK_FAMILIES, block_family_of
from mnv3c.profiles.physics.cpu_work import CpuWork, round_up

_LANES = 4


@dataclass(frozen=True)
class _Term:
    """What is counted, what one takes on the nominal core, and which resource it occupies.

    `group` is what another core or runtime does faster or slower as a whole.
    """

    nominal_ns: float
    bound: Bound
    group: str
    count: Callable[[CpuWork], Floats]


def _compute(nominal_ns: float, group: str, count: Callable[[CpuWork], Floats]) -> _Term:
    return _Term(nominal_ns, "compute", group, count)


def _memory(gigabytes_a_second: float, group: str, count: Callable[[CpuWork], Floats]) -> _Term:
    return _Term(1 / gigabytes_a_second, "bandwidth", group, count)


_TERMS: Mapping[str, _Term] = MappingProxyType(
    {
        "products": _compute(0.05, "products", lambda w: w.products),
        "product_bank": _compute(0.0008, "conflicts", lambda w: w.product_bank),
        "taps": _compute(0.13, "taps", lambda w: w.inner_taps * round_up(w.table.c_out, _LANES)),
        "padded_taps": _compute(
            0.13, "padding", lambda w: (w.all_taps - w.inner_taps) * round_up(w.table.c_out, _LANES)
        ),
        "windows": _compute(0.4, "taps", lambda w: w.all_taps),
        "depthwise_pixels": _compute(0.12, "pixels", lambda w: w.is_depthwise * w.table.outputs),
        "row_16k": _compute(0.04, "conflicts", lambda w: w.row_conflicts(16384)),
        "row_8k": _compute(0.004, "conflicts", lambda w: w.row_conflicts(8192)),
        "wide_window": _compute(0.008, "conflicts", lambda w: w.wide_windows),
        "hswish": _memory(16.0, "hswish", lambda w: w.hswish_bytes),
        "add": _memory(20.0, "elementwise", lambda w: w.added_bytes),
        "streams": _memory(20.0, "streams", lambda w: w.stream_bytes),
        "writes": _memory(12.0, "writes", lambda w: w.is_product * w.out_bytes),
        "patches": _memory(12.0, "writes", lambda w: w.patch_bytes),
        "weights": _memory(20.0, "weights", lambda w: w.weight_bytes),
        "vector_weights": _memory(15.0, "vectors", lambda w: w.vector_bytes),
        "window_32k": _memory(200.0, "near", lambda w: w.rows_over(32e3)),
        "window_64k": _memory(200.0, "near", lambda w: w.rows_over(64e3)),
        "window_128k": _memory(60.0, "near", lambda w: w.rows_over(128e3)),
        "over_128k": _memory(100.0, "near", lambda w: w.maps_over(128e3)),
        "over_256k": _memory(200.0, "near", lambda w: w.maps_over(256e3)),
        "over_512k": _memory(100.0, "far", lambda w: w.maps_over(512e3)),
        "over_1m": _memory(150.0, "far", lambda w: w.maps_over(1e6)),
        "over_2m": _memory(100.0, "far", lambda w: w.maps_over(2e6)),
        "over_4m": _memory(60.0, "far", lambda w: w.maps_over(4e6)),
        "streams_128k": _memory(40.0, "near", lambda w: w.streams_over(128e3)),
        "streams_512k": _memory(30.0, "far", lambda w: w.streams_over(512e3)),
        "streams_1m": _memory(10.0, "far", lambda w: w.streams_over(1e6)),
        "calls": _Term(100.0, "overhead", "calls", lambda w: np.ones(len(w.table))),
    }
)
# What cores and runtimes differ by: arithmetic little, caches by half, what a runtime may or may not do by far more.
# Doubling them all makes transfers between a Pixel 4 and a Pixel 6 by ten blocks worse by 0.2 %.
# Weights come at the speed of the memory, in which phones differ less than small blocks, which hardly tell, allow:
# the Note10's held-out error is 3.2 % for any deviation from 0.2 to 1.
_GROUP_DEVIATIONS: Mapping[str, float] = MappingProxyType(
    {
        UNIT_GROUP: 1.0,
        "products": 0.15,
        "taps": 0.15,
        "padding": 1.0,
        "pixels": 0.3,
        "conflicts": 0.5,
        "hswish": 3.0,
        "elementwise": 1.0,
        "streams": 0.5,
        "writes": 0.2,
        "weights": 0.25,
        "vectors": 0.25,
        "near": 0.5,
        "far": 0.5,
        "calls": 1.0,
    }
)
# Greatest marginal likelihood on each of the two tables of 854 blocks, the geometric mean of both; for the ratio on
# theirs, its deviation halved, since coefficients take the rest. Single layers had no rows to learn from.
_BLOCK = Smoothness(
    deviation=0.05, constant_deviation=0.02, length=(2.6, 0.63, 0.82, 2.0, 2.1, 1.2, 3.3, 0.8, 2.0, 1.6), noise=0.012
)
_BLOCK_RATIO = Smoothness(
    deviation=0.03, constant_deviation=0.3, length=(1.43, 8.3, 5.2, 0.63, 2.4, 1.5, 2.6, 1.9, 1.5, 9.3), noise=0.012
)
_LAYER = Smoothness(
    deviation=0.1,
    constant_deviation=0.1,
    length=(1.5, 1.5, 1.5, np.inf, 1.0, 1.0, np.inf, np.inf, 2.0, 2.0),
    noise=0.03,
)


@dataclass(frozen=True)
class CpuPhysics:
    """One big core. `element_bytes` is the size of a number."""

    name: ClassVar[str] = "cpu"
    processors: ClassVar[tuple[str, ...]] = ("cpu",)
    term_names: ClassVar[tuple[str, ...]] = tuple(_TERMS)
    bounds: ClassVar[tuple[Bound, ...]] = tuple(term.bound for term in _TERMS.values())
    groups: ClassVar[tuple[str, ...]] = tuple(term.group for term in _TERMS.values())
    group_deviations: ClassVar[Mapping[str, float]] = _GROUP_DEVIATIONS
    families: ClassVar[tuple[str, ...]] = BLOCK_FAMILIES
    unit: ClassVar[Unit] = "block"
    beliefs: ClassVar[tuple[Smoothness, ...]] = (_BLOCK, _LAYER, _LAYER)
    ratio_beliefs: ClassVar[tuple[Smoothness, ...]] = (_BLOCK_RATIO, _LAYER, _LAYER)
    max_points: ClassVar[int] = 256
    unit_ms: ClassVar[float] = 0.001
    # Of 10 rows of a Pixel 6 and a Pixel 4 as prior, and the other way round.
    usual_error: ClassVar[float] = 0.037

    element_bytes: int = 4

    def terms(self, table: LayerTable) -> Floats:
        work = CpuWork(table, self.element_bytes)
        columns = np.empty((len(_TERMS), len(table)))
        for column, term in zip(columns, _TERMS.values(), strict=True):
            np.multiply(term.count(work), term.nominal_ns * 1e-6, out=column)
        return columns.T

    def family(self, table: LayerTable) -> Integers:
        return block_family_of(table)

    def descriptors(self, table: LayerTable) -> Floats:
        """(units, 10) height, channels in, out and widest, kernel, stride, squeeze-excite, expansion, rows, bank.

        Sizes are binary logarithms; `rows` is how far rows of the depthwise input are a multiple of 2 KiB apart, up to
        16 KiB, `bank` whether the input's channels fill pairs of cache lines.
        """
        first, last = table.starts, table.ends
        convolutions, depthwise = table.is_kind("depthwise", *PRODUCTS), table.is_kind("depthwise")
        c_in = table.c_in[first]
        inside = table.per_unit_max(table.c_in * depthwise)
        widest = np.where(inside > 0, inside, np.maximum(c_in, table.c_out[last]))
        kernel, stride = (table.per_unit_max(column * convolutions) for column in (table.kernel_h, table.stride))
        gated = table.per_unit_max(table.is_kind("gate").astype(np.int64))
        row_bytes = table.per_unit_max(table.w_in * table.c_in * depthwise) * self.element_bytes
        apart = np.where(row_bytes > 0, np.gcd(row_bytes, 16384), 1)
        columns = (
            *(np.log2(np.maximum(size, 1)) for size in (table.h_in[first], c_in, table.c_out[last], widest)),
            (kernel - 3) / 2,
            stride,
            gated,
            table.is_kind("pointwise")[first] & (first != last),
            np.maximum(np.log2(apart) - 11, 0) / 3,
            c_in * self.element_bytes % 128 == 0,
        )
        return np.asarray(np.stack(columns, axis=1), np.float64)
