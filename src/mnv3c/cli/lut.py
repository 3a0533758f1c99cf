"""`mnv3c lut`: a look-up table of a search space on a device."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnv3c.cli.cluster_option import ClusterOption
from mnv3c.cli.latency_source import find_source
from mnv3c.cli.measure_programs import MaxNoiseOption, noise_share
from mnv3c.cli.profile_options import AsJson
from mnv3c.graph.errors import MissingError, UserError

if TYPE_CHECKING:
    from mnv3c.cli.lut_measured import Measuring
    from mnv3c.profiles.lut.table import Table
    from mnv3c.search.lut import Progress, Request
    from mnv3c.search.space import Space

_FORMATS = "json|ofa|proxyless|nn-meter|csv|parquet"
_KEPT = "networks.jsonl"
_MOST_SHOWN = 6


def lut(
    space: Annotated[
        str, typer.Option("--space", metavar="SPACE", help="A space of networks: a shipped one, or a .yaml.")
    ],
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="NAME", help="A profile (predicts) or an accelerator (is emulated)."),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE", help="Measure here: host, ssh:[USER@]HOST[:PORT], adb:SERIAL, rpc:HOST:PORT/KEY."
        ),
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="With --device and --on: measure the N least certain entries. Default 20."
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", metavar="NAME", help="For --on alone: arm64, ...; by default this host's.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=64, help="For --on alone: threads of the programs. Default 1.")
    ] = None,
    max_noise: MaxNoiseOption = "5%",
    resolutions: Annotated[
        str | None,
        typer.Option(
            metavar="N,N..|A..B:STEP", help="Sides of images, as 192,224 or 160..224:4. Default: the space's."
        ),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", metavar=_FORMATS, help="Write this format beside lut.json. Repeat for more."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Where the table goes, and finished work.")
    ] = None,
    cluster: ClusterOption = None,
    count: Annotated[bool, typer.Option("--count", help="Only count the space's networks, blocks and layers.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the look-up table of a space: every block and layer of its networks, measured, predicted or emulated.

    What is finished is kept in DIR: a table that was stopped goes on where it was.

    Example: mnv3c lut --space ofa-mbv3-w1.0 --device pixel4-cpu-tflite -o tables
    """
    from mnv3c.profiles.lut.exporters import EXPORTERS
    from mnv3c.search.cluster import open_workers
    from mnv3c.search.lut import Request
    from mnv3c.search.space_file import find_space

    began_s = time.perf_counter()
    found = find_space(space)
    sides = _sides(resolutions) if resolutions else found.resolutions
    counted = count_space(found, sides)
    if count:
        typer.echo(json.dumps(counted) if as_json else _counted_text(counted))
        return
    if output is None:
        raise UserError("-o DIR says where the table goes")
    if device is None and on is None:
        raise UserError("--device NAME says whose latencies: a profile or an accelerator; or --on PLACE, to measure")
    if unknown := [name for name in formats or () if name not in EXPORTERS]:
        raise UserError(f"--format: '{unknown[0]}' is not one of {', '.join(EXPORTERS)}")
    open_workers(cluster)  # Refuses what names no cluster.
    _make_folder(output)
    with _bar(_counted_text(counted)) as progress:
        request = Request(found, sides, output / _KEPT, progress)
        table = _table(request, device, on, _Given(budget, target, threads, noise_share(max_noise), output, cluster))
    files = [path for name in dict.fromkeys(["json", *(formats or ())]) for path in EXPORTERS[name](table, output)]
    document = lut_json(table, files, counted, time.perf_counter() - began_s)
    if as_json:
        typer.echo(json.dumps(document))
    else:
        typer.echo(_counted_text(counted))
        _print(document, output)


def lut_json(table: "Table", files: list[Path], counted: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The document of `mnv3c lut --json`."""
    return {
        "entries": len(table.entries),
        **{str(kind): number for kind, number in table.counts.items()},
        "in_range": sum(entry.in_range for entry in table.entries),
        "files": [str(path) for path in files],
        "seconds": seconds,
        "space": counted,
        "additivity": vars(table.additivity) if table.additivity else None,
    }


def count_space(space: "Space", resolutions: tuple[int, ...]) -> dict[str, Any]:
    """How many networks, resolutions, different units, blocks among them, and different layers there are."""
    from mnv3c.profiles.block import Block
    from mnv3c.search.lut import units_of_space

    units = units_of_space(space, resolutions)
    return {
        "name": space.name,
        "networks": space.size,
        "resolutions": len(resolutions),
        "units": len(units),
        "blocks": sum(isinstance(unit, Block) for unit in units),
        "layers": len({key for unit in units for key in unit.layer_keys()}),
    }


@dataclass(frozen=True)
class _Given:
    """What the command line says of measuring, and who does the rest."""

    budget: int | None
    target: str | None
    threads: int | None
    max_noise: float
    folder: Path
    cluster: str | None

    def measuring(self, place: str, threads: int) -> "Measuring":
        from mnv3c.cli.lut_measured import Measuring
        from mnv3c.compiler.measure.settings import Settings

        return Measuring(place, Settings(threads, max_noise=self.max_noise), self.folder, self.cluster)


def _table(request: "Request", device: str | None, on: str | None, given: _Given) -> "Table":
    from mnv3c.cli.lut_measured import measured_table, with_measured
    from mnv3c.search.cluster import open_workers
    from mnv3c.search.lut import emulated_table, predicted_table
    from mnv3c.targets.edgetpu.device import AcceleratorDevice

    if device is not None and (given.target, given.threads) != (None, None):
        raise UserError("--target and --threads are for --on without --device: a profile states its own")
    if given.budget is not None and (device is None or on is None):
        raise UserError("--budget is for --device PROFILE with --on PLACE, which measures every entry without one")
    if device is None:
        return measured_table(request, given.target, given.measuring(str(on), given.threads or 1))
    source = find_source(device)
    if isinstance(source, AcceleratorDevice) and on is not None:
        raise UserError(f"--on measures programs on processors; '{source.name}' is an accelerator, and is emulated")
    with open_workers(given.cluster) as workers:
        spread = replace(request, workers=workers)
        if isinstance(source, AcceleratorDevice):
            return emulated_table(spread, source)
        table = predicted_table(spread, source)
    if on is None:
        return table
    return with_measured(table, source, given.budget, given.measuring(on, source.identity.threads))


def _sides(text: str) -> tuple[int, ...]:
    sides: list[int] = []
    for part in text.split(","):
        first, dots, rest = part.partition("..")
        last, _, step = rest.partition(":") if dots else (first, "", "")
        words = (first, last, step or "1")
        if not all(word.isascii() and word.isdecimal() and len(word) < 6 and int(word) for word in words):
            raise UserError(f"--resolutions must be sides of images, as 192,224 or 160..224:4, not '{text}'")
        sides += range(int(first), int(last) + 1, int(words[2]))
    if not sides or sorted(set(sides)) != sides or not 8 <= sides[0] <= sides[-1] <= 4096:
        raise UserError(f"--resolutions must ascend within 8 to 4096, each once, not '{text}'")
    return tuple(sides)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{folder}: is not a folder") from None
    except OSError as error:
        raise MissingError(f"cannot make the folder {folder}: {error.strerror}") from error


@contextmanager
def _bar(counted: str) -> "Iterator[Progress]":
    """Shows on a terminal what there is to do, and how many networks were planned or emulated."""
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.completed} networks judged"), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        if console.is_terminal:
            bar.console.print(counted, soft_wrap=True, markup=False, highlight=False)
        task = bar.add_task("networks", total=None)
        yield lambda done: bar.update(task, completed=done)


def _counted_text(counted: dict[str, Any]) -> str:
    return (
        f"space {counted['name']}: {counted['networks']:,} networks, at {counted['resolutions']} resolutions "
        f"{counted['units']:,} entries, of which {counted['blocks']:,} blocks; {counted['layers']:,} different layers"
    )


def _print(document: dict[str, Any], folder: Path) -> None:
    kinds = ", ".join(f"{document[kind]:,} {kind}" for kind in ("measured", "predicted", "emulated") if document[kind])
    outside = document["entries"] - document["in_range"]
    typer.echo(f"{document['entries']:,} entries, {kinds}, in {document['seconds']:.1f} s")
    if outside:
        typer.echo(f"{outside:,} of them lie outside what the profile has seen; their intervals are wide")
    if additivity := document["additivity"]:
        rank = "" if additivity["spearman"] is None else f", Spearman {additivity['spearman']:.3f}"
        typer.echo(
            f"sums against {additivity['networks']} whole networks ({additivity['whole']}): off by "
            f"{additivity['mape']:.2f} % on average, bias {round(additivity['bias'], 2) + 0:+.2f} %{rank}"
        )
    names = [Path(name).name for name in document["files"]]
    shown = [*names[:2], "...", names[-1]] if len(names) > _MOST_SHOWN else names
    typer.echo(f"{len(names)} files in {folder}: {', '.join(shown)}")
