"""`mnv3c records`: look at files of tuning records, and merge them."""

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnv3c.cli.layer_names import TABLE_WIDTH, short
from mnv3c.cli.wide_console import wide_console
from mnv3c.graph.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mnv3c.compiler.tune.record import Record

_NUMBERS = ("threads", "tried", "best us", "est. cycles", "instr/MAC")
_COLUMNS = ("device", "sources", *_NUMBERS, "fastest", "layer")

records = typer.Typer(help="Show and merge tuning records.", no_args_is_help=True, rich_markup_mode="rich")


@records.command("merge")
def merge(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of records (.jsonl).")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write all of them.")],
    best: Annotated[bool, typer.Option("--best", help="Keep only what choosing kernels needs of each layer.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Write the records of several files into one, the newest of each candidate.

    With --best the file is small enough to be shipped, and compile chooses as by all of the records.

    Example: mnv3c records merge a.jsonl b.jsonl -o both.jsonl
    """
    from mnv3c.compiler.tune.digest import best_records
    from mnv3c.compiler.tune.store import merge_records, write_records

    stores = [_read(path) for path in files]
    merged = merge_records(stores)
    if best:
        merged = best_records(merged)
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
    from rich.table import Table

    from mnv3c.compiler.tune.estimate import LABEL

    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in known:
        *key, _ = record.key
        groups.setdefault((*key, record.model), []).append(record)
    table = Table(box=None, pad_edge=False)
    for header in _COLUMNS:
        table.add_column(header, justify="right" if header in _NUMBERS else "left", no_wrap=True)
    for group in groups.values():
        table.add_row(*_row(group))
    console = wide_console(TABLE_WIDTH)
    models = sorted({record.model for record in known if record.model})
    if models:
        console.print(f"est. cycles, instr/MAC: {LABEL}; model {', '.join(models)}", soft_wrap=True)
    console.print(table)


def _row(group: "Sequence[Record]") -> tuple[str, ...]:
    """What the records of one layer say, by `_COLUMNS`."""
    from mnv3c.compiler.opencl.tune.device import POCL_CLASS
    from mnv3c.compiler.tune.choice import estimates, scores

    times_us, first = {name: score.latency_us for name, score in scores(group).items()}, group[0]
    cycles = estimates(group)
    costs = times_us or cycles
    best = min(costs, key=lambda name: costs[name], default="-")
    per_mac = {record.candidate: record.instructions_per_mac for record in group}.get(best)
    return (
        f"{first.target}/{first.device}" + (" on PoCL" if first.device_class.startswith(POCL_CLASS) else ""),
        first.kernels[:6],
        str(first.threads),
        str(len(group)),
        f"{times_us[best]:.1f}" if best in times_us else "-",
        f"{cycles[best]:,.0f}" if best in cycles else "-",
        "-" if per_mac is None else f"{per_mac:.3f}",
        best,
        short(first.layer),
    )
