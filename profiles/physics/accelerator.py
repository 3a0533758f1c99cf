"""What a layer costs on a fixed array of multipliers with its own buffers: Xilinx's DPU.

Terms, in milliseconds at nominal rates (the fitted coefficient of each is then near 1 where the name says cycles, and
the reciprocal of a bandwidth in GB/s where it says bytes):

    products    cycles of convolutions and dense layers: pixels, input and output channels in whole groups
    depthwise   cycles of depthwise convolutions: pixels and channels in whole groups, a tap a cycle
    weights     bytes of weights, loaded anew for every layer, those of the squeeze-excite products too
    maps        bytes of maps that a layer reads and writes
    spill       bytes of an expanded map that the buffer cannot hold next to what it is made of: written and read again
    hswish      bytes of maps that an h-swish passes once more; the array's own activation is ReLU
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from mnv3c.profiles.layer_table import ACTIVATIONS, PRODUCTS, Integers, LayerTable
from mnv3c.profiles.physics.base import UNIT_GROUP, Bound, Floats, Smoothness, Unit
from mnv3c.profiles.physics.block_families import BLOCK_FAMILIES, block_family_of

_BYTES_PER_MS = 1e6  # at 1 GB/s
# By leave-one-out over the 30 blocks of the Ultra96 any of 0.05 to 0.2 and 0.7 to 1 does as well, within 0.2 %.
_BELIEF = Smoothness(deviation=0.1, constant_deviation=0.05, length=(1.0,) * 6, noise=0.02)


@dataclass(frozen=True)
class AcceleratorPhysics:
    """An array's sizes; the defaults are a B2304 at 200 MHz, as Ultra96 boards carry it.

    `pixels`, `channels_in` and `channels_out` are computed at once (PG338, "DPU for Convolutional Neural Network",
    table "Parallelism for Different Convolution Architectures": 8 x 12 x 12 multiply-accumulates a cycle are 2304
    operations). The measured steps from kernel 3 to 5 and 7 show a depthwise convolution 6 channels wide.
    `buffer_bytes` was read off the measured blocks: layers of 197 kB and less do not spill, those of 207 kB and more
    do. `streamed_from` is the height from which maps are streamed by rows and no block showed a spill: 28 does, 56
    does not.
    """

    name: ClassVar[str] = "accelerator"
    processors: ClassVar[tuple[str, ...]] = ("dpu", "npu", "tpu")
    term_names: ClassVar[tuple[str, ...]] = ("products", "depthwise", "weights", "maps", "spill", "hswish")
    bounds: ClassVar[tuple[Bound, ...]] = ("compute", "compute", "bandwidth", "bandwidth", "bandwidth", "bandwidth")
    groups: ClassVar[tuple[str, ...]] = ("array", "array", "memory", "memory", "memory", "memory")
    group_deviations: ClassVar[Mapping[str, float]] = MappingProxyType({"array": 0.3, "memory": 0.3, UNIT_GROUP: 0.5})
    families: ClassVar[tuple[str, ...]] = BLOCK_FAMILIES
    unit: ClassVar[Unit] = "block"
    beliefs: ClassVar[tuple[Smoothness, ...]] = (_BELIEF,) * 3
    ratio_beliefs: ClassVar[tuple[Smoothness, ...]] = (_BELIEF,) * 3
    max_points: ClassVar[int] = 128
    unit_ms: ClassVar[float] = 0.1
    usual_error: ClassVar[float] = 0.05

    pixels: int = 8
    channels_in: int = 12
    channels_out: int = 12
    depthwise_channels: int = 6
    clock_hz: float = 200e6
    element_bytes: int = 1
    buffer_bytes: int = 200_000
    streamed_from: int = 56

    def terms(self, table: LayerTable) -> Floats:
        depthwise = table.is_kind("depthwise")
        hswish = table.activation == ACTIVATIONS.index("hswish")
        traffic = np.stack(
            [
                table.weights,
                table.inputs + table.outputs * (1 + table.residual),
                table.outputs * self._spills(table),
                table.outputs * hswish,
            ],
            axis=1,
        )
        cycles = np.stack([self._product_cycles(table), self._depthwise_cycles(table) * depthwise], axis=1)
        return np.hstack([cycles * 1e3 / self.clock_hz, traffic * self.element_bytes / _BYTES_PER_MS])

    def family(self, table: LayerTable) -> Integers:
        return block_family_of(table)

    def descriptors(self, table: LayerTable) -> Floats:
        """(units, 6) natural logarithms of height, channels in, widest and out, taps to a side, and stride."""
        first, last = table.starts, table.ends
        convolutions = table.is_kind("depthwise", *PRODUCTS)
        widest = np.maximum(table.c_in[first], table.per_unit_max(table.c_out * convolutions))
        kernel, stride = (table.per_unit_max(column * convolutions) for column in (table.kernel_h, table.stride))
        columns = (table.h_in[first], table.c_in[first], widest, table.c_out[last], kernel, stride)
        return np.asarray(np.log(np.maximum(np.stack(columns, axis=1), 1)), np.float64)

    def _product_cycles(self, table: LayerTable) -> Floats:
        # A transposed convolution spreads every input pixel over its taps.
        spread = table.is_kind("transposed_conv")
        pixels = np.where(spread, table.h_in * table.w_in, table.h_out * table.w_out) * table.batch
        groups_in = _groups(table.c_in // table.groups, self.channels_in)
        groups_out = table.groups * _groups(table.c_out // table.groups, self.channels_out)
        taps = table.kernel_h * table.kernel_w
        return _groups(pixels, self.pixels) * groups_in * groups_out * taps * table.is_kind(*PRODUCTS)

    def _depthwise_cycles(self, table: LayerTable) -> Floats:
        pixels = table.h_out * table.w_out * table.batch
        taps = table.kernel_h * table.kernel_w
        return _groups(pixels, self.pixels) * _groups(table.c_out, self.depthwise_channels) * taps

    def _spills(self, table: LayerTable) -> npt.NDArray[np.bool_]:
        held = (table.inputs + table.outputs + table.weights) * self.element_bytes
        widens = table.is_kind("pointwise", "conv") & (table.c_out > table.c_in)
        return widens & (held > self.buffer_bytes) & (table.h_in < self.streamed_from)


def _groups(count: Integers, size: int) -> Floats:
    return np.ceil(count / size)
