"""`mnv3c validate`: a profile held against measured rows."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnv3c.cli.profile_options import AsJson, ProfileOption, RecordFiles, Where, read_files
from mnv3c.cli.wide_console import wide_console

if TYPE_CHECKING:
    from mnv3c.profiles.metrics import Metrics
    from mnv3c.profiles.validate import Validation

_WORST = 10
_TABLE_WIDTH = 140


def validate(
    records: RecordFiles,
    *,
    device: ProfileOption,
    where: Where = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="X.png", help="Draw predicted against measured: .png or .svg.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare a profile's predictions with measured rows; rows that it was fitted to are predicted by cross-validation.

    Example: mnv3c validate rows.csv --device pixel4-cpu-tflite --plot scatter.png
    """
    from mnv3c.profiles.library import find_profile
    from mnv3c.profiles.scatter import ScatterRows, check_format, write_scatter
    from mnv3c.profiles.validate import rows_of_device
    from mnv3c.profiles.validate import validate as compared

    if plot is not None:
        check_format(plot)
    profile = find_profile(device)
    rows = read_files(records, where)
    taken = rows_of_device(profile, rows)
    if left := len(rows) - len(taken):
        typer.echo(f"{left} rows of other devices than {profile.identity.device} are left out", err=True)
    found = compared(profile, taken)
    if plot is not None:
        names = [str(record.work) for record in found.records]
        title = f"{profile.name}: {_how(found)}"
        write_scatter(plot, ScatterRows(found.predictions, found.families, names), title)
    if as_json:
        typer.echo(json.dumps(_document(profile.name, found), indent=1))
    else:
        _print(profile.name, found)
        if plot is not None:
            typer.echo(str(plot))


def _how(found: "Validation") -> str:
    seen, count = int(found.seen.sum()), len(found.seen)
    if not seen:
        return f"{count} rows that it had not seen"
    cross = "cross-validated by fits without each row and its group"
    return f"{count} rows that it was fitted to, {cross}" if seen == count else f"{count} rows, {seen} of them {cross}"


def _document(name: str, found: "Validation") -> dict[str, Any]:
    totals = found.totals
    return {
        "profile": name,
        **asdict(found.metrics),
        "seen": bool(found.seen.any()),
        "seen_rows": int(found.seen.sum()),
        "new_shapes": asdict(found.new_shapes),
        "families": {family: asdict(metrics) for family, metrics in found.by_family.items()},
        "totals": asdict(totals) if totals else None,
        "worst": [
            {"work": str(found.records[row].work), "measured_ms": measured, "predicted_ms": predicted}
            for row, measured, predicted in _worst(found)
        ],
    }


def _worst(found: "Validation") -> list[tuple[int, float, float]]:
    from mnv3c.profiles.metrics import worst_rows

    rows = found.predictions
    return [(row, float(rows.measured[row]), float(rows.predicted[row])) for row in worst_rows(rows, _WORST)]


def _print(name: str, found: "Validation") -> None:
    from rich.table import Table

    typer.echo(f"{name}: {_how(found)}")
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("rows", no_wrap=True)
    headers = ("n", "MAPE %", "RMSPE %", "within 5 %", "within 10 %", "Spearman", "Kendall", "bias %", "covered %")
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    table.add_row("all", *_figures(found.metrics))
    if found.new_shape.any() and not found.new_shape.all():
        table.add_row("shapes never seen", *_figures(found.new_shapes))
    for family, metrics in found.by_family.items():
        table.add_row(family, *_figures(metrics))
    if (totals := found.totals) is not None:
        table.add_row("sums by network", *_figures(totals))
    wide_console(_TABLE_WIDTH).print(table)
    typer.echo("worst rows:")
    for row, measured, predicted in _worst(found):
        error = 100 * (predicted / measured - 1)
        typer.echo(
            f"  {measured:10.4f} ms measured, {predicted:10.4f} predicted ({error:+.1f} %)  {found.records[row].work}"
        )


def _figures(metrics: "Metrics") -> tuple[str, ...]:
    def text(value: float | None, decimals: int) -> str:
        return "-" if value is None else f"{value:.{decimals}f}"

    return (
        str(metrics.n),
        text(metrics.mape, 2),
        text(metrics.rmspe, 2),
        text(metrics.within_5, 1),
        text(metrics.within_10, 1),
        text(metrics.spearman, 4),
        text(metrics.kendall, 4),
        text(metrics.bias, 2),
        text(metrics.coverage_90, 1),
    )
