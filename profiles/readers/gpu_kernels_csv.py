"""Kernels of the TFLite GPU delegate: the table of qed-usc's mobile-ml-benchmark (EdgeSys'24, MIT).

`device,gpu,model,op,h_in,c_in,h_out,c_out,kernel,stride,groups,flops,kernel_name,latency_us`. One row is one kernel of
one network (`model`) on one GPU. What the columns mean depends on `op`:

    conv_2d, conv_2d_group      c_in to c_out channels, SAME padding or none, as h_out tells
    depthwise_conv_2d           c_in channels; h_in is that of the *padded* input; c_out is the multiplier, 1,
                                or c_in
    fully_connected             c_in to c_out features
    mean                        global average pool of c_in channels
    average_pool_2d, max_pool_2d    SAME padding or none, as h_out tells
    concatenation               `kernel` inputs, the first of c_in channels; the others are taken to share the rest of
                                c_out evenly

`kernel_name` numbers its ops within the network (`convolution_2d_15_linked_:_relu_16`). The record's variant is the
name without the numbers (`convolution_2d+relu`), tags `gpu`, `model` and `kernel_name` keep the columns. The layer's
key has of the linked ops what a layer can carry: one addition of a tensor, and one of h-swish, relu, relu6 and
sigmoid.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from mnv3c.graph.activation import HSWISH, RELU, RELU6, SIGMOID
from mnv3c.graph.errors import UserError
from mnv3c.graph.layer import LayerKey
from mnv3c.graph.networks.builder import same_padding
from mnv3c.graph.ops import Concat, Conv2d, Dense, GlobalAveragePool, Padding, Pool2d, ResidualOrder
from mnv3c.graph.shapes import ShapeError
from mnv3c.graph.tensor import TensorType
from mnv3c.profiles.layer_keys import convolution_key
from mnv3c.profiles.readers.csv_table import Columns, Row, read_rows
from mnv3c.profiles.readers.origin import NOTHING_STATED, Origin, named_origin
from mnv3c.profiles.record import Record, record_of
from mnv3c.profiles.work import KernelWork

COLUMNS = Columns(
    required=(
        *("device", "model", "op", "h_in", "c_in", "h_out", "c_out", "kernel", "stride", "groups"),
        *("kernel_name", "latency_us"),
    ),
    optional=("gpu", "std_us", "count"),
    ignored=("flops",),
)
OPS = (
    *("conv_2d", "conv_2d_group", "depthwise_conv_2d", "fully_connected", "mean"),
    *("average_pool_2d", "max_pool_2d", "concatenation"),
)
_FORMAT = Origin(processor="gpu", runtime="tflite", precision="fp16", source="mobile-ml-benchmark", licence="MIT")
_NUMBER = re.compile(r"_\d+(?=_linked|$)")
# x * relu6(x + 3), the sixth of it scaled elsewhere; or the op itself.
_HSWISH = r"add\+(minimum\+)?relu6?\+mul|hard_swish"
_ACTIVATIONS = ((_HSWISH, HSWISH), (r"minimum\+relu|relu6", RELU6), ("relu", RELU), ("sigmoid", SIGMOID))
# Cells that tell the work, in the order of the memo's key.
_SHAPE = ("op", "h_in", "c_in", "h_out", "c_out", "kernel", "stride", "groups")


def read(path: Path, stated: Origin = NOTHING_STATED) -> tuple[Record, ...]:
    """The records of a table of GPU kernels. Raises UserError naming file, line and column."""
    origin = stated.over(_FORMAT).over(named_origin(path))
    works: dict[tuple[str, ...], KernelWork] = {}
    records = []
    for row in read_rows(path, COLUMNS):
        variant = variant_of(row.word("kernel_name"))
        # The same kernel runs on each device and in many networks.
        shape = (variant, *(row.cells[column] for column in _SHAPE))
        work = works.get(shape)
        if work is None:
            work = works[shape] = _work(row, variant)
        records.append(_record(row, work, origin))
    return tuple(records)


def variant_of(kernel_name: str) -> str:
    """A kernel's name without the numbers of its ops: `convolution_2d_15_linked_:_relu_16` is `convolution_2d+relu`."""
    return "+".join(_NUMBER.sub("", part) for part in kernel_name.split("_linked_:_"))


def _record(row: Row, work: KernelWork, origin: Origin) -> Record:
    std_us = row.optional_number("std_us")
    tags = {"gpu": row.text("gpu"), "model": row.word("model"), "kernel_name": row.word("kernel_name")}
    return record_of(
        origin.record_fields()
        | {
            "device": row.word("device"),
            "work": work,
            "latency_ms": row.number("latency_us") / 1e3,
            "statistic": "mean",
            "std_ms": None if std_us is None else std_us / 1e3,
            "n": row.optional_integer("count"),
            "tags": {name: value for name, value in tags.items() if value is not None},
        },
        row.origin,
    )


def _work(row: Row, variant: str) -> KernelWork:
    op = row.word("op")
    if op not in OPS:
        raise row.error("op", f"must be one of {', '.join(OPS)}")
    try:
        key = _linked(_key(row, op), variant.split("+")[1:])
        return KernelWork(key, variant)
    except ShapeError as error:
        raise UserError(f"{row.origin}: {op}: {error}") from None
    except ValueError as error:
        raise UserError(f"{row.origin}: {error}") from None


def _key(row: Row, op: str) -> LayerKey:
    c_in = row.integer("c_in")
    match op:
        case "fully_connected":
            return LayerKey(Dense(row.integer("c_out"), bias=True), (TensorType((1, c_in)),))
        case "mean":
            size = row.integer("h_in")
            return LayerKey(GlobalAveragePool(), (TensorType((1, size, size, c_in)),))
        case "concatenation":
            return _concatenation(row, c_in)
        case "average_pool_2d" | "max_pool_2d":
            window = _window(row)
            shape = (TensorType((1, window.size, window.size, c_in)),)
            pool = Pool2d(
                "max" if op == "max_pool_2d" else "average",
                kernel=(window.kernel, window.kernel),
                stride=(window.stride, window.stride),
                padding=window.padding(row),
            )
            return LayerKey(pool, shape)
        case _:
            return _convolution(row, op, c_in)


@dataclass(frozen=True)
class _Window:
    """The extents of a sliding window, in pixels."""

    size: int
    kernel: int
    stride: int
    size_out: int

    def padding(self, row: Row) -> Padding:
        """SAME padding if the output has its size, else none."""
        if self.size_out == -(-self.size // self.stride):
            return same_padding((self.size, self.size), self.kernel, self.stride, 1)
        if self.size_out == (self.size - self.kernel) // self.stride + 1:
            return (0, 0, 0, 0)
        raise row.error("h_out", "must be what h_in, kernel and stride give with SAME padding or without any")


def _window(row: Row) -> _Window:
    return _Window(*(row.integer(column) for column in ("h_in", "kernel", "stride", "h_out")))


def _convolution(row: Row, op: str, c_in: int) -> LayerKey:
    window = _window(row)
    depthwise = op == "depthwise_conv_2d"
    if depthwise and row.integer("c_out") not in (1, c_in):
        raise row.error("c_out", f"must be 1, the multiplier of a depthwise convolution, or its {c_in} channels")
    # The padding of a depthwise convolution is a part of its input already.
    padding = (0, 0, 0, 0) if depthwise else window.padding(row)
    key = convolution_key(
        window.size,
        c_in,
        c_in if depthwise else row.integer("c_out"),
        kernel=window.kernel,
        stride=window.stride,
        groups=c_in if depthwise else row.integer("groups"),
        same=padding != (0, 0, 0, 0),
    )
    if key.output.spatial[0] != window.size_out:
        raise row.error("h_out", f"must be {key.output.spatial[0]}, as h_in, kernel and stride give without padding")
    return key


def _concatenation(row: Row, c_in: int) -> LayerKey:
    size, inputs, total = row.integer("h_in"), row.integer("kernel", least=2), row.integer("c_out")
    rest, others = total - c_in, inputs - 1
    if rest < others:
        raise row.error("c_out", f"must be at least {c_in + others}, a channel for each input")
    channels = (c_in, *(rest // others + (index < rest % others) for index in range(others)))
    return LayerKey(Concat(), tuple(TensorType((1, size, size, each)) for each in channels))


def _linked(key: LayerKey, ops: list[str]) -> LayerKey:
    """The layer with what it can carry of the ops linked to its kernel."""
    text = "+".join(ops)
    activation = next((activation for names, activation in _ACTIVATIONS if re.search(names, text)), None)
    # Of a composed h-swish the addition is that of a constant.
    ops = re.sub(_HSWISH, "", text).split("+")
    if isinstance(key.op, Dense):
        return LayerKey(replace(key.op, activation=activation), key.inputs)
    if not isinstance(key.op, Conv2d):
        return key
    op = replace(key.op, activation=activation)
    if "add" not in ops:
        return LayerKey(op, key.inputs)
    order: ResidualOrder = "after_activation" if activation and ops[0] != "add" else "before_activation"
    return LayerKey(replace(op, residual=order), (*key.inputs, key.output))
