"""NetAdapt with real training against uniform width scaling: python benchmarks/netadapt_digits.py -o DIR.

From MobileNetV3-Small, trained on scikit-learn's digits (turned, moved and scaled), to a share of its latency by a
profile. Widths are multiples of eight, so no uniformly narrowed network takes just as long: against it stand the two
whose latencies as measured here are next to its own, and their accuracies interpolated at its latency. They are trained
on as many batches: once from scratch, and once from the start's weights as NetAdapt's is; the better one counts. Each
is trained with several seeds.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING, Annotated

import numpy as np
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
from mnv3c.graph.yaml_io import load_graph
from mnv3c.profiles.library import find_profile
from mnv3c.search.architecture import Architecture
from mnv3c.search.folder import SearchFolder
from mnv3c.search.latency import ProfileLatency
from mnv3c.search.netadapt import NetAdapt, NetAdaptSettings, Step
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device

if TYPE_CHECKING:
    from mnv3c.search.train.trainer import Schedule, TrainedAccuracy

_WIDTHS = tuple(percent / 100 for percent in range(30, 100, 2))
_MEASURED_WIDTHS = 10
_NETADAPT = "netadapt"


@dataclass(frozen=True)
class Uniform:
    """A uniformly narrowed network: its width multiplier, and its latency as predicted and as measured."""

    width: float
    architecture: Architecture
    predicted_ms: float
    measured_ms: float = 0.0


@dataclass(frozen=True)
class Run:
    """A training of a network from the weights that it has; `side` says whose."""

    side: str
    graph: Graph
    schedule: "Schedule"
    seed: int


def main() -> None:
    """Run the command; exit 2 for wrong input and 3 for what is missing, with one line on stderr."""
    run_command_line("netadapt_digits", netadapt_digits)


def netadapt_digits(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The search's folder.")],
    device: Annotated[str, typer.Option(metavar="PROFILE", help="The profile.")] = "x86_64-sapphirerapids-mnv3c",
    reduce: Annotated[float, typer.Option(help="Target as a share of the starting latency.")] = 0.7,
    delta: Annotated[float, typer.Option(help="The least cut of a step, as a share of the starting latency.")] = 0.01,
    resolution: Annotated[int, typer.Option(help="Side of the images, in pixels.")] = 32,
    width: Annotated[float, typer.Option(help="Width multiplier of the start.")] = 0.5,
    train_steps: Annotated[
        tuple[int, int, int], typer.Option(metavar="START PROPOSAL FINAL", help="Batches to train in each stage.")
    ] = (600, 10, 1500),
    seed: Annotated[int, typer.Option(help="Seed of the search, and the first of the last trainings.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="How many last trainings each side gets.")] = 3,
    processes: Annotated[int, typer.Option(min=1, help="How many of the last trainings go at once.")] = 2,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search in the folder.")] = False,
    measure: Annotated[bool, typer.Option(help="Compile and measure on this machine.")] = True,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here.")] = None,
) -> None:
    """Search, then compare. Example: python benchmarks/netadapt_digits.py -o /tmp/digits --json figures.json"""
    _one_thread()
    began_s = time.monotonic()
    trainer = _trainer(train_steps)
    latency = ProfileLatency(find_profile(device))
    start = _variant(width, resolution)
    start_ms = latency(start.graph())
    settings = NetAdaptSettings(reduce * start_ms, delta, seed=seed)
    search = NetAdapt(start, trainer, latency, settings, SearchFolder(output), resume)
    steps = _searched(search, began_s)
    last, found = _weights(output, len(steps) - 1), search.finish()
    _tell(began_s, f"the last training of the search: expected accuracy {found.accuracy:.4f}")
    found_ms, uniform = _compared(found.graph, found.latency_ms, start, latency, measure)
    rivals = _rivals(found_ms, uniform)
    beside = ", ".join(f"uniform {rival.width} {rival.measured_ms:.4f} ms" for rival in rivals)
    _tell(began_s, f"measured: {found_ms:.4f} ms, {beside}")
    runs = [
        run
        for each in range(seed, seed + seeds)
        for run in _runs(trainer, last, _weights(output, 0), rivals, len(steps) - 1, each)
    ]
    tests = _tests(trainer, runs, output, processes, began_s)
    summary = {side: _spread(values) for side, values in tests.items()}
    document = {
        "machine": describe_machine(),
        "profile": device,
        "data": trainer.identity,
        "start": {
            "width": width,
            "latency_ms": start_ms,
            "expected": steps[0].accuracy,
            "test": trainer.accuracy(_weights(output, 0), "test"),
        },
        "steps": [{"change": step.change, "ms": step.latency_ms, "expected": step.accuracy} for step in steps[1:]],
        "netadapt": _row(found.graph, found.latency_ms, found_ms),
        "uniform": [
            {"width": each.width, **_row(each.architecture.graph(), each.predicted_ms, each.measured_ms)}
            for each in uniform
        ],
        "rivals": [rival.width for rival in rivals],
        "batches": {run.side: run.schedule.steps for run in runs},
        "tests": tests,
        "summary": summary,
        "at_the_same_ms": {
            _NETADAPT: summary[_NETADAPT]["mean"],
            "uniform": _interpolated(found_ms, rivals, {side: each["mean"] for side, each in summary.items()}),
        },
        "seconds": time.monotonic() - began_s,
    }
    typer.echo(json.dumps(document, indent=1))
    if json_file is not None:
        write_whole(json_file, json.dumps(document, indent=1) + "\n")


def _trainer(train_steps: tuple[int, int, int]) -> "TrainedAccuracy":
    """Judges by the expected accuracy; the test part is large, since what it shows is small."""
    from mnv3c.search.train.data import digits
    from mnv3c.search.train.trainer import Schedule, TrainedAccuracy, Training

    data = digits("digits, moved", (0.45, 0.15, 0.4), turn_degrees=25.0, shift=0.15, zoom=0.25, copies=4)
    # Both sides start and end at the same rate, the highest at which the start learned well.
    start, proposal, final = train_steps
    training = Training(Schedule(start, 8e-3), Schedule(proposal, 5e-4), Schedule(final, 8e-3), expected=True)
    return TrainedAccuracy(data, training)


def _searched(search: NetAdapt, began_s: float) -> list[Step]:
    steps: list[Step] = []
    for step in search.steps():
        steps.append(step)
        _tell(
            began_s,
            f"step {step.number}: {step.latency_ms:.4f} ms, expected accuracy {step.accuracy:.4f}, {step.change}",
        )
    if not search.met:
        raise UserError("the target was not met: nothing more can be cut")
    return steps


def _tell(began_s: float, text: str) -> None:
    typer.echo(f"{time.monotonic() - began_s:6.0f} s  {text}", err=True)


def _weights(folder: Path, step: int) -> Graph:
    return load_graph(folder / (f"step-{step:03d}.yaml" if step else "start.yaml"))


def _variant(width: float, resolution: int) -> Architecture:
    return Architecture.of(NetworkOptions(variant="small", width=width, resolution=resolution, classes=10))


def _row(graph: Graph, predicted_ms: float, measured_ms: float) -> dict[str, float]:
    return {"predicted_ms": predicted_ms, "measured_ms": measured_ms, "macs": graph.total_macs}


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"mean": fmean(values), "sd": stdev(values) if len(values) > 1 else 0.0}


def _compared(
    found: Graph, found_ms: float, start: Architecture, latency: ProfileLatency, measure: bool
) -> tuple[float, list[Uniform]]:
    """The found network's measured latency, and those of the uniform networks that are near by prediction."""
    size = start.size[0]
    tables = {(each := _variant(width, size)).table: (width, each) for width in reversed(_WIDTHS)}
    known = [Uniform(width, each, latency(each.graph())) for width, each in tables.values()]
    near = sorted(known, key=lambda each: abs(each.predicted_ms - found_ms))[:_MEASURED_WIDTHS]
    times_ms = (
        _measured([found, *(each.architecture.graph() for each in near)])
        if measure
        else [found_ms, *(each.predicted_ms for each in near)]
    )
    rows = [replace(each, measured_ms=time_ms) for each, time_ms in zip(near, times_ms[1:], strict=True)]
    rows.sort(key=lambda row: row.width)
    for row in rows:
        typer.echo(f"uniform {row.width}: {row.predicted_ms:.4f} predicted, {row.measured_ms:.4f} measured", err=True)
    return times_ms[0], rows


def _rivals(found_ms: float, uniform: Sequence[Uniform]) -> tuple[Uniform, ...]:
    """The slowest uniform network that is faster than the found one, and the fastest that is not; fastest first."""
    faster = [each for each in uniform if each.measured_ms < found_ms]
    slower = [each for each in uniform if each.measured_ms >= found_ms]
    if not slower:
        raise UserError(f"of {len(uniform)} uniform networks none is as slow as the found one's {found_ms:.4f} ms")
    below = [max(faster, key=lambda each: each.measured_ms)] if faster else []
    return (*below, min(slower, key=lambda each: each.measured_ms))


def _interpolated(found_ms: float, rivals: Sequence[Uniform], means: Mapping[str, float]) -> float:
    """The accuracy of uniform networks at a latency: between two of them in proportion, each by its better training."""
    best = [max(means[side] for side in _sides(rival)) for rival in rivals]
    return float(np.interp(found_ms, [rival.measured_ms for rival in rivals], best))


def _sides(rival: Uniform) -> tuple[str, str]:
    return (f"uniform {rival.width}, inherited", f"uniform {rival.width}, from scratch")


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


def _runs(
    trainer: "TrainedAccuracy", last: Graph, start: Graph, rivals: Sequence[Uniform], steps: int, seed: int
) -> Iterator[Run]:
    """NetAdapt's last training, and the uniform networks' on as many batches as NetAdapt's line of descent had."""
    from mnv3c.search.train.inherit import inherit
    from mnv3c.search.train.trainer import Schedule

    training = trainer.training
    further = steps * training.proposal.steps + training.final.steps
    whole = Schedule(training.start.steps + further, training.start.learning_rate)
    yield Run(_NETADAPT, last, training.final, seed)
    for rival in rivals:
        graph, (inherited, from_scratch) = rival.architecture.graph(), _sides(rival)
        yield Run(inherited, inherit(graph, start, seed), replace(training.final, steps=further), seed)
        yield Run(from_scratch, initialise(graph, seed), whole, seed)


def _tests(
    trainer: "TrainedAccuracy", runs: Sequence[Run], folder: Path, processes: int, began_s: float
) -> dict[str, list[float]]:
    """The accuracies on the test part by side, in the order of the runs; each run has a thread of its own."""
    tests: dict[str, list[float]] = {run.side: [] for run in runs}
    paths = [SearchFolder(folder).save(f"run-{number}", run.graph) for number, run in enumerate(runs)]
    settings = [run.schedule for run in runs], [run.seed for run in runs]
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=_one_thread) as pool:
        for run, test in zip(runs, pool.map(_tested, [trainer] * len(runs), paths, *settings), strict=True):
            tests[run.side].append(test)
            _tell(began_s, f"{run.side}, {run.schedule.steps} batches, seed {run.seed}: test {test:.4f}")
    return tests


def _one_thread() -> None:
    """More gain little on networks so small, and their sums are in another order each time."""
    import torch

    torch.set_num_threads(1)


def _tested(trainer: "TrainedAccuracy", path: Path, schedule: "Schedule", seed: int) -> float:
    return trainer.accuracy(trainer.trained(load_graph(path), schedule, seed), "test")


if __name__ == "__main__":
    main()
