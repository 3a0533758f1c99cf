"""`mnv3c tune --on llvm-mca`: what it prints. Cycles here are estimates of a scheduling model, never a latency."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnv3c.cli.budget_bar import budget_bar
from mnv3c.cli.layer_names import TABLE_WIDTH, short
from mnv3c.graph.errors import UserError

if TYPE_CHECKING:
    from mnv3c.compiler.tune.static_tuner import EstimatedLayer, StaticProgress, StaticResult
    from mnv3c.compiler.tune.store import RecordStore
    from mnv3c.graph.ir import Graph
    from mnv3c.targets.device import CpuDevice

ON = "llvm-mca"
_UNCOUNTED = "only innermost loops with multiply-adds: executions could not be counted"


def run_estimate(
    graph: "Graph", device: "CpuDevice", store: "RecordStore", budget_s: float, threads: int
) -> "StaticResult":
    """Tune by estimates with a bar on stderr. Raises UserError for more than one thread."""
    if threads != 1:
        raise UserError(f"--threads: {ON} estimates one thread, not {threads}")
    from mnv3c.compiler.tune.static_session import tune_by_estimate

    with budget_bar(budget_s, "estimating first guesses") as bar:

        def progress(found: "StaticProgress") -> None:
            cycles = "estimating first guesses" if found.cycles is None else f"best sum {found.cycles:.4g} est. cycles"
            counts = f"{found.estimated} estimated" + (f", {found.failed} failed" if found.failed else "")
            bar.show(found.elapsed_s, f"{cycles}, {counts}")

        return tune_by_estimate(graph, device, store, budget_s, progress, bar.message)


def estimate_json(result: "StaticResult") -> dict[str, Any]:
    """The document of `mnv3c tune --on llvm-mca --json`.

    The fields of a measured run are there and empty, since nothing was measured; `estimated_cycles` counts each layer
    or group `count` times, as often as the program calls it, those of a layer are of one call.
    """
    from mnv3c.compiler.tune.estimate import LABEL

    return {
        "label": LABEL,
        "basis": result.basis,
        "model": result.model,
        "sum_ms": None,
        "estimated_cycles": result.cycles,
        "first_guess_cycles": result.first_guess_cycles,
        "instructions_per_mac": result.instructions_per_mac,
        "layers": [_layer(layer) for layer in result.layers],
        "measured": 0,
        "estimated": result.estimated,
        "failed": result.failed,
        "reused": result.reused,
        "seconds": round(result.seconds, 3),
    }


def print_estimate(result: "StaticResult", path: Path) -> None:
    """The table of `mnv3c tune --on llvm-mca`."""
    from rich.console import Console
    from rich.table import Table

    from mnv3c.compiler.tune.estimate import LABEL
    from mnv3c.compiler.tune.work import candidate_name

    table = Table(box=None, pad_edge=False)
    for header in ("calls", "first guess", "est. cycles", "instr/MAC", "tried"):
        table.add_column(header, justify="right", no_wrap=True)
    kernels = [candidate_name(layer.chosen) for layer in result.layers]
    table.add_column("kernel", no_wrap=True)
    table.add_column("layer", no_wrap=True)
    for layer, kernel in zip(result.layers, kernels, strict=True):
        tried = f"{layer.estimated + layer.failed}/{len(layer.task.candidates)}"
        cycles = (_cycles(layer.first_guess_cycles), _cycles(layer.cycles))
        table.add_row(
            str(layer.count), *cycles, _ratio(layer.instructions_per_mac), tried, kernel, short(layer.task.layer)
        )
    console = Console(markup=False, highlight=False)
    console.width = max(console.width, TABLE_WIDTH)
    console.print(f"{LABEL}; model {result.model}", soft_wrap=True)
    if result.basis != ON:
        console.print(f"{_UNCOUNTED}; no instr/MAC", soft_wrap=True)
    console.print(table)
    without = sum(layer.cycles is None for layer in result.layers)
    total = f"unknown, as {without} have no estimate" if without else f"{_cycles(result.cycles)} est. cycles"
    counts = f"{result.estimated} estimated, {result.failed} failed, {result.reused} reused, none measured"
    first, ratio = _cycles(result.first_guess_cycles), _ratio(result.instructions_per_mac)
    console.print(
        f"\nsum of the layers {total} (first guesses {first}), {ratio} instr/MAC; {counts} in {result.seconds:.1f} s",
        soft_wrap=True,
    )
    console.print(f"records: {path}", soft_wrap=True)


def _layer(layer: "EstimatedLayer") -> dict[str, Any]:
    return {
        "layer": layer.task.layer,
        "count": layer.count,
        "kernel": layer.chosen.family,
        "parameters": dict(layer.chosen.parameters),
        "latency_ms": None,
        "first_guess_ms": None,
        "estimated_cycles": layer.cycles,
        "first_guess_cycles": layer.first_guess_cycles,
        "instructions_per_mac": layer.instructions_per_mac,
        "candidates": len(layer.task.candidates),
        "measured": 0,
        "estimated": layer.estimated,
        "failed": layer.failed,
    }


def _cycles(cycles: float | None) -> str:
    return "-" if cycles is None else f"{cycles:,.0f}"


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.3f}"
