"""`mnv3c tune`: find the fastest kernels of a network by measuring them, or by estimates where there is no device."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnv3c.cli.budget_bar import budget_bar
from mnv3c.cli.device import DeviceOption, TargetOption, chosen_device
from mnv3c.cli.layer_names import TABLE_WIDTH, short
from mnv3c.cli.model import ModelArgument, ModelOptions, load_model, with_model_options
from mnv3c.cli.tune_estimate import ON as LLVM_MCA
from mnv3c.cli.tune_estimate import estimate_json, print_estimate, run_estimate
from mnv3c.cli.wide_console import wide_console
from mnv3c.graph.errors import UserError

if TYPE_CHECKING:
    from mnv3c.compiler.tune.tuner import Progress, TuningResult

_STRATEGIES = ("families", "metaschedule")


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
    on: Annotated[
        str,
        typer.Option(metavar="host|llvm-mca", help="Where to measure; llvm-mca estimates, for arm64 without a board."),
    ] = "host",
    strategy: Annotated[
        str,
        typer.Option(
            metavar="|".join(_STRATEGIES), help="What to search: the target's kernel families, or schedules by TVM."
        ),
    ] = "families",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Measure kernels for each layer of a network and record them; compile then takes the fastest.

    A later run goes on where the last one stopped, also after a crash. With --on llvm-mca kernels for arm64 are chosen
    by LLVM's scheduling model: an estimate that knows no caches, which gives way to anything measured.

    Example: mnv3c tune large --budget 120
    """
    if math.isnan(budget):
        raise UserError("--budget: must be a number of seconds, not nan")
    if on not in ("host", LLVM_MCA):
        raise UserError(f"--on: '{on}' is not one of host, {LLVM_MCA}")
    if strategy not in _STRATEGIES:
        raise UserError(f"--strategy: '{strategy}' is not one of {', '.join(_STRATEGIES)}")
    from mnv3c.cli.tune_comparison import print_comparison, require_measurable_here
    from mnv3c.compiler.tune.metaschedule.session import compare_graph
    from mnv3c.compiler.tune.session import tune_graph
    from mnv3c.compiler.tune.store import RecordStore, user_store_path

    chosen = chosen_device(target, device)
    if strategy == "metaschedule":
        require_measurable_here(chosen, on)
    graph = load_model(model, options)
    store = RecordStore(records or user_store_path(chosen))
    if strategy == "metaschedule":
        with _bar(budget) as progress:
            comparison = compare_graph(graph, chosen, store, budget, threads, progress)
        print_comparison(comparison, store.path, as_json)
        return
    if on == LLVM_MCA:
        estimated = run_estimate(graph, chosen, store, budget, threads)
        typer.echo(json.dumps(estimate_json(estimated))) if as_json else print_estimate(estimated, store.path)
        return
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
    """Show time spent of the budget, and the best sum so far."""
    with budget_bar(budget_s, "measuring first guesses") as bar:

        def progress(found: "Progress") -> None:
            best = "measuring first guesses" if found.sum_ms is None else f"best sum {found.sum_ms:.3f} ms"
            counts = f"{found.measured} measured" + (f", {found.failed} failed" if found.failed else "")
            bar.show(found.elapsed_s, f"{best}, {counts}")

        yield progress


def _print_summary(result: "TuningResult", path: Path) -> None:
    from rich.table import Table

    from mnv3c.compiler.tune.work import candidate_name

    table = Table(box=None, pad_edge=False)
    for header in ("calls", "first guess us", "best us", "tried"):
        table.add_column(header, justify="right", no_wrap=True)
    kernels = [candidate_name(layer.chosen) for layer in result.layers]
    table.add_column("kernel", no_wrap=True)
    table.add_column("layer", no_wrap=True)
    for layer, kernel in zip(result.layers, kernels, strict=True):
        tried = f"{layer.measured + layer.failed}/{len(layer.task.candidates)}"
        times = (_microseconds(layer.first_guess_ms), _microseconds(layer.latency_ms))
        table.add_row(str(layer.count), *times, tried, kernel, short(layer.task.layer))
    console = wide_console(TABLE_WIDTH)
    console.print(table)
    total = "unknown, as a layer has no time" if result.sum_ms is None else f"{result.sum_ms:.3f} ms"
    counts = f"{result.measured} measured, {result.failed} failed, {result.reused} reused"
    console.print(f"\nsum of the layers {total}; {counts} in {result.seconds:.1f} s", soft_wrap=True)
    console.print(f"records: {path}", soft_wrap=True)


def _microseconds(latency_ms: float | None) -> str:
    return "-" if latency_ms is None else f"{latency_ms * 1e3:.1f}"
