"""What `mnv3c tune` shows of a search by measurements: a bar while it goes on, then a table or a document."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnv3c.cli.budget_bar import budget_bar
from mnv3c.cli.layer_names import TABLE_WIDTH, short
from mnv3c.cli.wide_console import wide_console

if TYPE_CHECKING:
    from mnv3c.compiler.tune.tuner import Progress, TuningResult


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
def tuning_bar(budget_s: float, on: str = "") -> Iterator[Callable[["Progress"], None]]:
    """Show time spent of the budget, and the best sum so far; `on` says of what, unless it is the device's own."""
    with budget_bar(budget_s, "measuring first guesses") as bar:

        def progress(found: "Progress") -> None:
            best = "measuring first guesses" if found.sum_ms is None else f"best sum {found.sum_ms:.3f} ms{on}"
            counts = f"{found.measured} measured" + (f", {found.failed} failed" if found.failed else "")
            bar.show(found.elapsed_s, f"{best}, {counts}")

        yield progress


def print_tuned(result: "TuningResult", path: Path, label: str = "") -> None:
    """The table of `mnv3c tune`; `label` says what the times are of, unless they are the device's own."""
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
    if label:
        console.print(label, soft_wrap=True)
    console.print(table)
    total = "unknown, as a layer has no time" if result.sum_ms is None else f"{result.sum_ms:.3f} ms"
    total += f", {label}" if label else ""
    counts = f"{result.measured} measured, {result.failed} failed, {result.reused} reused"
    console.print(f"\nsum of the layers {total}; {counts} in {result.seconds:.1f} s", soft_wrap=True)
    console.print(f"records: {path}", soft_wrap=True)


def _microseconds(latency_ms: float | None) -> str:
    return "-" if latency_ms is None else f"{latency_ms * 1e3:.1f}"
