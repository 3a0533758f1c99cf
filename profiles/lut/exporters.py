"""The formats that a table can be written in, by name."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from mnv3c.profiles.lut.export_lookup import export_ofa, export_proxyless
from mnv3c.profiles.lut.export_nn_meter import export_nn_meter
from mnv3c.profiles.lut.export_rows import export_csv, export_parquet
from mnv3c.profiles.lut.table import Table
from mnv3c.profiles.lut.table_file import write_table

TABLE_FILE = "lut.json"
Exporter = Callable[[Table, Path], tuple[Path, ...]]


def export_json(table: Table, folder: Path) -> tuple[Path, ...]:
    """`lut.json`, the canonical form. Raises MissingError where the disk refuses."""
    path = folder / TABLE_FILE
    write_table(path, table)
    return (path,)


EXPORTERS: Mapping[str, Exporter] = MappingProxyType(
    {
        "json": export_json,
        "ofa": export_ofa,
        "proxyless": export_proxyless,
        "nn-meter": export_nn_meter,
        "csv": export_csv,
        "parquet": export_parquet,
    }
)
