"""`mnv3c emulate --sweep`: a grid of configurations, and the table of those that nobody beats."""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer

from mnv3c.cli.wide_console import wide_console
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.search.cluster import open_workers
from mnv3c.search.sweep import Place, places_of, sweep
from mnv3c.targets.edgetpu.device import AcceleratorDevice
from mnv3c.targets.edgetpu.sweep import Point, Setting, Workload, grid, pareto, parse_axis

_TABLE_WIDTH = 120


@dataclass(frozen=True)
class SweepRequest:
    """What to sweep, where the points and the picture go, and who works on it."""

    networks: Sequence[Graph]
    device: AcceleratorDevice
    axes: Sequence[str]
    output: Path | None = None
    plot: Path | None = None
    processes: int | None = None
    cluster: str | None = None


def run_sweep(request: SweepRequest, as_json: bool) -> None:
    """Evaluate every point, show a bar meanwhile, and print the Pareto table or the document.

    Raises UserError for bad axes, and where not a single configuration runs.
    """
    if request.plot is not None:
        from mnv3c.profiles.scatter import check_format

        check_format(request.plot)
    axes = _axes(request)
    workloads = [Workload.of(run_passes(network, default_passes())) for network in request.networks]
    configurations = grid(axes)
    points = _points(request, workloads, configurations)
    if all(point.problem for point in points):
        raise UserError(f"not one of {len(points)} configurations runs; the first: {points[0].problem}")
    front = pareto(points)
    if request.plot is not None:
        from mnv3c.cli.sweep_plot import write_sweep_plot

        write_sweep_plot(request.plot, points, front, f"{request.device.name}: {', '.join(axes)}")
    if as_json:
        typer.echo(json.dumps(_document(request.device, points, front), indent=1))
    else:
        _print(request.device, axes, points, front)


def _axes(request: SweepRequest) -> dict[str, tuple[str, ...]]:
    axes: dict[str, tuple[str, ...]] = {}
    for text in request.axes:
        key, values = parse_axis(text)
        if key in axes:
            raise UserError(f"--sweep {key}: is given twice; list all its values in one")
        request.device.require_key(key)
        axes[key] = values
    return axes


def _points(
    request: SweepRequest, workloads: list[Workload], configurations: Sequence[tuple[Setting, ...]]
) -> tuple[Point, ...]:
    """The points, in the order of the grid, whatever the workers' was."""
    places = places_of(workloads, configurations)
    with open_workers(request.cluster, request.processes) as workers:
        if request.output is None:
            found = sweep(workloads, request.device, places, workers)
        else:
            from mnv3c.cli.sweep_store import resumed_sweep

            found = resumed_sweep(request.output, workloads, request.device, places, workers)
        points = dict(_shown(found, len(places)))
    return tuple(points[place] for place in places)


def _shown(points: Iterator[tuple[Place, Point]], total: int) -> Iterator[tuple[Place, Point]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("emulating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        with closing(points):  # type: ignore[type-var]
            for point in points:
                bar.advance(task)
                yield point


def _document(device: AcceleratorDevice, points: Sequence[Point], front: Sequence[Point]) -> dict[str, Any]:
    best = set(front)
    return {
        "device": device.name,
        "latency": "emulated",
        "points": [{**asdict(point), "settings": dict(point.settings), "pareto": point in best} for point in points],
    }


def _print(
    device: AcceleratorDevice, axes: dict[str, tuple[str, ...]], points: Sequence[Point], front: Sequence[Point]
) -> None:
    from rich.table import Table

    several = len({point.network for point in points}) > 1
    table = Table(box=None, header_style="bold", pad_edge=False)
    if several:
        table.add_column("network", no_wrap=True)
    for header in (*axes, "ms", "cycles", "util %", "energy uJ", "area mm2", "DRAM MB", "peak SRAM KiB"):
        table.add_column(header, justify="right", no_wrap=True)
    for point in sorted(front, key=lambda point: (point.network, point.costs)):
        table.add_row(*((point.network,) if several else ()), *_row(point))
    wide_console(_TABLE_WIDTH).print(table)
    refused = [point for point in points if point.problem]
    typer.echo(
        f"emulated on {device.name}: {len(front)} of {len(points)} configurations are beaten by none in latency, "
        "energy and area together"
    )
    if refused:
        typer.echo(f"{len(refused)} do not run; the first: {refused[0].problem}")


def _row(point: Point) -> tuple[str, ...]:
    return (
        *(value for _, value in point.settings),
        f"{point.total_ms:.3f}",
        f"{point.total_cycles:,}",
        f"{100 * point.utilization:.1f}",
        f"{point.energy_uj:.1f}",
        f"{point.area_mm2:.2f}",
        f"{point.dram_bytes / 1e6:.2f}",
        f"{point.peak_sram_bytes / 1024:.0f}",
    )
