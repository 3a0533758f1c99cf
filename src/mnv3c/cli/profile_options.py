"""Options that the commands about profiles share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnv3c.graph.errors import UserError

if TYPE_CHECKING:
    from mnv3c.profiles.record import Record

RecordFiles = Annotated[
    list[Path],
    typer.Argument(metavar="RECORDS...", help="Measured rows: .jsonl, .csv, or another format that is known."),
]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="KEY=VALUE", help="Only rows with this value, as device=pixel4. Repeat for more."),
]
ProfileOption = Annotated[
    str, typer.Option("--device", metavar="PROFILE", help="A profile's file, or the name of a shipped one.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def read_files(paths: list[Path], where: list[str] | None) -> "tuple[Record, ...]":
    """The records of all files that match. Raises UserError as the readers do, and for a condition without `=`."""
    from mnv3c.profiles.readers.detect import read_records

    conditions: dict[str, str] = {}
    for text in where or []:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UserError(f"--where must be KEY=VALUE, as device=pixel4, not '{text}'")
        conditions[key] = value
    return tuple(record for path in paths for record in read_records(path, conditions))
