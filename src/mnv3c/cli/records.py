"""`mnv3c records`: look at files of tuning records, and merge them."""

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnv3c.graph.errors import UserError

if TYPE_CHECKING:
    from mnv3c.compiler.tune.record import Record

_TABLE_WIDTH = 200

records = typer.Typer(help="Show and merge tuning records.", no_args_is_help=True, rich_markup_mode="rich")


@records.command("merge")
def merge(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of records (.jsonl).")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write all of them.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Write the records of several files into one, the newest of each candidate.

    Example: mnv3c records merge a.jsonl b.jsonl -o both.jsonl
    """
    from mnv3c.compiler.tune.store import merge_records, write_records

    stores = [_read(path) for path in files]
    merged = merge_records(stores)
    write_records(output, merged)
    document = {"path": str(output), "records": len(merged), "read": sum(map(len, stores))}
    typer.echo(json.dumps(document) if as_json else f"{output}: {len(merged)} records of {document['read']}")


@records.command("show")
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of records (.jsonl).")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Show what a file of records says of each layer, and which candidates failed why.

    Example: mnv3c records show both.jsonl
    """
    known = _read(file)
    if as_json:
        typer.echo(json.dumps({"records": [record.model_dump(mode="json") for record in known]}))
        return
    _print_layers(known)
    for record in known:
        if record.status != "ok":
            typer.echo(f"{record.status}: {record.layer}: {record.candidate}: {record.reason}")
    statuses = Counter(record.status for record in known)
    typer.echo(", ".join([f"{len(known)} records", *(f"{n} {status}" for status, n in sorted(statuses.items()))]))


def _read(path: Path) -> "tuple[Record, ...]":
    from mnv3c.compiler.tune.store import RecordStore

    if not path.is_file():
        raise UserError(f"{path}: no such file")
    return RecordStore(path).records


def _print_layers(known: "tuple[Record, ...]") -> None:
    from rich.console import Console
    from rich.table import Table

    from mnv3c.compiler.tune.choice import scores

    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in known:
        *key, _ = record.key
        groups.setdefault(tuple(key), []).append(record)
    table = Table(box=None, pad_edge=False)
    for header in ("device", "sources"):
        table.add_column(header, no_wrap=True)
    for header in ("threads", "tried", "best us"):
        table.add_column(header, justify="right", no_wrap=True)
    for header in ("fastest", "layer"):
        table.add_column(header, no_wrap=True)
    for group in groups.values():
        found, first = scores(group), group[0]
        best = min(found, key=lambda name: found[name].latency_us, default="-")
        time_us = f"{found[best].latency_us:.1f}" if found else "-"
        where = (f"{first.target}/{first.device}", first.kernels[:6], str(first.threads))
        table.add_row(*where, str(len(group)), time_us, best, first.layer)
    console = Console(markup=False, highlight=False)
    console.width = max(console.width, _TABLE_WIDTH)
    console.print(table)
