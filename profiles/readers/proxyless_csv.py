"""ProxylessNAS blocks as CSV: `hin,cin,hout,cout,expand_ratio,kernel,stride,idskip,count,mean_ms,std_ms,key`.

One row is one inverted residual block with ReLU6 and no squeeze-excite; latency is a mean. `hout` may be absent.
"""

from pathlib import Path

from mnv3c.graph.errors import UserError
from mnv3c.profiles.block import Block
from mnv3c.profiles.readers.csv_table import Columns, Row, read_rows
from mnv3c.profiles.readers.origin import NOTHING_STATED, Origin, named_origin
from mnv3c.profiles.record import Record, record_of

COLUMNS = Columns(
    required=("hin", "cin", "cout", "expand_ratio", "kernel", "stride", "idskip", "mean_ms"),
    optional=("hout", "count", "std_ms", "key"),
)


def read(path: Path, stated: Origin = NOTHING_STATED) -> tuple[Record, ...]:
    """The records of a table of ProxylessNAS blocks. Raises UserError naming file, line and column."""
    origin = stated.over(named_origin(path))
    return tuple(_record(row, origin) for row in read_rows(path, COLUMNS))


def _record(row: Row, origin: Origin) -> Record:
    key = row.text("key")
    return record_of(
        origin.record_fields()
        | {
            "work": _block(row),
            "latency_ms": row.number("mean_ms"),
            "statistic": "mean",
            "std_ms": row.optional_number("std_ms"),
            "n": row.optional_integer("count"),
            "tags": {} if key is None else {"key": key},
        },
        row.origin,
    )


def _block(row: Row) -> Block:
    c_in = row.integer("cin")
    try:
        block = Block(
            h_in=row.integer("hin"),
            c_in=c_in,
            c_out=row.integer("cout"),
            c_expand=c_in * row.integer("expand_ratio"),
            kernel=row.integer("kernel"),
            stride=row.integer("stride"),
            se=False,
            activation="relu6",
            skip=bool(row.truth("idskip")),
        )
    except ValueError as error:
        raise UserError(f"{row.origin}: {error}") from None
    if row.optional_integer("hout") not in (None, block.h_out):
        raise row.error("hout", f"must be {block.h_out}, as hin and stride tell")
    return block
