"""Compile networks and time their kernels in rounds, whole runs and profiled ones taking turns."""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from kernel_space.kernels import Kernel, kernels_of
from mnv3c.compiler.pipeline import Compiler
from mnv3c.compiler.transport.host import run_bench
from mnv3c.compiler.tune.store import known_records
from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.ir import Graph
from mnv3c.graph.whole_file import whole_file
from mnv3c.profiles.readers.text_file import read_text
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.loader import load_target

_RUNS, _WARMUP = 25, 6


@dataclass(frozen=True)
class Timed:
    """A kernel in its network: medians over rounds of each round's median, tenth and ninetieth percentile."""

    network: str
    kernel: Kernel
    threads: int
    median_us: float
    p10_us: float
    p90_us: float
    n: int
    rounds: int


@dataclass(frozen=True)
class Whole:
    """A network end to end: its kernels, and the median over rounds."""

    network: str
    threads: int
    median_ms: float
    kernels: tuple[Timed, ...]

    @property
    def kernel_sum_ms(self) -> float:
        """The sum of its kernels' medians."""
        return sum(kernel.median_us for kernel in self.kernels) / 1e3


@dataclass(frozen=True)
class Built:
    """A compiled network."""

    name: str
    bench: Path
    kernels: tuple[Kernel, ...]


def build(name: str, graph: Graph, device: CpuDevice, folder: Path, tuned: bool) -> Built:
    """Compile a network; `tuned` by the tuner's records, else by first guesses."""
    records = known_records(device) if tuned else ()
    artifact = Compiler(load_target(device.target), device, records=records).compile(graph, folder / name)
    artifact.files.library.unlink()
    return Built(name, artifact.files.bench, kernels_of(artifact.network, device, artifact.recorded))


def time_all(
    built: Sequence[Built], rounds: int, threads: int, cpu: int | None, done: Callable[[int], None]
) -> tuple[Whole, ...]:
    """Rounds over all networks in a new random order each; `done` is told after each round."""
    rng = random.Random(0)
    plain: dict[str, list[float]] = {each.name: [] for each in built}
    profiled: dict[str, list[Mapping[str, Any]]] = {each.name: [] for each in built}
    words = ("--threads", str(threads), *(() if cpu is None else ("--cpu", str(cpu))))
    for number in range(rounds):
        for each in rng.sample(built, len(built)):
            for profile in (True, False) if number % 2 else (False, True):
                document = _run(each.bench, words, profile)
                if profile:
                    profiled[each.name].append({layer["name"]: layer for layer in document["layers"]})
                else:
                    plain[each.name].append(document["median_ms"])
        done(number + 1)
    return tuple(
        Whole(each.name, threads, median(plain[each.name]), tuple(_timed(each, threads, profiled[each.name])))
        for each in built
    )


def _run(bench: Path, words: Sequence[str], profile: bool) -> dict[str, Any]:
    runs = ("--json", "--runs", str(_RUNS), "--warmup", str(_WARMUP))
    done = run_bench(bench, (*runs, *words, *(("--profile",) if profile else ())))
    if done.returncode != 0:
        raise MissingError(f"{bench.name} ended with {done.returncode}: {done.stderr.strip()[-200:]}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def _timed(built: Built, threads: int, rounds: Sequence[Mapping[str, Any]]) -> Iterator[Timed]:
    for kernel in built.kernels:
        rows = [each[kernel.name] for each in rounds]
        middle, low, high = (median(row[key] for row in rows) for key in ("median_us", "p10_us", "p90_us"))
        yield Timed(built.name, kernel, threads, middle, low, high, _RUNS * len(rows), len(rows))


def write_rows(path: Path, wholes: Sequence[Whole]) -> None:
    """One line of JSON a kernel, and one a network, which has no `keys`."""
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for whole in wholes:
            head = {"network": whole.network, "threads": whole.threads}
            for row in whole.kernels:
                times = {key: getattr(row, key) for key in ("median_us", "p10_us", "p90_us", "n", "rounds")}
                file.write(json.dumps(head | row.kernel.document() | times) + "\n")
            file.write(json.dumps(head | {"whole_ms": whole.median_ms}) + "\n")


def read_rows(path: Path) -> tuple[Whole, ...]:
    """What `write_rows` wrote. Raises UserError naming the file and the line."""
    wholes: list[Whole] = []
    kernels: list[Timed] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        try:
            row = json.loads(line)
            if "whole_ms" in row:
                wholes.append(Whole(row["network"], row["threads"], row["whole_ms"], tuple(kernels)))
                kernels = []
                continue
            kernel = Kernel(
                row["name"], tuple(row["keys"]), row["family"], row["parameters"], row["recorded"], row["ahead_bytes"]
            )
            times = (row["median_us"], row["p10_us"], row["p90_us"], row["n"], row["rounds"])
            kernels.append(Timed(row["network"], kernel, row["threads"], *times))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}:{number}: not a measured kernel ({error})") from None
    return tuple(wholes)
