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
Stated = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="What the rows do not tell: device, processor, runtime, precision, threads."
    ),
]
ProfileOption = Annotated[
    str, typer.Option("--device", metavar="PROFILE", help="A profile's file, or the name of a shipped one.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def read_files(paths: list[Path], where: list[str] | None, stated: list[str] | None = None) -> "tuple[Record, ...]":
    """The records of all files that match.

    Raises UserError as the readers do, and for a condition or a statement that is not KEY=VALUE.
    """
    from mnv3c.profiles.readers.detect import read_records
    from mnv3c.profiles.readers.origin import stated_origin

    conditions = _pairs("--where", where, "device=pixel4")
    origin = stated_origin(_pairs("--set", stated, "processor=gpu"))
    return tuple(record for path in paths for record in read_records(path, conditions, origin))


def _pairs(option: str, texts: list[str] | None, example: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UserError(f"{option} must be KEY=VALUE, as {example}, not '{text}'")
        pairs[key] = value
    return pairs
