"""What the kernels of TFLite's GPU delegate do, in the terms of ours: by the rules of `physics.gpu_dispatch`.

In halves, four to a vector. Of each family of kernels, for one thread:

    pointwise, conv, grouped_conv   a step for each input slice and tap: 4 pixels and the weights of 2 output slices are
                    loaded, 8 vectors of those, for 128 multiply-adds. PowerVR: 2 pixels, and weights come from local
                    memory, into which the 32 threads of a group load them (`LOCAL_MEM_ASYNC_SUBGROUP`)
    conv_constant   all outputs of a pixel; weights come from constant memory
    depthwise       a pixel and a weight for each tap
    depthwise_3x3   4x4 pixels and 9 weights for 2x2 outputs, a row of pixels at a time
    linear          a vector and the 4x4 weights for each input slice, a quarter of which a thread takes
    global_pool, global_pool_small, pool   a vector for each pixel

Other kernels (`copy`) move a vector.
"""

import numpy as np

from mnv3c.profiles.gpu_kernels.terms import Launches
from mnv3c.profiles.layer_table import Integers, LayerTable
from mnv3c.profiles.physics.base import Floats
from mnv3c.profiles.physics.gpu_dispatch import FAMILIES, Dispatch, dispatch_of, family_of, round_up
from mnv3c.targets.gpu.features import FREE_REGISTERS
from mnv3c.targets.gpu.tiling import Tile, registers

_LANES = 4
_VECTOR_BYTES = 8
_TILE = Tile(pixels=4, slices=2)
_FLAT_TILE = Tile(pixels=2, slices=2)
_FLAT_THREADS = 32
_TILED = ("pointwise", "conv", "grouped_conv")
_LINEAR_PARTS = 4


def tflite_launches(table: LayerTable, flat: bool) -> Launches:
    """A launch for each layer, as TFLite's delegate makes it on an Adreno, or along flattened maps on a PowerVR."""
    family = family_of(table)
    cut = dispatch_of(table, family)
    tiled = np.isin(family, [FAMILIES.index(name) for name in _TILED])
    groups = np.where(tiled & flat, cut.flat_groups, cut.groups)
    items = groups * np.where(tiled & flat, float(_FLAT_THREADS), cut.threads)
    products, vectors, waits = _each(table, family, cut, flat)
    stored = cut.pixels * cut.slices_out * _VECTOR_BYTES
    return Launches(
        work_items=items,
        work_groups=groups,
        multiply_adds=products,
        cache_bytes=vectors * _VECTOR_BYTES + stored / items,
        memory_bytes=_read_bytes(table) + _weight_bytes(table) + stored,
        waits=waits,
        registers=np.where(tiled, float(registers(_FLAT_TILE if flat else _TILE)), float(FREE_REGISTERS)),
    )


def _each(table: LayerTable, family: Integers, cut: Dispatch, flat: bool) -> tuple[Floats, Floats, Floats]:
    """What a thread does: (layers,) multiply-adds, vectors loaded, and times that it waits for loads."""
    taps = (table.kernel_h * table.kernel_w).astype(np.float64)
    steps, slices = cut.depth, cut.slices_in
    part, fetches, one = slices / _LINEAR_PARTS, slices * taps, np.ones(len(table))
    tile, loaders = (_FLAT_TILE, _FLAT_THREADS) if flat else (_TILE, 1)
    loads = tile.pixels + tile.slices * _LANES / loaders
    tiled = (tile.pixels * tile.slices * _LANES**2 * steps, loads * steps, steps)
    # A mean adds; an addition takes an ALU as long as a multiply-add.
    pooled = (_LANES * steps, steps, steps)
    rules = {
        **dict.fromkeys(_TILED, tiled),
        "conv_constant": (_LANES**2 * steps, fetches, fetches),
        "depthwise": (_LANES * taps, 2 * taps, taps),
        "depthwise_3x3": (_LANES * 4 * taps, 16 + taps, 4 * one),
        "linear": (_LANES**2 * part, (1 + _LANES) * part, part),
        **dict.fromkeys(("global_pool", "global_pool_small"), pooled),
        "pool": (_LANES * taps, taps, taps),
    }
    chosen = [family == FAMILIES.index(name) for name in rules]
    products, vectors, waits = (np.select(chosen, list(each), one) for each in zip(*rules.values(), strict=True))
    return products, vectors, waits


def _read_bytes(table: LayerTable) -> Floats:
    windows = table.is_kind("depthwise", "pool")
    rows = np.where(windows, np.minimum(table.h_in, (table.h_out - 1) * table.stride + table.kernel_h), table.h_in)
    columns = np.where(windows, np.minimum(table.w_in, (table.w_out - 1) * table.stride_w + table.kernel_w), table.w_in)
    return np.asarray(rows * columns * table.batch * round_up(table.c_in, _LANES) * _VECTOR_BYTES, np.float64)


def _weight_bytes(table: LayerTable) -> Floats:
    taps = table.kernel_h * table.kernel_w
    depthwise = table.is_kind("depthwise")
    deep = np.where(depthwise, 1.0, round_up(table.c_in // table.groups, _LANES) * _LANES)
    weighted = table.weights > 0
    return np.asarray(weighted * taps * deep * round_up(table.c_out, _LANES) * _VECTOR_BYTES, np.float64)
