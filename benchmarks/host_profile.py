"""How well a profile of this machine predicts networks that it has not seen: python benchmarks/host_profile.py --help.

Kernels are measured in the random networks that they stand in. A few of them calibrate a profile; it predicts the
kernels of V3-Large and Small, none of which it was fitted to, and other random networks as a whole.
"""

import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import typer
from command_line import run_command_line
from kernel_space.campaign import Built, Timed, Whole, build, read_rows, time_all, write_rows
from kernel_space.kernels import table_of
from kernel_space.networks import paper_network, varied_network
from kernel_space.records import records_of

from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.profiles.metrics import Metrics, Predictions
from mnv3c.profiles.model.dataset import Dataset
from mnv3c.profiles.model.fit import fit
from mnv3c.profiles.model.model import Model
from mnv3c.profiles.physics.compiled_cpu import CompiledCpuPhysics
from mnv3c.profiles.physics.compiled_device import compiled_physics
from mnv3c.profiles.record import write_records
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.registry import find_device

# Seeds of networks to learn from and to be judged by; half of the latter vary in their blocks too.
_LEARN, _JUDGE = 0, 1000
_LARGE_AND_SMALL, _GUESSED = ("large", "small"), ("large_guessed", "small_guessed")
# How many of 150 rows are of which family: the kinds of kernels in about the shares in which they cost.
_QUOTA = {
    "depthwise": 36,
    "tile": 24,
    "vector": 20,
    "matrix-vector": 18,
    "pool": 14,
    "gated tile": 12,
    "rows": 10,
    "gated vector": 8,
    "pass": 5,
    "conv": 3,
}


def main() -> None:
    """Run the command; exit 2 for wrong input and 3 for what is missing, with one line on stderr."""
    run_command_line("host_profile", host_profile)


def host_profile(
    *,
    rows_file: Annotated[
        Path, typer.Option("--rows-file", metavar="FILE", help="Measured rows: written, or read where it is there.")
    ] = Path("host_rows.jsonl"),
    learn: Annotated[int, typer.Option(min=1, help="Networks whose kernels may calibrate.")] = 24,
    judge: Annotated[int, typer.Option(min=1, help="Other networks, predicted as a whole.")] = 20,
    rows: Annotated[int, typer.Option(min=10, help="Kernels that calibrate.")] = 150,
    draws: Annotated[int, typer.Option(min=1, help="Random choices of these; figures are means over them.")] = 10,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; in each every network runs twice.")] = 20,
    threads: Annotated[int, typer.Option(min=1, help="Threads.")] = 1,
    cpu: Annotated[int | None, typer.Option(help="The first CPU to run on.")] = None,
    records: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the rows as records for mnv3c calibrate, and no report.")
    ] = None,
) -> None:
    """Measure kernels of random networks, calibrate, and hold predictions against what was not fitted.

    Example: python benchmarks/host_profile.py --cpu 1 --rows-file rows.jsonl

    A profile to ship: ... --rows-file rows.jsonl --records records.jsonl; mnv3c calibrate records.jsonl -o NAME.yaml
    """
    device = find_device("host")
    if not rows_file.exists():
        _measure(rows_file, device, learn, judge, rounds, threads, cpu)
    wholes = {whole.network: whole for whole in read_rows(rows_file)}
    if absent := [name for name in (*_LARGE_AND_SMALL, *_GUESSED) if name not in wholes]:
        raise UserError(f"{rows_file}: has no network '{absent[0]}'")
    if records is not None:
        write_records(records, records_of(tuple(wholes.values()), device))
        typer.echo(str(records))
        return
    typer.echo("\n".join(_report(wholes, rows, draws, compiled_physics(device, threads))))


def _measure(path: Path, device: CpuDevice, learn: int, judge: int, rounds: int, threads: int, cpu: int | None) -> None:
    with tempfile.TemporaryDirectory(prefix="host-profile-") as folder:
        # Kernels are cut for all cores of the machine, so the device is found before anything is pinned.
        built = list(_built(device, Path(folder), learn, judge))
        wholes = time_all(built, rounds, threads, cpu, lambda done: _say(f"round {done} of {rounds}"))
    write_rows(path, wholes)


def _built(device: CpuDevice, folder: Path, learn: int, judge: int) -> Iterator[Built]:
    for name, graph, tuned in _networks(learn, judge):
        _say(f"compiling {name}")
        yield build(name, graph, device, folder, tuned)


def _networks(learn: int, judge: int) -> Iterator[tuple[str, Graph, bool]]:
    for (name, guessed), graph in zip(
        zip(_LARGE_AND_SMALL, _GUESSED, strict=True), (mobilenet_v3("large"), mobilenet_v3("small")), strict=True
    ):
        yield name, graph, True
        yield guessed, graph, False
    for number in range(learn):
        yield f"learn{number:02d}", varied_network(_LEARN + number), False
    for number in range(judge):
        make = paper_network if number % 2 else varied_network
        yield f"judge{number:02d}", make(_JUDGE + number), False


def _report(wholes: dict[str, Whole], rows: int, draws: int, physics: CompiledCpuPhysics) -> Iterator[str]:
    learn, judge = (
        [whole for name, whole in wholes.items() if name.startswith(prefix)] for prefix in ("learn", "judge")
    )
    excluded = {kernel.kernel.keys for name in _LARGE_AND_SMALL for kernel in wholes[name].kernels}
    pool = [kernel for whole in learn for kernel in whole.kernels if kernel.kernel.keys not in excluded]
    # Medians of kernels do not add up to a network's: by how much is learned from the first networks alone.
    additivity = median(whole.median_ms / whole.kernel_sum_ms for whole in learn[:10])
    models = [_fitted(_drawn(pool, rows, seed, physics), physics) for seed in range(draws)]
    yield "| what | n | MAPE % | within 10 % | within 5 % | bias % | Spearman |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for label, names in (
        ("kernels of Large and Small, tuned", _LARGE_AND_SMALL),
        ("kernels of Large and Small, first guesses", _GUESSED),
        ("kernels of other random networks", tuple(whole.network for whole in judge)),
    ):
        kernels = [kernel for name in names for kernel in wholes[name].kernels]
        yield _line(label, [_judged(model, kernels) for model in models])
    yield _line("whole random networks", [_whole(model, judge, additivity) for model in models])
    known = [wholes[name] for name in (*_LARGE_AND_SMALL, *_GUESSED)]
    yield _line("whole Large and Small", [_whole(model, known, additivity) for model in models])
    yield ""
    yield f"{rows} of {len(pool)} kernels, means over {draws} draws; a network takes {additivity:.3f} of its kernels"


def _drawn(pool: Sequence[Timed], rows: int, seed: int, physics: CompiledCpuPhysics) -> list[Timed]:
    families = physics.family(table_of([each.kernel for each in pool]))
    rng = random.Random(seed)
    chosen: list[Timed] = []
    for family, share in _QUOTA.items():
        own = [each for each, number in zip(pool, families, strict=True) if physics.families[number] == family]
        chosen += rng.sample(own, min(len(own), round(share * rows / sum(_QUOTA.values()))))
    return chosen


def _fitted(chosen: Sequence[Timed], physics: CompiledCpuPhysics) -> Model:
    table = table_of([each.kernel for each in chosen])
    latency_ms = np.array([each.median_us for each in chosen]) / 1e3
    groups = tuple(" | ".join(each.kernel.keys) for each in chosen)
    return fit(Dataset(table, np.arange(len(chosen)), latency_ms, groups), physics)


def _judged(model: Model, kernels: Sequence[Timed]) -> Metrics:
    predicted = model.costs(table_of([each.kernel for each in kernels])).unit_ms
    return Metrics.of(Predictions(np.array([each.median_us for each in kernels]) / 1e3, predicted))


def _whole(model: Model, networks: Sequence[Whole], additivity: float) -> Metrics:
    predicted = [
        additivity * float(model.costs(table_of([each.kernel for each in whole.kernels])).unit_ms.sum())
        for whole in networks
    ]
    return Metrics.of(Predictions(np.array([whole.median_ms for whole in networks]), np.array(predicted)))


def _line(label: str, found: Sequence[Metrics]) -> str:
    names = ("mape", "within_10", "within_5", "bias", "spearman")
    means = [float(np.mean([getattr(metrics, name) or 0.0 for metrics in found])) for name in names]
    figures = (*(f"{value:.1f}" for value in means[:-1]), f"{means[-1]:.3f}")
    return f"| {' | '.join((label, str(found[0].n), *figures))} |"


def _say(text: str) -> None:
    print(f"host_profile: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
