"""Once-for-all's own client reads our table: python benchmarks/ofa_client.py --help.

It needs an environment of its own, with an older PyYAML; benchmarks/requirements-ofa.txt says how it is made:

    python benchmarks/ofa_client.py --python ofa/bin/python

Random sub-networks are drawn in mnv3c. ofa makes each with its `OFAMobileNetV3`, and `MBv3LatencyTable` adds up what
our `{resolution}_lookup_table.yaml` says of it; `Table.latency_ms` does the same from the table in memory. Both have to
agree to 1e-6 ms. Only the environment's Python is asked, so nothing of ofa's is imported here.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Annotated, Any

import typer
from command_line import judge_difference, run_command_line
from other_python import Client

from mnv3c.graph.whole_file import write_whole
from mnv3c.profiles.library import find_profile
from mnv3c.profiles.lut.exporters import EXPORTERS
from mnv3c.profiles.lut.table import Table
from mnv3c.search.lut import Request, predicted_table
from mnv3c.search.space import Space, Subnet
from mnv3c.search.space_file import find_space

_MOST_BLOCKS = 4
_CLIENT = Client("ofa", Path(__file__).with_name("ofa_reader.py"), "benchmarks/requirements-ofa.txt")


@dataclass(frozen=True)
class Asked:
    """One sub-network: as ofa's settings, and what our reader says of it."""

    settings: dict[str, Any]
    ours_ms: float


def settings_of(space: Space, subnet: Subnet, resolution: int) -> dict[str, Any]:
    """Kernel and expansion ratio of each of 5 x 4 blocks, those left out too, and the depths, as ofa wants them."""
    blocks = iter(space.blocks(subnet, resolution)[1:])
    kernels, ratios = [], []
    for stage in subnet.stages[1:]:
        own = [next(blocks) for _ in stage.blocks]
        kernels += [block.kernel for block in own] + [3] * (_MOST_BLOCKS - len(own))
        ratios += [round(block.c_expand / block.c_in) for block in own] + [3] * (_MOST_BLOCKS - len(own))
    depths = [len(stage.blocks) for stage in subnet.stages[1:]]
    return {"ks": kernels, "e": ratios, "d": depths, "resolution": resolution}


def asked_of(space: Space, table: Table, count: int, seed: int) -> list[Asked]:
    """Random sub-networks of random resolutions."""
    rng = Random(seed)
    found = []
    for _ in range(count):
        subnet, resolution = space.random(rng), rng.choice(table.resolutions)
        ours_ms = table.latency_ms(space.units(subnet, resolution))
        found.append(Asked(settings_of(space, subnet, resolution), ours_ms))
    return found


def read_by_client(python: Path, folder: Path, width: float, asked: list[Asked]) -> list[float]:
    """What ofa says, in milliseconds. Raises MissingError where it fails."""
    request = {"folder": str(folder), "width": width, "networks": [each.settings for each in asked]}
    return [float(value) for value in _CLIENT.answer(python, request)]


def main(
    python: Annotated[Path, typer.Option(help="Python of the environment that has ofa.")],
    device: Annotated[str, typer.Option(help="The profile that predicts the table.")] = "pixel4-cpu-tflite",
    width: Annotated[float, typer.Option(help="1.0 or 1.2.")] = 1.0,
    networks: Annotated[int, typer.Option(min=1, help="Random sub-networks.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the random sub-networks.")] = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the rows here, as JSON.")] = None,
) -> None:
    """Compare once-for-all's client with our reader."""
    space = find_space(f"ofa-mbv3-w{width}")
    table = predicted_table(Request(space, space.resolutions), find_profile(device))
    asked = asked_of(space, table, networks, seed)
    with tempfile.TemporaryDirectory() as folder:
        EXPORTERS["ofa"](table, Path(folder))
        theirs_ms = read_by_client(python, Path(folder), width, asked)
    worst_ms = max(abs(each.ours_ms - read_ms) for each, read_ms in zip(asked, theirs_ms, strict=True))
    rows = [each.settings | {"ours_ms": each.ours_ms, "ofa_ms": ms} for each, ms in zip(asked, theirs_ms, strict=True)]
    if output is not None:
        document = {"device": device, "space": space.name, "worst_ms": worst_ms, "networks": rows}
        write_whole(output, json.dumps(document) + "\n")
    span = f"{min(theirs_ms):.3f} to {max(theirs_ms):.3f} ms"
    judge_difference(f"{space.name} by {device}: {networks} sub-networks, {span}", worst_ms)


if __name__ == "__main__":
    run_command_line("ofa_client", main)
