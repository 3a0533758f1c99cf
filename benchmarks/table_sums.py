"""A table's sums against networks measured on this machine: python benchmarks/table_sums.py --help.

Random subnets of the table's space are compiled whole and measured end to end, all taking turns; beside each stands the
sum of its entries in the table. What is measured is kept in a file, and the same command goes on there.
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Annotated, Any

import numpy as np
import typer
from command_line import run_command_line
from peers.report import describe_machine
from scipy.stats import spearmanr

from mnv3c.cli.measure_programs import MaxNoiseOption, compiled_programs, noise_share, program_compiler, showing
from mnv3c.compiler.measure.campaign import Campaign
from mnv3c.compiler.measure.job import Job
from mnv3c.compiler.measure.outcome import Outcome
from mnv3c.compiler.measure.settings import Patience, Settings
from mnv3c.compiler.transport.local import HostMachine
from mnv3c.graph.errors import MissingError
from mnv3c.graph.initialise import initialise
from mnv3c.graph.whole_file import write_whole
from mnv3c.profiles.lut.table import Table
from mnv3c.profiles.lut.table_file import read_table
from mnv3c.profiles.record import RecordStore
from mnv3c.search.space import Space
from mnv3c.search.space_file import find_space
from mnv3c.targets.registry import find_device


@dataclass(frozen=True)
class Row:
    """A subnet: the sum of its entries, its measured latency, and that of its kernels as measured in it."""

    name: str
    resolution: int
    table_ms: float
    measured_ms: float
    kernels_ms: float | None


def main() -> None:
    """Run the command; exit 2 for wrong input and 3 for what is missing, with one line on stderr."""
    run_command_line("table_sums", table_sums)


def table_sums(
    table_file: Annotated[Path, typer.Argument(metavar="LUT.json", help="A table made by mnv3c lut.")],
    networks: Annotated[int, typer.Option(min=2, help="Random subnets.")] = 40,
    seed: Annotated[int, typer.Option(help="Of their choice.")] = 0,
    space: Annotated[
        str | None, typer.Option(metavar="SPACE", help="The table's space, where that is a file of your own.")
    ] = None,
    max_noise: MaxNoiseOption = "5%",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, in which all take turns.")] = 15,
    records: Annotated[Path, typer.Option(metavar="FILE", help="What is measured is kept here.")] = Path(
        "table_sums.jsonl"
    ),
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here.")] = None,
) -> None:
    """Measure random subnets and compare. Example: python benchmarks/table_sums.py tables/lut.json"""
    table = read_table(table_file)
    jobs = _drawn(find_space(space or table.space), table, networks, seed)
    settings = Settings(table.identity.threads, None, rounds, 4 * rounds, noise_share(max_noise))
    outcomes = _measured([job for job, _, _ in jobs], settings, records)
    rows = [
        Row(job.name, resolution, table_ms, measured_ms, outcome.layer_sum_ms)
        for (job, resolution, table_ms), outcome in zip(jobs, outcomes, strict=True)
        if (measured_ms := outcome.network_median_ms) is not None
    ]
    if len(rows) < 2:
        why = next(outcome.reason for outcome in outcomes if outcome.network_median_ms is None)
        raise MissingError(f"only {len(rows)} of {networks} networks could be measured: {why}")
    for row in rows:
        typer.echo(f"{row.name} @{row.resolution}: table {row.table_ms:.4f} ms, measured {row.measured_ms:.4f} ms")
    document = {
        "machine": describe_machine(),
        "table": {"space": table.space, "device": table.identity.device, **table.counts},
        "threads": table.identity.threads,
        "refused": [outcome.job.name for outcome in outcomes if outcome.network_median_ms is None],
        **_figures(rows),
        "rows": [asdict(row) for row in rows],
    }
    typer.echo(json.dumps({name: value for name, value in document.items() if name != "rows"}, indent=1))
    if json_file is not None:
        write_whole(json_file, json.dumps(document, indent=1) + "\n")


def _drawn(space: Space, table: Table, count: int, seed: int) -> list[tuple[Job, int, float]]:
    """Subnets, each for images of one of the table's sides, and what the table says of them."""
    rng = Random(seed)
    drawn = []
    for number in range(count):
        subnet, resolution = space.random(rng), rng.choice(table.resolutions)
        graph = initialise(space.graph(subnet, resolution), 0)
        table_ms = table.latency_ms(space.units(subnet, resolution))
        job = Job.of_network(replace(graph, name=f"subnet{number:02d}"))
        drawn.append((job, resolution, table_ms))
    return drawn


def _measured(jobs: Sequence[Job], settings: Settings, records: Path) -> list[Outcome]:
    """The outcome of each job on this machine; a job that failed has its reason."""
    compiler = program_compiler(find_device("host"), settings.threads)
    with tempfile.TemporaryDirectory(prefix="table-sums-") as folder, showing() as show:
        campaign = Campaign(
            [HostMachine()],
            "",
            settings,
            Patience(),
            lambda wanted: compiled_programs(wanted, compiler, Path(folder), show),
            RecordStore(records),
            show.message,
            show.outcome,
        )
        found = {outcome.job.work: outcome for outcome in campaign.run(jobs)}
    return [found[job.work] for job in jobs]


def _figures(rows: Sequence[Row]) -> dict[str, Any]:
    """How far the table's sums are from the networks, and how far the networks' own kernels are."""
    measured_ms = np.array([row.measured_ms for row in rows])
    ratio = np.array([row.table_ms for row in rows]) / measured_ms - 1
    kernels = np.array([row.kernels_ms / row.measured_ms - 1 for row in rows if row.kernels_ms is not None])
    return {
        "networks": len(rows),
        "mape_percent": float(100 * np.abs(ratio).mean()),
        "bias_percent": float(100 * ratio.mean()),
        "worst_percent": float(100 * ratio[np.abs(ratio).argmax()]),
        "spearman": float(spearmanr([row.table_ms for row in rows], measured_ms).statistic),
        "spearman_by_resolution": _by_resolution(rows),
        "additivity_percent": {
            "networks": len(kernels),
            "mean": float(100 * kernels.mean()) if len(kernels) else None,
            "range": [float(100 * kernels.min()), float(100 * kernels.max())] if len(kernels) else None,
        },
    }


def _by_resolution(rows: Sequence[Row]) -> dict[int, float]:
    """The rank correlation among networks for images of one side, where there are ten or more."""
    sides = sorted({row.resolution for row in rows})
    own = {side: [row for row in rows if row.resolution == side] for side in sides}
    return {
        side: float(spearmanr([row.table_ms for row in each], [row.measured_ms for row in each]).statistic)
        for side, each in own.items()
        if len(each) >= 10
    }


if __name__ == "__main__":
    main()
