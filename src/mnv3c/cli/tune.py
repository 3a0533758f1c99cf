"""`mnv3c tune`: find the fastest kernels of a network by measuring them."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnv3c.cli.device import DeviceOption, TargetOption, chosen_device
from mnv3c.cli.model import ModelArgument, ModelOptions, load_model, with_model_options
from mnv3c.graph.errors import UserError

if TYPE_CHECKING:
    from mnv3c.compiler.tune.tuner import Progress, TuningResult

_TABLE_WIDTH = 200


@with_model_options
def tune(
    model: ModelArgument = "large",
    *,
    options: ModelOptions,
    target: TargetOption = None,
    device: DeviceOption = None,
    budget: Annotated[float, typer.Option(metavar="SECONDS", min=0.0, help="How long to search.")] = 120.0,
    threads: Annotated[int, typer.Option(min=1, max=64, help="Threads of the network.")] = 1,
    records: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to keep the records (.jsonl). Default: your own, which compile uses."),
    ] = None,
    on: Annotated[str, typer.Option(metavar="host", help="Where to measure.")] = "host",
    strategy: Annotated[
        str, typer.Option(metavar="families|metaschedule", help="What to search: the target's kernel families.")
    ] = "families",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Measure kernels for each layer of a network and record them; compile then takes the fastest.

    A later run goes on where the last one stopped, also after a crash.

    Example: mnv3c tune large --budget 120
    """
    if math.isnan(budget):
        raise UserError("--budget: must be a number of seconds, not nan")
    if on != "host":
        raise UserError(f"--on: '{on}' is not one of host")
    if strategy != "families":
        known = strategy == "metaschedule"
        raise UserError(f"--strategy: '{strategy}' is {'not supported yet; take' if known else 'not one of'} families")
    from mnv3c.compiler.tune.session import tune_graph
    from mnv3c.compiler.tune.store import RecordStore, user_store_path

    chosen = chosen_device(target, device)
    graph = load_model(model, options)
    store = RecordStore(records or user_store_path(chosen))
    with _bar(budget) as progress:
        result = tune_graph(graph, chosen, store, budget, threads, progress)
    typer.echo(json.dumps(tune_json(result))) if as_json else _print_summary(result, store.path)


def tune_json(result: "TuningResult") -> dict[str, Any]:
    """The document of `mnv3c tune --json`.

    Latencies are of one call; `sum_ms` counts each layer or group `count` times, as often as the program calls it.
    """
    return {
        "sum_ms": result.sum_ms,
        "layers": [
            {
                "layer": layer.task.layer,
                "count": layer.count,
                "kernel": layer.chosen.family,
                "parameters": dict(layer.chosen.parameters),
                "latency_ms": layer.latency_ms,
                "first_guess_ms": layer.first_guess_ms,
                "candidates": len(layer.task.candidates),
                "measured": layer.measured,
                "failed": layer.failed,
            }
            for layer in result.layers
        ],
        "measured": result.measured,
        "failed": result.failed,
        "reused": result.reused,
        "seconds": round(result.seconds, 3),
    }


@contextmanager
def _bar(budget_s: float) -> Iterator[Callable[["Progress"], None]]:
    """A bar on stderr: time spent of the budget, and the best sum so far."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    # Without a terminal the bar would leave an empty line.
    with Bar(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("measuring first guesses", total=max(budget_s, 1e-3))

        def show(progress: "Progress") -> None:
            best = "measuring first guesses" if progress.sum_ms is None else f"best sum {progress.sum_ms:.3f} ms"
            counts = f"{progress.measured} measured" + (f", {progress.failed} failed" if progress.failed else "")
            bar.update(task, completed=min(progress.elapsed_s, budget_s), description=f"{best}, {counts}")

        yield show


def _print_summary(result: "TuningResult", path: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from mnv3c.compiler.tune.work import candidate_name

    table = Table(box=None, pad_edge=False)
    for header in ("calls", "first guess us", "best us", "tried"):
        table.add_column(header, justify="right", no_wrap=True)
    kernels = [candidate_name(layer.chosen) for layer in result.layers]
    table.add_column("kernel", no_wrap=True, min_width=max(map(len, kernels), default=0))
    table.add_column("layer", no_wrap=True)
    for layer, kernel in zip(result.layers, kernels, strict=True):
        tried = f"{layer.measured + layer.failed}/{len(layer.task.candidates)}"
        times = (_microseconds(layer.first_guess_ms), _microseconds(layer.latency_ms))
        table.add_row(str(layer.count), *times, tried, kernel, layer.task.layer)
    console = Console(markup=False, highlight=False)
    console.width = max(console.width, _TABLE_WIDTH)
    console.print(table)
    total = "unknown, as a layer has no time" if result.sum_ms is None else f"{result.sum_ms:.3f} ms"
    counts = f"{result.measured} measured, {result.failed} failed, {result.reused} reused"
    console.print(f"\nsum of the layers {total}; {counts} in {result.seconds:.1f} s", soft_wrap=True)
    console.print(f"records: {path}", soft_wrap=True)


def _microseconds(latency_ms: float | None) -> str:
    return "-" if latency_ms is None else f"{latency_ms * 1e3:.1f}"
