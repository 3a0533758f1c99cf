"""Tables of inverted residual blocks: `blocks_pixel4_cpu_tflite_fp32.csv` and its like. One row is one block.

Needed are `h_in` (height = width), `c_in`, `c_out`, `c_expand`, `kernel` (of the depthwise), `stride` and `latency_ms`
(a mean). Optional are `se` (0 unless given), `activation`, `skip` (given by the shape where absent: stride 1 and c_in
equal to c_out), `std_ms`, `count`, `min_ms`, `max_ms`; `device`, `processor`, `runtime`, `precision`, `threads`, which
hold for their row; and `key`, the row's name in a once-for-all table. Columns `h_out`, `index`, `macs`, `flops` and
`params` are passed over, any other is an error. `op` says what the row is:

    block, mbconv, inverted_residual, expanded_conv           all of the above
    conv, conv2d                                              c_in to c_out; `kernel` and `stride` are 1 where empty
    stem, first_conv                                          a convolution of kernel 3 and stride 2 where empty
    pointwise, pw, head, last, final_conv, conv_1, conv_2, final_expand_layer, feature_mix_layer    a 1x1 convolution
    depthwise, dw, depthwise_conv2d                           c_in channels; `kernel` is 3 where empty
    dense, fc, linear, logits, classifier, fully_connected    a matrix-vector product; `h_in` stays empty or 1
    pool, avgpool, avgpool2d, global_average_pool             c_in channels

`layer`, `type` and `name` are read likewise, and may hold other words. Where no column says what a row is, it is a
block if it has a `c_expand` above 0, else what its `key` says, else the stem if `c_in` is 3 and it has no kernel, else
a dense layer if it has no `h_in`, else a convolution. `activation` is hswish, relu or relu6; empty or none in other
rows.
"""

from pathlib import Path
from types import MappingProxyType
from typing import Any

from mnv3c.graph.activation import Activation
from mnv3c.graph.errors import UserError
from mnv3c.graph.layer import LayerKey
from mnv3c.graph.ops import Dense, GlobalAveragePool
from mnv3c.graph.tensor import TensorType
from mnv3c.profiles.block import Block, block_activation
from mnv3c.profiles.layer_keys import convolution_key
from mnv3c.profiles.readers.csv_table import Columns, Row, read_rows
from mnv3c.profiles.readers.lookup_keys import is_lookup_key, parse_key
from mnv3c.profiles.readers.origin import NOTHING_STATED, Origin, named_origin
from mnv3c.profiles.record import Record, record_of
from mnv3c.profiles.work import LayerWork, Work

COLUMNS = Columns(
    required=("h_in", "c_in", "c_out", "c_expand", "kernel", "stride", "latency_ms"),
    optional=(
        *("se", "activation", "skip", "std_ms", "count", "min_ms", "max_ms", "key", "op", "layer", "type", "name"),
        *("device", "processor", "runtime", "precision", "threads"),
    ),
    ignored=("h_out", "index", "macs", "flops", "params"),
)
# The first is strict; the others may hold a name that says no op.
_OP_COLUMNS = ("op", "layer", "type", "name")
_OPS = MappingProxyType(
    {
        **dict.fromkeys(("block", "mbconv", "inverted_residual", "expanded_conv"), "block"),
        **dict.fromkeys(("conv", "conv2d"), "conv"),
        **dict.fromkeys(("stem", "first_conv"), "stem"),
        **dict.fromkeys(("depthwise", "dw", "depthwise_conv2d"), "depthwise"),
        **dict.fromkeys(("pointwise", "pw", "head", "last", "final_conv"), "pointwise"),
        **dict.fromkeys(("conv_1", "conv_2", "final_expand_layer", "feature_mix_layer"), "pointwise"),
        **dict.fromkeys(("dense", "fc", "linear", "logits", "classifier", "fully_connected"), "dense"),
        **dict.fromkeys(("pool", "avgpool", "avgpool2d", "global_average_pool"), "pool"),
    }
)
_ACTIVATIONS = MappingProxyType(
    {
        **dict.fromkeys(("hswish", "h_swish", "h-swish", "hard_swish", "hardswish"), "hswish"),
        **dict.fromkeys(("relu",), "relu"),
        **dict.fromkeys(("relu6",), "relu6"),
        **dict.fromkeys(("none", "linear", "identity"), ""),
    }
)


def read(path: Path, stated: Origin = NOTHING_STATED) -> tuple[Record, ...]:
    """The records of a table of blocks. What is `stated` goes before what the file's name tells.

    Raises UserError naming file, line and column.
    """
    origin = stated.over(named_origin(path))
    return tuple(_record(row, origin) for row in read_rows(path, COLUMNS))


def _record(row: Row, origin: Origin) -> Record:
    given = Origin(
        **{name: row.text(name) for name in ("device", "processor", "runtime", "precision")},
        threads=row.optional_integer("threads"),
    )
    values: dict[str, Any] = given.over(origin).record_fields()
    values |= {
        "work": _work(row),
        "latency_ms": row.number("latency_ms"),
        "statistic": "mean",
        "std_ms": row.optional_number("std_ms"),
        "n": row.optional_integer("count"),
        "min_ms": row.optional_number("min_ms"),
        "max_ms": row.optional_number("max_ms"),
        "tags": {name: value for name in ("key", *_OP_COLUMNS) if (value := row.text(name)) is not None},
    }
    return record_of(values, row.origin)


def _work(row: Row) -> Work:
    op = _op(row)
    try:
        if op is None:
            return parse_key(row.word("key"), "once-for-all")
        if op == "block":
            return _block(row)
        return LayerWork(_layer(row, op))
    except ValueError as error:
        raise UserError(f"{row.origin}: {error}") from None


def _op(row: Row) -> str | None:
    """The op that a row is of; None where its key tells."""
    for column in _OP_COLUMNS:
        text = row.text(column)
        op = _OPS.get(text.lower()) if text else None
        if op is not None:
            return op
        if text and column == "op":
            raise row.error(column, f"must be one of {', '.join(_OPS)}")
    if row.optional_integer("c_expand", least=0):
        return "block"
    if is_lookup_key(row.text("key") or ""):
        return None
    if row.integer("c_in") == 3 and not row.optional_integer("kernel", least=0):
        return "stem"
    return "conv" if row.optional_integer("h_in", least=0) else "dense"


def _block(row: Row) -> Block:
    c_in, c_out, stride = row.integer("c_in"), row.integer("c_out"), row.integer("stride")
    skip = row.truth("skip")
    return Block(
        h_in=row.integer("h_in"),
        c_in=c_in,
        c_out=c_out,
        c_expand=row.integer("c_expand"),
        kernel=row.integer("kernel"),
        stride=stride,
        se=bool(row.truth("se")),
        activation=block_activation(_activation_name(row)),
        skip=Block.may_skip(c_in, c_out, stride) if skip is None else skip,
    )


def _layer(row: Row, op: str) -> LayerKey:
    name = _activation_name(row)
    activation = Activation(block_activation(name)) if name else None
    c_in = row.integer("c_in")
    size = row.optional_integer("h_in", least=0) or 1
    kernel = row.optional_integer("kernel", least=0) or (3 if op in ("stem", "depthwise") else 1)
    stride = row.optional_integer("stride", least=0) or (2 if op == "stem" else 1)
    match op:
        case "dense":
            if size != 1:
                raise row.error("h_in", "must be empty or 1 for a dense layer")
            return LayerKey(Dense(row.integer("c_out"), bias=True, activation=activation), (TensorType((1, c_in)),))
        case "pool":
            return LayerKey(GlobalAveragePool(), (TensorType((1, size, size, c_in)),))
        case "depthwise":
            return convolution_key(size, c_in, c_in, kernel=kernel, stride=stride, groups=c_in, activation=activation)
        case _:
            c_out = row.integer("c_out")
            return convolution_key(size, c_in, c_out, kernel=kernel, stride=stride, activation=activation)


def _activation_name(row: Row) -> str:
    text = row.text("activation") or "none"
    name = _ACTIVATIONS.get(text.lower())
    if name is None:
        raise row.error("activation", f"must be one of {', '.join(_ACTIVATIONS)}")
    return name
