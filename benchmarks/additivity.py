"""How well the sum of the layers' times stands for the whole network's: python benchmarks/additivity.py --help.

`NAME-bench --profile` and `NAME-bench` take turns, so that both meet the same moods of the machine.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from command_line import run_command_line
from peers.command import thread_counts
from peers.network import option_words
from peers.report import describe_machine
from peers.worker import separate_cores

from mnv3c.cli.model import ModelArgument, ModelOptions, load_model, with_model_options
from mnv3c.compiler.execute import Artifact
from mnv3c.compiler.pipeline import Compiler
from mnv3c.compiler.transport.host import run_bench
from mnv3c.compiler.tune.store import known_records
from mnv3c.graph.errors import MissingError
from mnv3c.graph.ir import Graph
from mnv3c.graph.whole_file import write_whole
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device

# A run of the whole network that waits for a CPU is slower; most of its layers, for themselves, are not.
_QUIET_LOAD = 0.5


@dataclass(frozen=True)
class Round:
    """Medians of one turn of both: the layers' in microseconds, the whole network's with and without profiling."""

    layers_us: tuple[float, ...]
    profiled_ms: float
    whole_ms: float

    @property
    def error_percent(self) -> float:
        """The sum of the layers over the whole network, less one."""
        return _percent(sum(self.layers_us) / 1e3, self.whole_ms)


@dataclass(frozen=True)
class Additivity:
    """Of all rounds: the sum of the layers' medians, the network's median, and by how much the sum is off.

    Negative where the sum is less: what lies between the layers. `least_percent` and `most_percent` are those of single
    rounds.
    """

    threads: int
    layer_sum_ms: float
    network_median_ms: float
    profiled_median_ms: float
    additivity_error_percent: float
    least_percent: float
    most_percent: float
    layers: tuple[dict[str, Any], ...]

    @staticmethod
    def of(threads: int, names: Sequence[str], rounds: Sequence[Round]) -> "Additivity":
        """What the rounds say together."""
        layers_us = [median(times) for times in zip(*(each.layers_us for each in rounds), strict=True)]
        layer_sum_ms, network_ms = sum(layers_us) / 1e3, median(each.whole_ms for each in rounds)
        errors = [each.error_percent for each in rounds]
        layers = tuple({"name": name, "median_us": time_us} for name, time_us in zip(names, layers_us, strict=True))
        profiled_ms = median(each.profiled_ms for each in rounds)
        error = _percent(layer_sum_ms, network_ms)
        return Additivity(threads, layer_sum_ms, network_ms, profiled_ms, error, min(errors), max(errors), layers)


def main() -> None:
    """Run the command; exit 2 for wrong input and 3 for what is missing, with one line on stderr."""
    run_command_line("additivity", additivity)


@with_model_options
def additivity(
    model: ModelArgument = "large",
    *,
    options: ModelOptions,
    threads: Annotated[str, typer.Option(metavar="N,...", help="Numbers of threads.")] = "1",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; in each both run once.")] = 10,
    runs: Annotated[int, typer.Option(min=1, help="Timed inferences of each in a round.")] = 50,
    warmup: Annotated[int, typer.Option(min=0, help="Inferences before them that are not timed.")] = 10,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here too.")
    ] = None,
) -> None:
    """Compile a network for this machine and hold the sum of its layers' times against the whole network's.

    Example: python benchmarks/additivity.py large --threads 1,2 --json figures.json
    """
    counts = thread_counts(threads, len(separate_cores()))
    machine, graph = describe_machine(), load_model(model, options)
    found = []
    with tempfile.TemporaryDirectory(prefix="additivity-") as folder:
        for count in counts:
            artifact = _compiled(graph, count, Path(folder) / str(count))
            found.append(_measured(artifact, count, rounds, ("--runs", str(runs), "--warmup", str(warmup))))
    name = " ".join((Path(model).name, *option_words(options)))
    typer.echo(_table(name, found), nl=False)
    if machine["load_at_start"] > _QUIET_LOAD:
        print(
            f"additivity: load {machine['load_at_start']}: others cut into whole runs, not into layers", file=sys.stderr
        )
    if json_file is not None:
        settings = {"rounds": rounds, "runs": runs, "warmup": warmup}
        rows = [asdict(each) for each in found]
        document = {"model": name, "machine": machine | settings, "rows": rows}
        write_whole(json_file, json.dumps(document, indent=1) + "\n")


def _compiled(graph: Graph, threads: int, folder: Path) -> Artifact:
    device = find_device("host")
    compiler = Compiler(load_target(device.target), device, records=known_records(device), threads=threads)
    compiler.compile(graph, folder)
    return Artifact.open(folder)


def _measured(artifact: Artifact, threads: int, rounds: int, words: Sequence[str]) -> Additivity:
    seen: list[Round] = []
    names: list[str] = []
    for number in range(rounds):
        # Who goes first changes, so that neither always follows the other.
        order = (True, False) if number % 2 == 0 else (False, True)
        documents = {profile: _timed(artifact.bench, threads, profile, words) for profile in order}
        layers = documents[True]["layers"]
        names = [layer["name"] for layer in layers]
        times_us = tuple(float(layer["median_us"]) for layer in layers)
        seen.append(Round(times_us, documents[True]["median_ms"], documents[False]["median_ms"]))
    return Additivity.of(threads, names, seen)


def _timed(bench: Path, threads: int, profile: bool, words: Sequence[str]) -> dict[str, Any]:
    done = run_bench(bench, ("--json", "--threads", str(threads), *words, *(("--profile",) if profile else ())))
    if done.returncode != 0:
        raise MissingError(f"{bench.name} ended with {done.returncode}: {done.stderr.strip()[-200:]}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def _table(name: str, found: Sequence[Additivity]) -> str:
    header = ("network", "threads", "sum of the layers ms", "network ms", "profiled ms", "error %", "rounds %")
    rows = [
        (
            name,
            str(each.threads),
            f"{each.layer_sum_ms:.4f}",
            f"{each.network_median_ms:.4f}",
            f"{each.profiled_median_ms:.4f}",
            f"{each.additivity_error_percent:+.2f}",
            f"{each.least_percent:+.2f} to {each.most_percent:+.2f}",
        )
        for each in found
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, ("---",) * len(header), *rows))


def _percent(sum_ms: float, whole_ms: float) -> float:
    return 100.0 * (sum_ms / whole_ms - 1.0)


if __name__ == "__main__":
    main()
