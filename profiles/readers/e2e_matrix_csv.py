"""End-to-end latencies of networks as a matrix, of qed-usc's mobile-ml-benchmark (MIT): `e2e_tflite_cnn_e2e_us.csv`.

One row is a network; a column `DEVICE|CORES|PRECISION|mean` holds its mean latency in microseconds, `...|std` the
standard deviation; an empty pair was not measured. CORES is `gpu`, or threads and the kind of core each is pinned to:
`1large`, `2small`, `1large2med`. PRECISION is float or quant (int8). Rows become networks on processor `gpu`, or
`cpu:large`, `cpu:large+med` and so on, with the sum of the cores as threads. A GPU's float is fp16 in TFLite, whose
delegate computes so unless told otherwise, and fp32 elsewhere.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mnv3c.graph.errors import UserError
from mnv3c.profiles.readers.csv_table import Row, named_cells, raw_rows
from mnv3c.profiles.readers.origin import NOTHING_STATED, Origin
from mnv3c.profiles.record import Record, record_of

OTHER_COLUMNS = ("model", "flops", "size")
_CORES = re.compile(r"(?:[1-9]\d*[a-z]+)+")
_CORE = re.compile(r"(\d+)([a-z]+)")
_RUNTIME = re.compile(r"[a-z0-9]+_(tflite|torch|[a-z]+)_.*")
_FORMAT = Origin(source="mobile-ml-benchmark", licence="MIT")


@dataclass(frozen=True)
class _Column:
    """What a column `DEVICE|CORES|PRECISION|mean` is about."""

    device: str
    cores: str
    precision: Literal["float", "quant"]

    @property
    def threads(self) -> int:
        return 1 if self.cores == "gpu" else sum(int(count) for count, _ in _CORE.findall(self.cores))

    @property
    def processor(self) -> str:
        return "gpu" if self.cores == "gpu" else "cpu:" + "+".join(kind for _, kind in _CORE.findall(self.cores))

    def precision_on(self, runtime: str | None) -> str:
        if self.precision == "quant":
            return "int8"
        return "fp16" if self.cores == "gpu" and runtime == "tflite" else "fp32"


def read(path: Path, stated: Origin = NOTHING_STATED) -> tuple[Record, ...]:
    """The records of a matrix of networks and devices, row by row. Raises UserError naming file, line and column."""
    rows = raw_rows(path)
    _, names = next(rows)
    columns = _columns(path, names)
    match = _RUNTIME.fullmatch(path.name.lower())
    origin = stated.over(_FORMAT).over(Origin(runtime=match[1] if match else None))
    records: list[Record] = []
    for line, cells in rows:
        # The authors end lines with a comma.
        while len(cells) > len(names) and not cells[-1]:
            cells.pop()
        records += _records(Row(path, line, named_cells(path, line, names, cells)), columns, origin)
    if not records:
        raise UserError(f"{path}: has no latency in it")
    return tuple(records)


def is_matrix(names: Sequence[str]) -> bool:
    """Whether this is such a table's header."""
    return "model" in names and any(name.count("|") == 3 for name in names)


def _columns(path: Path, names: Sequence[str]) -> dict[str, _Column]:
    """What each pair of columns is about, by what their names share."""
    found: dict[str, _Column] = {}
    for name in names:
        if not name or name.lower() in OTHER_COLUMNS:
            continue
        stem, _, statistic = name.rpartition("|")
        device, *rest = stem.split("|")
        cores, precision = rest if len(rest) == 2 else ("", "")
        fits = statistic in ("mean", "std") and (cores == "gpu" or _CORES.fullmatch(cores))
        if not (device and fits and precision in ("float", "quant")):
            others = ", ".join(OTHER_COLUMNS)
            raise UserError(
                f"{path}:1: column {name!r:.60} must be DEVICE|CORES|float or quant|mean or std, such as "
                f"pixel4|1large|float|mean, or one of {others}"
            )
        found[stem] = _Column(device, cores, "float" if precision == "float" else "quant")
    if len(set(names)) != len(names):
        raise UserError(f"{path}:1: a column appears twice")
    return found


def _records(row: Row, columns: dict[str, _Column], origin: Origin) -> list[Record]:
    network = row.network("model")
    records = []
    for stem, column in columns.items():
        if row.text(f"{stem}|mean") is None:
            continue
        std_us = row.optional_number(f"{stem}|std")
        values = origin.record_fields() | {
            "work": network,
            "device": column.device,
            "processor": column.processor,
            "precision": column.precision_on(origin.runtime),
            "threads": column.threads,
            "latency_ms": row.number(f"{stem}|mean") / 1e3,
            "statistic": "mean",
            "std_ms": None if std_us is None else std_us / 1e3,
            "tags": {"cores": column.cores},
        }
        records.append(record_of(values, row.origin))
    return records
