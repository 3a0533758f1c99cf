"""NetAdapt with real training against uniform width scaling: python benchmarks/netadapt_digits.py -o DIR.

From MobileNetV3-Small, trained on scikit-learn's digits (turned, moved and scaled), to a share of its latency by a
profile. Against it stands the uniformly narrowed network of the same latency as measured here, trained as long: once
from scratch, and once from the start's weights as NetAdapt's is.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from command_line import run_command_line
from peers.report import describe_machine

from mnv3c.compiler.execute import Artifact
from mnv3c.compiler.pipeline import Compiler
from mnv3c.compiler.transport.host import run_bench
from mnv3c.compiler.tune.store import known_records
from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.initialise import initialise
from mnv3c.graph.ir import Graph
from mnv3c.graph.networks.options import NetworkOptions
from mnv3c.graph.whole_file import write_whole
from mnv3c.profiles.library import find_profile
from mnv3c.search.architecture import Architecture
from mnv3c.search.folder import SearchFolder
from mnv3c.search.latency import ProfileLatency
from mnv3c.search.netadapt import Found, NetAdapt, NetAdaptSettings, Step
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device

_WIDTHS = tuple(percent / 100 for percent in range(30, 100, 2))
_MEASURED_WIDTHS = 6


@dataclass(frozen=True)
class Uniform:
    """A uniformly narrowed network: its width multiplier, and its latency as predicted and as measured."""

    width: float
    architecture: Architecture
    predicted_ms: float
    measured_ms: float = 0.0


def main() -> None:
    """Run the command; exit 2 for wrong input and 3 for what is missing, with one line on stderr."""
    run_command_line("netadapt_digits", netadapt_digits)


def netadapt_digits(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The search's folder.")],
    device: Annotated[str, typer.Option(metavar="PROFILE", help="The profile.")] = "x86_64-sapphirerapids-mnv3c",
    reduce: Annotated[float, typer.Option(help="Target as a share of the starting latency.")] = 0.7,
    delta: Annotated[float, typer.Option(help="The least cut of a step, as a share of the starting latency.")] = 0.03,
    resolution: Annotated[int, typer.Option(help="Side of the images, in pixels.")] = 64,
    width: Annotated[float, typer.Option(help="Width multiplier of the start.")] = 0.5,
    train_steps: Annotated[
        tuple[int, int, int], typer.Option(metavar="START PROPOSAL FINAL", help="Batches to train in each stage.")
    ] = (600, 8, 300),
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    threads: Annotated[int, typer.Option(help="Threads of PyTorch.")] = 2,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search in the folder.")] = False,
    measure: Annotated[bool, typer.Option(help="Compile and measure on this machine.")] = True,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here.")] = None,
) -> None:
    """Search, then compare. Example: python benchmarks/netadapt_digits.py -o /tmp/digits --json figures.json"""
    import torch

    from mnv3c.search.train.data import load_data
    from mnv3c.search.train.trainer import TrainedAccuracy, Training

    torch.set_num_threads(threads)
    began_s = time.monotonic()
    training = Training().with_steps(*train_steps)
    trainer = TrainedAccuracy(load_data("digits-moved"), training)
    latency = ProfileLatency(find_profile(device))
    start = _variant(width, resolution)
    start_ms = latency(start.graph())
    settings = NetAdaptSettings(reduce * start_ms, delta, seed=seed)
    search = NetAdapt(start, trainer, latency, settings, SearchFolder(output), resume)
    steps: list[Step] = []
    for step in search.steps():
        steps.append(step)
        typer.echo(
            f"{time.monotonic() - began_s:6.0f} s  step {step.number}: {step.latency_ms:.4f} ms, "
            f"validation {step.accuracy:.4f}, {step.change}",
            err=True,
        )
    if not search.met:
        raise UserError("the target was not met: nothing more can be cut")
    found = search.finish()
    search_s = time.monotonic() - began_s
    typer.echo(f"{search_s:6.0f} s  searched", err=True)
    rows = _compared(found, start, latency, measure)
    document = {
        "machine": describe_machine(),
        "profile": device,
        "data": trainer.identity,
        "start": {"latency_ms": start_ms, "validation": steps[0].accuracy},
        "steps": len(steps) - 1,
        "search_s": search_s,
        "netadapt": _row(trainer.accuracy(found.graph, "test"), found, rows),
        "uniform": _trained_uniform(trainer, rows[1], output, len(steps) - 1, seed),
        "seconds": 0.0,
    }
    document["seconds"] = time.monotonic() - began_s
    typer.echo(json.dumps(document, indent=1))
    if json_file is not None:
        write_whole(json_file, json.dumps(document, indent=1) + "\n")


def _variant(width: float, resolution: int) -> Architecture:
    return Architecture.of(NetworkOptions(variant="small", width=width, resolution=resolution, classes=10))


def _row(test: float, found: Found, rows: tuple[float, Uniform]) -> dict[str, float]:
    return {
        "test": test,
        "validation": found.accuracy,
        "predicted_ms": found.latency_ms,
        "measured_ms": rows[0],
        "macs": found.graph.total_macs,
    }


def _compared(found: Found, start: Architecture, latency: ProfileLatency, measure: bool) -> tuple[float, Uniform]:
    """The found network's measured latency, and the uniform one that is the least of those no faster than it."""
    size = start.size[0]
    tables = {(each := _variant(width, size)).table: (width, each) for width in reversed(_WIDTHS)}
    known = [Uniform(width, each, latency(each.graph())) for width, each in tables.values()]
    near = sorted(known, key=lambda each: abs(each.predicted_ms - found.latency_ms))[:_MEASURED_WIDTHS]
    times_ms = (
        _measured([found.graph, *(each.architecture.graph() for each in near)])
        if measure
        else [found.latency_ms, *(each.predicted_ms for each in near)]
    )
    rows = [
        Uniform(each.width, each.architecture, each.predicted_ms, time_ms)
        for each, time_ms in zip(near, times_ms[1:], strict=True)
    ]
    for row in sorted(rows, key=lambda row: row.width):
        typer.echo(f"uniform {row.width}: {row.predicted_ms:.4f} predicted, {row.measured_ms:.4f} measured", err=True)
    slower = [row for row in rows if row.measured_ms >= times_ms[0]]
    chosen = min(slower, key=lambda row: row.measured_ms) if slower else max(rows, key=lambda row: row.measured_ms)
    return times_ms[0], chosen


def _measured(graphs: Sequence[Graph], rounds: int = 15) -> list[float]:
    """The median of each graph's medians, in milliseconds; all take turns."""
    import tempfile

    device = find_device("host")
    compiler = Compiler(load_target(device.target), device, records=known_records(device), threads=1)
    times_ms: list[list[float]] = [[] for _ in graphs]
    with tempfile.TemporaryDirectory(prefix="netadapt-") as folder:
        artifacts = []
        for number, graph in enumerate(graphs):
            place = Path(folder) / str(number)
            compiler.compile(graph if graph.weights else initialise(graph, 0), place)
            artifacts.append(Artifact.open(place))
        for _ in range(rounds):
            for artifact, seen in zip(artifacts, times_ms, strict=True):
                if artifact.bench is None:
                    raise MissingError("the compiled network has no bench program to measure")
                done = run_bench(artifact.bench, ["--runs", "200", "--warmup", "20", "--json"])
                if done.returncode != 0:
                    raise MissingError(f"{artifact.bench.name} ended with {done.returncode}: {done.stderr[-200:]}")
                seen.append(float(json.loads(done.stdout)["median_ms"]))
    return [median(seen) for seen in times_ms]


def _trained_uniform(trainer: Any, chosen: Uniform, folder: Path, steps: int, seed: int) -> dict[str, Any]:
    """The uniform network trained for as many steps as NetAdapt's line of descent was, in two ways."""
    from mnv3c.graph.yaml_io import load_graph
    from mnv3c.search.train.inherit import inherit
    from mnv3c.search.train.trainer import Schedule

    training, graph = trainer.training, chosen.architecture.graph()
    further = steps * training.proposal.steps + training.final.steps
    parent = load_graph(folder / "start.yaml")
    inherited = trainer.trained(inherit(graph, parent, seed), Schedule(further, training.final.learning_rate), seed)
    long = Schedule(training.start.steps + further, training.start.learning_rate)
    scratch = trainer.trained(initialise(graph, seed), long, seed)
    return {
        "width": chosen.width,
        "predicted_ms": chosen.predicted_ms,
        "measured_ms": chosen.measured_ms,
        "macs": graph.total_macs,
        "test_inherited": trainer.accuracy(inherited, "test"),
        "test_scratch": trainer.accuracy(scratch, "test"),
    }


if __name__ == "__main__":
    main()
