"""TopHub: the best AutoTVM cost of each convolution workload on a device, `device,task,type,...,dtype,cost_ms`.

`type` is pw, dw or conv; one image, `hin` pixels a side; padding, which the table does not tell, is taken to be SAME.
`task` is the template and the backend (`conv2d_nchw_winograd.mali`): the template is the record's variant, the backend
tells the processor. Of rows that differ only in their cost the least counts. Rows without shapes are left out.
"""

from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

from mnv3c.graph.errors import UserError
from mnv3c.profiles.layer_keys import convolution_key
from mnv3c.profiles.readers.csv_table import Columns, Row, read_rows
from mnv3c.profiles.readers.origin import NOTHING_STATED, Origin
from mnv3c.profiles.record import Record, RecordKey, record_of
from mnv3c.profiles.work import KernelWork

COLUMNS = Columns(
    required=("device", "task", "type", "batch", "hin", "cin", "cout", "kernel", "stride", "dtype", "cost_ms")
)
_FORMAT = Origin(runtime="tvm", source="tophub")
_PROCESSORS = MappingProxyType(
    {"arm_cpu": "cpu", "x86": "cpu", "mali": "gpu", "image2d": "gpu", "cuda": "gpu", "gpu": "gpu", "vta": "vta"}
)
_PRECISIONS = MappingProxyType({"float32": "fp32", "float16": "fp16", "int8": "int8"})
_TYPES = ("pw", "dw", "conv")


def read(path: Path, stated: Origin = NOTHING_STATED) -> tuple[Record, ...]:
    """The records of a TopHub table. Raises UserError naming file, line and column."""
    origin = stated.over(_FORMAT)
    best: dict[RecordKey, Record] = {}
    for row in read_rows(path, COLUMNS):
        if row.text("type") is None:
            continue
        record = _record(row, origin)
        known = best.setdefault(record.key, record)
        if record.latency_ms < known.latency_ms:
            best[record.key] = record
    return tuple(best.values())


def left_out(path: Path) -> Iterator[str]:
    """A line for each row that `read` leaves out, and why."""
    for row in read_rows(path, COLUMNS):
        if row.text("type") is None:
            yield f"{row.origin}: {row.word('task')}: the table does not tell its shape"


def _record(row: Row, origin: Origin) -> Record:
    template, _, backend = row.word("task").rpartition(".")
    if backend not in _PROCESSORS or not template:
        raise row.error("task", f"must be TEMPLATE.BACKEND with a backend of {', '.join(_PROCESSORS)}")
    precision = _PRECISIONS.get(row.word("dtype"))
    if precision is None:
        raise row.error("dtype", f"must be one of {', '.join(_PRECISIONS)}")
    values = origin.record_fields() | {
        "processor": _PROCESSORS[backend],
        "precision": precision,
        "work": _work(row, template),
        "latency_ms": row.number("cost_ms"),
        "statistic": "mean",
    }
    device = row.text("device")
    if device not in (None, "?"):
        values["device"] = device
    return record_of(values, row.origin)


def _work(row: Row, template: str) -> KernelWork:
    kind = row.word("type")
    if kind not in _TYPES:
        raise row.error("type", f"must be one of {', '.join(_TYPES)}, or empty")
    if row.integer("batch") != 1:
        raise row.error("batch", "must be 1")
    c_in, c_out = row.integer("cin"), row.integer("cout")
    if kind == "dw" and c_in != c_out:
        raise row.error("cout", f"must be {c_in}, as cin, in a depthwise convolution")
    try:
        key = convolution_key(
            row.integer("hin"),
            c_in,
            c_out,
            kernel=row.integer("kernel"),
            stride=row.integer("stride"),
            groups=c_in if kind == "dw" else 1,
        )
        return KernelWork(key, template)
    except ValueError as error:
        raise UserError(f"{row.origin}: {error}") from None
