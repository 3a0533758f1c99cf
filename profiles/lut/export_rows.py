"""Tables as rows of numbers: CSV and Parquet, an entry a row."""

import csv
import io
from pathlib import Path
from typing import Any

from mnv3c.graph.whole_file import whole_file, write_whole
from mnv3c.profiles.lut.table import Entry, Table

FILE_STEM = "lut"


def export_csv(table: Table, folder: Path) -> tuple[Path, ...]:
    """`lut.csv` with a header. Raises MissingError where the disk refuses."""
    text, path = io.StringIO(), folder / f"{FILE_STEM}.csv"
    rows = [_row(table, entry) for entry in table.entries]
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(row | {"resolutions": " ".join(map(str, row["resolutions"]))} for row in rows)
    write_whole(path, text.getvalue())
    return (path,)


def export_parquet(table: Table, folder: Path) -> tuple[Path, ...]:
    """`lut.parquet`; `resolutions` is a column of lists. Raises MissingError where the disk refuses."""
    # Loading pyarrow takes as long as making a small table.
    import pyarrow
    from pyarrow import parquet

    path = folder / f"{FILE_STEM}.parquet"
    rows = [_row(table, entry) for entry in table.entries]
    columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
    with whole_file(path) as temporary:
        parquet.write_table(pyarrow.table(columns), temporary)
    return (path,)


def _row(table: Table, entry: Entry) -> dict[str, Any]:
    identity = table.identity
    return {
        "work": str(entry.unit),
        "p50_ms": entry.p50_ms,
        "p90_ms": entry.p90_ms,
        "low_ms": entry.low_ms,
        "high_ms": entry.high_ms,
        "n": entry.n,
        "provenance": entry.provenance,
        "in_range": entry.in_range,
        "resolutions": list(entry.resolutions),
        "device": identity.device,
        "processor": identity.processor,
        "runtime": identity.runtime,
        "dtype": identity.precision,
        "threads": identity.threads,
    }
