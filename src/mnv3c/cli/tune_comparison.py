"""What `mnv3c tune --strategy metaschedule` prints: each layer by the families and by MetaSchedule."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mnv3c.cli.wide_console import wide_console
from mnv3c.graph.errors import UserError

if TYPE_CHECKING:
    from mnv3c.compiler.tune.metaschedule.strategy import ComparedLayer, Comparison
    from mnv3c.targets.device import CpuDevice

_TABLE_WIDTH = 200


def require_measurable_here(device: "CpuDevice", on: str) -> None:
    """Raise UserError for a device of another architecture, or where it shall not be measured on this machine."""
    from mnv3c.targets.registry import host_target

    if on != "host":
        raise UserError(f"--strategy: metaschedule measures on this machine only, not --on {on}")
    if device.target != host_target():
        raise UserError(
            f"--strategy: metaschedule measures on this machine only, which is {host_target()}, not {device.target}"
        )


def print_comparison(comparison: "Comparison", records: Path, as_json: bool) -> None:
    """Print the comparison, as a table or as one JSON document."""
    if as_json:
        typer.echo(json.dumps(comparison_json(comparison)))
    else:
        _print_table(comparison, records)


def comparison_json(comparison: "Comparison") -> dict[str, Any]:
    """The document of `mnv3c tune --strategy metaschedule --json`.

    As that of the families, with `families_ms`, `metaschedule_ms` and their `ratio`: in a layer of one call, at the top
    summed over the layers that have both. `latency_ms` and `sum_ms` are of the faster kernel of each layer. Sums count
    a layer `count` times.
    """
    layers = comparison.layers
    times_ms = [(layer.latency_ms, layer.count) for layer in layers]
    known = [latency_ms * count for latency_ms, count in times_ms if latency_ms is not None]
    return {
        "sum_ms": sum(known) if len(known) == len(layers) else None,
        "families_ms": comparison.families_ms,
        "metaschedule_ms": comparison.metaschedule_ms,
        "ratio": comparison.metaschedule_ms / comparison.families_ms if comparison.compared else None,
        "layers": [_layer_json(layer) for layer in layers],
        "measured": comparison.measured,
        "failed": comparison.failed,
        "reused": comparison.reused,
        "seconds": round(comparison.seconds, 3),
    }


def _layer_json(layer: "ComparedLayer") -> dict[str, Any]:
    faster = layer.trace if layer.trace is not None and layer.latency_ms == layer.metaschedule_ms else layer.ours
    return {
        "layer": layer.task.layer,
        "count": layer.count,
        "kernel": faster.family,
        "parameters": dict(faster.parameters),
        "latency_ms": layer.latency_ms,
        "families_ms": layer.families_ms,
        "families_kernel": layer.ours.family,
        "families_tried": layer.families_tried,
        "metaschedule_ms": layer.metaschedule_ms,
        "ratio": layer.ratio,
        "measured": layer.measured,
        "failed": layer.failed,
    }


def _print_table(comparison: "Comparison", records: Path) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for header in ("calls", "families us", "tried", "metaschedule us", "tried", "ratio"):
        table.add_column(header, justify="right", no_wrap=True)
    for header in ("families' kernel", "layer"):
        table.add_column(header, no_wrap=True)
    for layer in comparison.layers:
        tried = str(layer.measured + layer.failed)
        ours = (_microseconds(layer.families_ms), str(layer.families_tried))
        table.add_row(
            str(layer.count), *ours, _microseconds(layer.metaschedule_ms), tried, _ratio(layer), *_names(layer)
        )
    console = wide_console(_TABLE_WIDTH)
    console.print(table)
    console.print(f"\n{_sums(comparison)}", soft_wrap=True)
    counts = f"{comparison.measured} measured, {comparison.failed} failed, {comparison.reused} reused"
    console.print(f"{counts} in {comparison.seconds:.1f} s", soft_wrap=True)
    console.print(f"records: {records}", soft_wrap=True)


def _names(layer: "ComparedLayer") -> tuple[str, str]:
    # A layer that no family takes is compared with its computation as it stands.
    unscheduled = not layer.ours.parameters.get("trace", 1)
    return "none (unscheduled)" if unscheduled else layer.ours.family, layer.task.layer


def _sums(comparison: "Comparison") -> str:
    compared, layers = len(comparison.compared), len(comparison.layers)
    if not compared:
        return f"none of {layers} layers has been measured both ways"
    ratio = comparison.metaschedule_ms / comparison.families_ms
    faster = sum(layer.ratio is not None and layer.ratio < 1.0 for layer in comparison.layers)
    return (
        f"sum of {compared} of {layers} layers, without fused groups: families {comparison.families_ms:.3f} ms, "
        f"metaschedule {comparison.metaschedule_ms:.3f} ms, ratio {ratio:.2f}; metaschedule is faster in {faster}"
    )


def _ratio(layer: "ComparedLayer") -> str:
    return "-" if layer.ratio is None else f"{layer.ratio:.2f}"


def _microseconds(latency_ms: float | None) -> str:
    return "-" if latency_ms is None else f"{latency_ms * 1e3:.1f}"
