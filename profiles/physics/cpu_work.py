"""What is counted of layers for the physics of a core: arithmetic in tiles and vectors, and bytes beyond caches."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mnv3c.profiles.layer_table import ACTIVATIONS, PRODUCTS, Integers, LayerTable
from mnv3c.profiles.physics.base import Floats

_COPIES = ("pool", "concat", "resize", "softmax")
# XNNPACK's single-precision tile on A75 and later (`f32_gemm_minmax_ukernel_6x8__asm_aarch64_neonfma_*`).
_TILE_PIXELS, _TILE_CHANNELS = 6, 8
# XNNPACK has no kernel that takes all taps of so large a window in one pass, so it never holds them at once.
_STREAMED_KERNEL = 7


@dataclass(frozen=True)
class CpuWork:
    """Layers, and what is counted of them."""

    table: LayerTable
    element_bytes: int

    @cached_property
    def pixels(self) -> Integers:
        """Pixels that a product computes; a transposed convolution spreads every input pixel over its taps."""
        t, spread = self.table, self.table.is_kind("transposed_conv")
        return np.asarray(t.batch * np.where(spread, t.h_in * t.w_in, t.h_out * t.w_out), np.int64)

    @cached_property
    def reduced(self) -> Integers:
        """Inputs that a product sums for one output."""
        t = self.table
        return np.asarray(t.kernel_h * t.kernel_w * (t.c_in // t.groups), np.int64)

    @cached_property
    def is_depthwise(self) -> npt.NDArray[np.bool_]:
        return self.table.is_kind("depthwise")

    @cached_property
    def is_product(self) -> npt.NDArray[np.bool_]:
        """A matrix product, not one of a matrix and a vector."""
        return np.asarray(self._multiplies & (self.pixels > 1), np.bool_)

    @cached_property
    def is_vector(self) -> npt.NDArray[np.bool_]:
        """A product of a matrix and a vector: weights are used once."""
        return np.asarray(self._multiplies & (self.pixels == 1), np.bool_)

    @cached_property
    def _multiplies(self) -> npt.NDArray[np.bool_]:
        return self.table.is_kind(*PRODUCTS)

    @cached_property
    def products(self) -> Floats:
        t = self.table
        channels = t.groups * round_up(t.c_out // t.groups, _TILE_CHANNELS)
        return np.asarray(self.is_product * (round_up(self.pixels, _TILE_PIXELS) * channels * self.reduced), np.float64)

    @cached_property
    def product_bank(self) -> Floats:
        t = self.table
        collide = t.is_kind("pointwise") & (t.c_in * self.element_bytes % 128 == 0) & self.is_product
        return np.asarray(collide * (self.pixels * self.reduced * t.c_out), np.float64)

    @cached_property
    def inner_taps(self) -> Floats:
        """Taps of a depthwise convolution's map that fall on its input, without channels."""
        result = np.zeros(len(self.table))
        chosen = np.flatnonzero(self.is_depthwise)
        t = self.table.take(chosen)
        rows = t.h_out * t.kernel_h - _on_padding(t.h_in, t.h_out, t.kernel_h, t.stride)
        columns = t.w_out * t.kernel_w - _on_padding(t.w_in, t.w_out, t.kernel_w, t.stride_w)
        result[chosen] = t.batch * rows * columns
        return result

    @cached_property
    def all_taps(self) -> Floats:
        return np.asarray(self.is_depthwise * (self.pixels * self.reduced), np.float64)

    @cached_property
    def depthwise_macs(self) -> Floats:
        return self.all_taps * self.table.c_out

    def row_conflicts(self, apart_bytes: int) -> Floats:
        """Depthwise multiply-accumulates where rows lie a multiple of so many bytes apart."""
        row_bytes = self.table.w_in * self.table.c_in * self.element_bytes
        return np.asarray(self.depthwise_macs * (row_bytes % apart_bytes == 0), np.float64)

    @cached_property
    def wide_windows(self) -> Floats:
        """Depthwise multiply-accumulates, weighed by how far window and weights exceed 16 KiB; not of 7 x 7."""
        held = 2 * self.reduced * self.table.c_out * self.element_bytes / 16384
        return self.depthwise_macs * np.maximum(0.0, held - 1) * (self.table.kernel_h < _STREAMED_KERNEL)

    @cached_property
    def out_bytes(self) -> Floats:
        return np.asarray(self.table.outputs * self.element_bytes, np.float64)

    @cached_property
    def in_bytes(self) -> Floats:
        return np.asarray(self.table.inputs * self.element_bytes, np.float64)

    @cached_property
    def hswish_bytes(self) -> Floats:
        return np.asarray(self.out_bytes * (self.table.activation == ACTIVATIONS.index("hswish")), np.float64)

    @cached_property
    def added_bytes(self) -> Floats:
        return self.out_bytes * (self.table.is_kind("elementwise") | (self.table.residual > 0))

    @cached_property
    def stream_bytes(self) -> Floats:
        """What pooling reads and what gating and copying write."""
        t = self.table
        reads = t.is_kind("global_pool", "pool")
        writes = t.is_kind("gate", *_COPIES) & ~reads
        return self.in_bytes * reads + self.out_bytes * writes

    @cached_property
    def gated_bytes(self) -> Floats:
        """Those streams that return to a map which was just written."""
        return self.stream_bytes * self.table.is_kind("global_pool", "gate")

    @cached_property
    def patch_bytes(self) -> Floats:
        copied = self.table.is_kind("conv", "grouped_conv")
        return np.asarray(self.pixels * self.reduced * self.table.groups * (copied * self.element_bytes), np.float64)

    @cached_property
    def weight_bytes(self) -> Floats:
        holds = self.is_product | self.is_vector | self.is_depthwise
        return np.asarray(holds * (self.reduced * self.table.c_out * self.element_bytes), np.float64)

    @cached_property
    def vector_bytes(self) -> Floats:
        return self.weight_bytes * self.is_vector

    def rows_over(self, cache_bytes: float) -> Floats:
        """Bytes read again, as the rows under a depthwise window exceed a cache, from none at it to all at twice it."""
        return np.asarray(self._reread_bytes * np.clip(self._window_bytes / cache_bytes - 1, 0.0, 1.0), np.float64)

    @cached_property
    def _window_bytes(self) -> Integers:
        """Bytes of the rows under a window."""
        t = self.table
        return np.asarray(t.kernel_h * t.w_in * t.c_in * self.element_bytes, np.int64)

    @cached_property
    def _reread_bytes(self) -> Floats:
        """Bytes that a depthwise convolution reads if it keeps no row."""
        return self.is_depthwise * self.in_bytes * (self.table.kernel_h / self.table.stride)

    def maps_over(self, cache_bytes: float) -> Floats:
        """Bytes by which a layer's maps exceed a cache, and by which what its h-swish passes once more does."""
        return _over(self._map_bytes, cache_bytes) + _over(self.hswish_bytes, cache_bytes)

    @cached_property
    def _map_bytes(self) -> Floats:
        return np.asarray((self.is_depthwise | self.is_product) * (self.in_bytes + self.out_bytes), np.float64)

    def streams_over(self, cache_bytes: float) -> Floats:
        """Bytes by which a pooled or gated map exceeds a cache."""
        return _over(self.gated_bytes, cache_bytes)


def _on_padding(size_in: Integers, size_out: Integers, kernel: Integers, stride: Integers) -> Integers:
    """Taps along one side, of all positions together, that fall on SAME padding."""
    padding = np.maximum(0, (size_out - 1) * stride + kernel - size_in)
    before = padding // 2
    total = np.zeros_like(padding)
    for side in (before, padding - before):
        # Of a window that lies wholly on padding no more taps than it has.
        total += _stairs(side, stride, size_out) - _stairs(side - kernel, stride, size_out)
    return np.asarray(total, np.int64)


def _stairs(height: Integers, step: Integers, most: Integers) -> Integers:
    """The sum of height, height - step, height - 2 step... down to 0, of at most so many."""
    count = np.clip(-(-height // step), 0, most)
    return np.asarray(count * height - step * (count * (count - 1) // 2), np.int64)


def round_up(count: Integers, multiple: int) -> Integers:
    """The least multiple of a number that is not below a count."""
    return np.asarray(-(-count // multiple) * multiple, np.int64)


def _over(size_bytes: Floats, cache_bytes: float) -> Floats:
    return np.asarray(np.maximum(0.0, size_bytes - cache_bytes), np.float64)
