"""Layers as columns: what the cost model computes with, one array entry a layer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mnv3c.graph.errors import UserError
from mnv3c.graph.layer import LayerKey
from mnv3c.graph.ops import (
    Activate,
    Add,
    BatchNorm,
    ChannelAffine,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dense,
    GlobalAveragePool,
    Multiply,
    Op,
    Pool2d,
    Resize,
    ScalarAffine,
    Softmax,
)

Integers = npt.NDArray[np.int64]

# What a layer computes, as far as costs go. `linear` is a matrix-vector product: a dense layer, or a 1x1 convolution of
# a 1x1 map; `gate` multiplies a map by one number a channel; `pool` has a window, `global_pool` takes the whole map.
KINDS = (
    "pointwise",
    "depthwise",
    "conv",
    "grouped_conv",
    "transposed_conv",
    "linear",
    "global_pool",
    "pool",
    "gate",
    "elementwise",
    "concat",
    "resize",
    "softmax",
)
# Those that multiply maps by weights, all channels together.
PRODUCTS = ("pointwise", "conv", "grouped_conv", "transposed_conv", "linear")
# The activation's kind; its numbers do not change its cost.
ACTIVATIONS = ("", "relu", "clip", "hswish", "hsigmoid", "sigmoid", "other")
# How a runtime computed it, where a record says so and it matters.
VARIANTS = ("", "winograd")
# Larger layers exist nowhere, and their counts would not fit into 64 bits.
_LARGEST_EXTENT, _LARGEST_WINDOW, _MOST_WORK = 2**20, 2**12, 2**53
_ELEMENTWISE = (Activate, Add, BatchNorm, ChannelAffine, ScalarAffine)
_SIMPLE = {
    ConvTranspose2d: "transposed_conv",
    Dense: "linear",
    GlobalAveragePool: "global_pool",
    Pool2d: "pool",
    Concat: "concat",
    Resize: "resize",
    Softmax: "softmax",
}


@dataclass(frozen=True)
class LayerTable:
    """Columns of one length, a layer a row; a dense layer has maps of 1x1.

    `kind`, `activation` and `variant` index `KINDS`, `ACTIVATIONS` and `VARIANTS`. `stride` is the step along the
    height, `stride_w` along the width. `residual` is 1 where a second map is added, `linked` counts the elementwise
    operations computed with the layer (activation, residual, gate). `input_on_chip` and `output_on_chip` are 1 where a
    fused group keeps that map in a cache; `ahead_bytes` is how much of the weights the program has asked for before the
    layer begins. `owner` is the index of the unit, measured or predicted as a whole, of which a layer is a part: 0, 1,
    2... without gaps, in order.
    """

    kind: Integers
    batch: Integers
    h_in: Integers
    w_in: Integers
    c_in: Integers
    h_out: Integers
    w_out: Integers
    c_out: Integers
    kernel_h: Integers
    kernel_w: Integers
    stride: Integers
    stride_w: Integers
    groups: Integers
    activation: Integers
    residual: Integers
    linked: Integers
    variant: Integers
    input_on_chip: Integers
    output_on_chip: Integers
    ahead_bytes: Integers
    owner: Integers

    def __len__(self) -> int:
        return len(self.kind)

    @staticmethod
    def of_rows(rows: Sequence[Sequence[int]]) -> "LayerTable":
        """From rows of numbers in the order of the fields."""
        columns = np.array(rows, np.int64).reshape(len(rows), len(fields(LayerTable)))
        return LayerTable(*np.ascontiguousarray(columns.T))

    @staticmethod
    def of_items(items: Iterable[Sequence[LayerKey]], variants: Sequence[str] | None = None) -> "LayerTable":
        """The layers of items, each a sequence of keys; `variants` names one variant an item.

        Raises UserError for a layer whose cost no model knows.
        """
        rows = [
            (*layer_row(key, variants[owner] if variants else ""), 0, 0, 0, owner)
            for owner, keys in enumerate(items)
            for key in keys
        ]
        return LayerTable.of_rows(rows)

    @staticmethod
    def of_kernels(kernels: Sequence[Sequence[LayerKey]], ahead_bytes: Sequence[int]) -> "LayerTable":
        """Kernels of our own compiler: each a unit, whose maps between its layers stay on chip.

        `ahead_bytes` has an entry a kernel, and is that of its last layer. Raises UserError as `of_items` does.
        """
        table = LayerTable.of_items(kernels)
        read, written, ahead = (np.zeros(len(table), np.int64) for _ in range(3))
        read[table.starts], written[table.ends], ahead[table.ends] = 1, 1, ahead_bytes
        return replace(table, input_on_chip=1 - read, output_on_chip=1 - written, ahead_bytes=ahead)

    @cached_property
    def starts(self) -> Integers:
        """(units,) index of each unit's first layer."""
        return np.flatnonzero(np.diff(self.owner, prepend=-1))

    @property
    def ends(self) -> Integers:
        """(units,) index of each unit's last layer."""
        return np.append(self.starts[1:], len(self)) - 1

    def per_unit_max(self, column: Integers) -> Integers:
        """(units,) the greatest value of a column (layers,) within each unit."""
        return np.asarray(np.maximum.reduceat(column, self.starts) if len(self) else column, np.int64)

    def per_unit_sum(self, column: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(units,) the sum of a column (layers,) within each unit."""
        return np.asarray(np.bincount(self.owner, column), np.float64)

    def take(self, chosen: npt.NDArray[np.bool_] | Integers) -> "LayerTable":
        """The rows chosen by index or mask, `owner` unchanged."""
        return LayerTable(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def is_kind(self, *names: str) -> npt.NDArray[np.bool_]:
        """Where the layer is of one of these kinds."""
        wanted = np.zeros(len(KINDS), np.bool_)
        wanted[[KINDS.index(name) for name in names]] = True
        return wanted[self.kind]

    @property
    def macs(self) -> npt.NDArray[np.float64]:
        """Multiply-accumulates; 0 where the layer is no convolution or product."""
        transposed = self.is_kind("transposed_conv")
        products = self.is_kind("depthwise", *PRODUCTS) & ~transposed
        taps = self.kernel_h * self.kernel_w * (self.c_in // self.groups)
        outputs = self.batch * self.h_out * self.w_out * self.c_out
        spread = self.batch * self.h_in * self.w_in * self.c_out
        return np.asarray((outputs * products + spread * transposed) * taps, np.float64)

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """Weights without biases; 0 where the layer has none."""
        has = self.is_kind("depthwise", *PRODUCTS)
        return np.asarray(has * self.kernel_h * self.kernel_w * (self.c_in // self.groups) * self.c_out, np.float64)

    @property
    def inputs(self) -> npt.NDArray[np.float64]:
        """Elements of the first input."""
        return np.asarray(self.batch * self.h_in * self.w_in * self.c_in, np.float64)

    @property
    def outputs(self) -> npt.NDArray[np.float64]:
        """Elements of the output."""
        return np.asarray(self.batch * self.h_out * self.w_out * self.c_out, np.float64)


def concatenated(tables: Sequence[LayerTable]) -> LayerTable:
    """The rows of all tables; the units of each are numbered after those of the tables before it."""
    units = np.array([0, *(int(table.owner[-1]) + 1 for table in tables)])[:-1].cumsum()
    columns = {
        field.name: np.concatenate([getattr(table, field.name) for table in tables]) for field in fields(LayerTable)
    }
    owner = np.concatenate([table.owner + first for table, first in zip(tables, units, strict=True)])
    return LayerTable(**(columns | {"owner": owner}))


def layer_row(key: LayerKey, variant: str = "") -> tuple[int, ...]:
    """A row of the table but for its last four columns.

    Raises UserError for a layer whose cost no model knows: of another kind, or far larger than any.
    """
    (batch, h_in, w_in, c_in), output = _extents(key.inputs[0].shape), _extents(key.output.shape)
    kind = _kind(key)
    if kind == "concat":
        c_in = output[3]
    _require_size(key, max(h_in * w_in, output[1] * output[2]) * batch, c_in, output[3])
    activation = key.activation.partition("(")[0]
    residual = int(bool(key.residual) or isinstance(key.op, Add))
    return (
        KINDS.index(kind),
        batch,
        h_in,
        w_in,
        c_in,
        *output[1:],
        *key.kernel,
        *key.stride,
        key.groups,
        ACTIVATIONS.index(activation if activation in ACTIVATIONS else "other"),
        residual,
        int(activation != "") + residual * (kind != "elementwise"),
        VARIANTS.index(variant),
    )


def _require_size(key: LayerKey, pixels: int, c_in: int, c_out: int) -> None:
    window = (*key.kernel, *key.stride)
    # An upper bound of every product of extents that is counted of a layer.
    work = pixels * key.kernel[0] * key.kernel[1] * -(-c_in // key.groups) * c_out
    extents = (*key.inputs[0].shape, *key.output.shape)
    if max(extents) > _LARGEST_EXTENT or max(window) > _LARGEST_WINDOW or work > _MOST_WORK:
        raise UserError(f"layer '{key}': is larger than any whose cost a model knows")


def _extents(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    if len(shape) == 4:
        return shape[0], shape[1], shape[2], shape[3]
    return shape[0], 1, 1, shape[-1]


def _kind(key: LayerKey) -> str:
    op: Op = key.op
    if isinstance(op, Conv2d):
        return _convolution_kind(key, op)
    if isinstance(op, Multiply):
        return "gate" if key.inputs[1].elements < key.inputs[0].elements else "elementwise"
    if isinstance(op, _ELEMENTWISE):
        return "elementwise"
    if type(op) not in _SIMPLE:
        raise UserError(f"layer '{key}': no cost model knows a layer of kind '{key.kind}'")
    return _SIMPLE[type(op)]


def _convolution_kind(key: LayerKey, op: Conv2d) -> str:
    if op.groups == key.inputs[0].channels == key.output.channels and op.groups > 1:
        return "depthwise"
    if op.groups > 1:
        return "grouped_conv"
    if op.kernel != (1, 1):
        return "conv"
    return "linear" if key.inputs[0].spatial == (1, 1) else "pointwise"
