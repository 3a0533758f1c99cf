"""How TFLite's GPU delegate cuts a layer into threads and work groups: the rules that decide where its time has steps.

Channels are packed by four ("slices"). Kernels by family:

    pointwise, conv, grouped_conv   a thread computes 2x2 pixels of 2 slices; a group takes the greatest divisor up to
                    64 of the slices, and fills 256 threads with pixels, along rows first (`GetWorkGroupConv`); PowerVR
                    takes groups of 32 threads of 2 pixels along the flattened map instead
    conv_constant   at most 8 output slices, of weights that fit the constant memory of an Adreno 6xx
                    (`IsConvConstantsSupported`): a thread computes all channels of a pixel
                    conv also by Winograd's tiles of 4x4 pixels, 2.25 products a pixel instead of 9; a record's variant
                    says which (PowerVR: at least 64 channels and 32 tiles; Adreno 6xx: 128 channels and 128 tiles)
    depthwise       a thread computes one pixel of a slice; a group takes 8, 4 or 2 slices, whatever divides them,
                    else the greatest divisor up to 8 (`GetWorkGroup`)
    depthwise_3x3   stride 1: the same, but 2x2 pixels a thread
    linear          groups of 32 slices; a 1x1 convolution of a 1x1 map too
    global_pool     a group for each slice, of up to 16x16 threads, a power of 2 to a side
    global_pool_small   fewer than 64 pixels: one thread for each slice
    pool            as depthwise
    copy            concatenations; stands for elementwise kernels, of which there are no measurements

Each rule was tried against its neighbours on the 14,613 kernels of qed-usc's mobile-ml-benchmark: groups of 256
threads of 2x2 pixels and 2 slices leave 5 % on an Adreno 616, any other tile or size 8 to 9 %; PowerVR has 5 % with
groups of 32 and 8 % without; constant memory of 3584 bytes leaves 1.5 % less than one of 2560.
"""

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mnv3c.profiles.layer_table import VARIANTS, Integers, LayerTable
from mnv3c.profiles.physics.base import Floats

FAMILIES = (
    "pointwise",
    "conv",
    "conv_constant",
    "grouped_conv",
    "depthwise",
    "depthwise_3x3",
    "linear",
    "global_pool",
    "global_pool_small",
    "pool",
    "copy",
)
_Mask = npt.NDArray[np.bool_]
_CONSTANT_BYTES = 3584
_CONSTANT_SLICES = 8
_HALF_BYTES = 2
_GROUP_THREADS = 256
_DEEPEST_GROUP = 64
_DEEPEST_DEFAULT_GROUP = 8
_WAVE_THREADS = 64
_FLAT_THREADS = 32
_FLAT_PIXELS = 2
_LINEAR_SLICES = 32
_LINEAR_SPLIT = 4
_POOLED_TOGETHER = 64
_WIDEST_POOL_GROUP = 16
_WINOGRAD_TAPS = 2.25  # 6x6 products for 4x4 pixels


@dataclass(frozen=True)
class Dispatch:
    """Columns (layers,): a layer's size in slices, and how it is cut.

    A thread makes `depth` steps, a slice of inputs a step; `across` x `down` x `deep` threads are a group, of `tile`
    x `tile` pixels each. `flat_groups` are those of GPUs that flatten the map.
    """

    slices_in: Floats
    slices_out: Floats
    width: Floats
    pixels: Floats
    tile: Floats
    depth: Floats
    across: Floats
    down: Floats
    deep: Floats
    groups: Floats
    flat_groups: Floats

    @cached_property
    def threads(self) -> Floats:
        """Threads of a group."""
        return self.across * self.down * self.deep

    @cached_property
    def face(self) -> Floats:
        """Threads of a group that compute different tiles of pixels."""
        return self.across * self.down

    @cached_property
    def padded(self) -> Floats:
        """Threads of all groups, in whole waves of the hardware."""
        return self.groups * round_up(self.threads, _WAVE_THREADS) * _WAVE_THREADS

    def take(self, chosen: _Mask | Integers) -> "Dispatch":
        """The rows chosen."""
        return Dispatch(*(getattr(self, field.name)[chosen] for field in fields(self)))


def family_of(table: LayerTable) -> Integers:
    """(layers,) index into `FAMILIES`."""
    whole_map = table.is_kind("global_pool") | (table.is_kind("pool") & (table.h_out * table.w_out == 1))
    convolution = table.is_kind("pointwise", "conv")
    weights_bytes = round_up(table.c_in, 4) * 4 * table.c_out * table.kernel_h * table.kernel_w * _HALF_BYTES
    depthwise = table.is_kind("depthwise")
    unstrided = (table.stride == 1) & (table.stride_w == 1)
    rules = {
        "conv_constant": convolution
        & (weights_bytes <= _CONSTANT_BYTES)
        & (round_up(table.c_out, 4) <= _CONSTANT_SLICES),
        "pointwise": table.is_kind("pointwise"),
        "conv": table.is_kind("conv", "transposed_conv"),
        "grouped_conv": table.is_kind("grouped_conv"),
        "depthwise_3x3": depthwise & (table.kernel_h == 3) & (table.kernel_w == 3) & unstrided,
        "depthwise": depthwise,
        "linear": table.is_kind("linear"),
        "global_pool_small": whole_map & (table.h_in * table.w_in < _POOLED_TOGETHER),
        "global_pool": whole_map,
        "pool": table.is_kind("pool"),
    }
    return np.select(list(rules.values()), [FAMILIES.index(name) for name in rules], FAMILIES.index("copy"))


def dispatch_of(table: LayerTable, family: Integers) -> Dispatch:
    """How layers of these families are cut."""

    def of(*names: str) -> _Mask:
        wanted = np.zeros(len(FAMILIES), np.bool_)
        wanted[[FAMILIES.index(name) for name in names]] = True
        return wanted[family]

    slices_in, slices_out = round_up(table.c_in // table.groups, 4), round_up(table.c_out, 4)
    pooled, tiled = of("global_pool", "global_pool_small"), of("pointwise", "conv", "grouped_conv")
    width = np.where(pooled, 1.0, table.w_out)
    height = np.where(pooled, 1.0, table.h_out) * table.batch
    tile = np.where(tiled | of("depthwise_3x3"), 2.0, 1.0)
    slices = np.select([tiled, of("conv_constant")], [round_up(slices_out, 2), 1.0], slices_out)
    grid = (round_up(width, tile), round_up(height, tile), slices)
    side = np.minimum(2.0 ** np.floor(np.log2(np.maximum(table.h_in, 1))), _WIDEST_POOL_GROUP)
    across, down, deep = _group(grid, tiled)
    groups = round_up(grid[0], across) * round_up(grid[1], down) * round_up(grid[2], deep)
    fixed = [of("linear"), of("global_pool")]
    return Dispatch(
        slices_in,
        slices_out,
        width,
        width * height,
        tile,
        _depth(table, family, side),
        np.select(fixed, [float(_LINEAR_SLICES), side], across),
        np.select(fixed, [float(_LINEAR_SPLIT), side], down),
        np.select(fixed, [1.0, 1.0], deep),
        np.select(fixed, [round_up(slices_out, _LINEAR_SLICES), slices_out], groups),
        round_up(round_up(width, _FLAT_PIXELS) * height, _FLAT_THREADS) * slices,
    )


def _depth(table: LayerTable, family: Integers, side: Floats) -> Floats:
    winograd = table.variant == VARIANTS.index("winograd")
    taps = np.where(winograd, _WINOGRAD_TAPS, table.kernel_h * table.kernel_w)
    slices_in = round_up(table.c_in // table.groups, 4)
    depth = {
        "pointwise": slices_in * taps,
        "conv": slices_in * taps,
        "conv_constant": slices_in * taps * round_up(table.c_out, 4),
        "grouped_conv": slices_in * taps,
        "linear": slices_in,
        "global_pool": round_up(table.h_in, side) * round_up(table.w_in, side),
        "global_pool_small": (table.h_in * table.w_in).astype(np.float64),
        "copy": np.ones(len(table)),
    }
    return np.select([family == FAMILIES.index(name) for name in depth], list(depth.values()), taps)


def _group(grid: tuple[Floats, Floats, Floats], convolution: _Mask) -> tuple[Floats, Floats, Floats]:
    columns, rows, slices = grid
    even = np.select([slices % 8 == 0, slices % 4 == 0, slices % 2 == 0], [8.0, 4.0, 2.0])
    default = np.where(even > 0, even, _greatest_divisor(slices, _DEEPEST_DEFAULT_GROUP))
    deep = np.where(convolution, _greatest_divisor(slices, _DEEPEST_GROUP), default)
    area = np.floor(_GROUP_THREADS / deep)
    across = np.minimum(np.where(convolution, columns, round_up(columns, 2)), area)
    down = np.minimum(np.floor(area / across), rows)
    halved = convolution & (down == rows) & (rows % 2 == 0)
    return across, np.where(halved, rows / 2, down), deep


def _greatest_divisor(numbers: Floats, most: int) -> Floats:
    found = np.ones(int(numbers.max(initial=0)) + 1)
    for divisor in range(2, most + 1):
        found[::divisor] = divisor
    return np.asarray(found[numbers.astype(np.int64)], np.float64)


def round_up(a: Floats | Integers, b: Floats | Integers | int) -> Floats:
    """a / b, rounded up."""
    return np.asarray(np.ceil(a / b), np.float64)
