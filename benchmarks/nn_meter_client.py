"""nn-Meter itself reads our export: python benchmarks/nn_meter_client.py --help.

It needs an environment of its own, which benchmarks/requirements-nn-meter.txt describes:

    python benchmarks/nn_meter_client.py --python nn-meter/bin/python

nn-Meter has no look-up tables: `profiled_results.json` is what its predictor builder reads the measured kernels from.
So its `get_data_by_profiled_results` extracts features and latencies of every kernel of our file, which have to be
those of the table to 1e-6 ms, none missing, and its `build_predictor_by_data` fits a predictor to each type of block.
"""

import json
import tempfile
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Annotated, Any

import typer
from command_line import judge_difference, run_command_line
from other_python import Client

from mnv3c.graph.whole_file import write_whole
from mnv3c.profiles.library import find_profile
from mnv3c.profiles.lut.exporters import EXPORTERS
from mnv3c.profiles.lut.table import Table
from mnv3c.search.lut import Request, predicted_table
from mnv3c.search.space_file import find_space

_CLIENT = Client("nn-Meter", Path(__file__).with_name("nn_meter_reader.py"), "benchmarks/requirements-nn-meter.txt")


def read_by_client(python: Path, file: Path) -> dict[str, Any]:
    """What nn-Meter reads, by type of kernel. Raises MissingError where it fails."""
    with tempfile.TemporaryDirectory() as home:
        found: dict[str, Any] = _CLIENT.answer(python, {"file": str(file), "home": home})
    return found


@dataclass(frozen=True)
class Written:
    """One kernel of the file: the latency that the table has of it, and its features."""

    latency_ms: float
    features: tuple[int, ...]


def written_by_type(table: Table, file: Path) -> dict[str, list[Written]]:
    """The table's entries in the order of the file, by type of kernel."""
    known_ms = {str(entry.unit): entry.p50_ms for entry in table.entries}
    return {
        kind: [Written(known_ms[kernel["model"]], tuple(kernel["config"].values())) for kernel in of_kind.values()]
        for kind, of_kind in json.loads(file.read_text(encoding="utf-8")).items()
    }


def worst_difference_ms(written: dict[str, list[Written]], read: dict[str, Any]) -> float:
    """The largest difference of a latency; infinite where nn-Meter has passed a kernel over, or has other features."""
    worst_ms = 0.0
    for kind, kernels in written.items():
        features, latencies_ms = read[kind]["features"], read[kind]["latencies_ms"]
        if len(latencies_ms) != len(kernels):
            return inf
        for kernel, theirs, ms in zip(kernels, features, latencies_ms, strict=True):
            # Behind a kernel's own features nn-Meter puts its FLOPs and parameters.
            if tuple(theirs[: len(kernel.features)]) != kernel.features:
                return inf
            worst_ms = max(worst_ms, abs(kernel.latency_ms - ms))
    return worst_ms


def main(
    python: Annotated[Path, typer.Option(help="Python of the environment that has nn-Meter.")],
    device: Annotated[str, typer.Option(metavar="PROFILE", help="Whose latencies.")] = "pixel4-cpu-tflite",
    space: Annotated[str, typer.Option(metavar="SPACE", help="Of which networks.")] = "ofa-mbv3-w1.0",
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here.")] = None,
) -> None:
    """Write a table for nn-Meter, have it read by nn-Meter, and compare every entry.

    Example: python benchmarks/nn_meter_client.py --python nn-meter/bin/python
    """
    found = find_space(space)
    table = predicted_table(Request(found, (160, 192, 224)), find_profile(device))
    with tempfile.TemporaryDirectory() as folder:
        (file,) = EXPORTERS["nn-meter"](table, Path(folder))
        written, read = written_by_type(table, file), read_by_client(python, file)
    worst_ms = worst_difference_ms(written, read)
    trained = sum(of_kind["trained"] for of_kind in read.values())
    if json_file is not None:
        kinds = {kind: len(kernels) for kind, kernels in written.items()}
        known_ms = None if worst_ms == inf else worst_ms
        document = {"device": device, "space": space, "worst_ms": known_ms, "entries": kinds}
        write_whole(json_file, json.dumps(document) + "\n")
    kinds_text = f"{len(table.entries)} entries of {len(written)} types of kernel"
    judge_difference(f"{space} by {device}: {kinds_text}, a predictor fitted to {trained} blocks", worst_ms)


if __name__ == "__main__":
    run_command_line("nn_meter_client", main)
