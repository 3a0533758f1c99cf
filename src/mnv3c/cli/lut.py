"""`mnv3c lut`: a look-up table of a search space on a device."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnv3c.cli.cluster_option import ClusterOption
from mnv3c.cli.latency_source import SourceOption, find_source
from mnv3c.cli.measure_programs import MaxNoiseOption, noise_share
from mnv3c.cli.profile_options import AsJson
from mnv3c.graph.errors import MissingError, UserError

if TYPE_CHECKING:
    from mnv3c.cli.lut_measured import Measuring
    from mnv3c.profiles.lut.table import Table
    from mnv3c.search.lut import Progress
    from mnv3c.search.space import Space

_FORMATS = "json|ofa|proxyless|nn-meter|csv|parquet"
_KEPT = "networks.jsonl"
_MOST_SHOWN = 6
_PlaceOption = Annotated[
    str | None,
    typer.Option(metavar="PLACE", help="Measure here: host, ssh:[USER@]HOST[:PORT], adb:SERIAL, rpc:HOST:PORT/KEY."),
]
_BudgetOption = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="With --device and --on: measure the N least certain entries. Default 20."),
]
_SidesOption = Annotated[
    str | None,
    typer.Option(metavar="N,N..|A..B:STEP", help="Sides of images, as 192,224 or 160..224:4. Default: the space's."),
]


def lut(
    space: Annotated[
        str, typer.Option("--space", metavar="SPACE", help="A space of networks: a shipped one, or a .yaml.")
    ],
    device: SourceOption = None,
    on: _PlaceOption = None,
    budget: _BudgetOption = None,
    target: Annotated[
        str | None, typer.Option("--target", metavar="NAME", help="For --on alone: arm64, ...; by default this host's.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=64, help="For --on alone: threads of the programs. Default 1.")
    ] = None,
    max_noise: MaxNoiseOption = "5%",
    resolutions: _SidesOption = None,
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
    given = _Given(device, on, budget, target, threads, noise_share(max_noise), output, cluster)
    _check(given, formats or ())
    _make_folder(output)
    if sys.stderr.isatty():
        typer.echo(_counted_text(counted), err=True)
    table = _table(found, sides, given)
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
    """What the command line says of whose latencies they are, of measuring, and of who does the rest."""

    device: str | None
    on: str | None
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


def _check(given: _Given, formats: Sequence[str]) -> None:
    """Raises UserError for what does not go together, before there is a folder."""
    from mnv3c.profiles.lut.exporters import EXPORTERS
    from mnv3c.search.cluster import open_workers

    if given.device is None and given.on is None:
        raise UserError("--device NAME says whose latencies: a profile or an accelerator; or --on PLACE, to measure")
    if unknown := [name for name in formats if name not in EXPORTERS]:
        raise UserError(f"--format: '{unknown[0]}' is not one of {', '.join(EXPORTERS)}")
    if given.device is not None and (given.target, given.threads) != (None, None):
        raise UserError("--target and --threads are for --on without --device: a profile states its own")
    if given.budget is not None and (given.device is None or given.on is None):
        raise UserError("--budget is for --device PROFILE with --on PLACE, which measures every entry without one")
    # Refuses what names no cluster; none is opened before there is work.
    open_workers(given.cluster)


def _table(space: "Space", sides: tuple[int, ...], given: _Given) -> "Table":
    from mnv3c.cli.lut_measured import measured_table, with_measured
    from mnv3c.search.cluster import open_workers
    from mnv3c.search.lut import Request, emulated_table, predicted_table
    from mnv3c.targets.edgetpu.device import AcceleratorDevice

    if given.device is None:
        measuring = given.measuring(str(given.on), given.threads or 1)
        return measured_table(Request(space, sides), given.target, measuring)
    source = find_source(given.device)
    if isinstance(source, AcceleratorDevice) and given.on is not None:
        raise UserError(f"--on measures programs on processors; '{source.name}' is an accelerator, and is emulated")
    with _bar() as progress, open_workers(given.cluster) as workers:
        request = Request(space, sides, given.folder / _KEPT, progress, workers)
        if isinstance(source, AcceleratorDevice):
            return emulated_table(request, source)
        table = predicted_table(request, source)
    if given.on is None:
        return table
    return with_measured(table, source, given.budget, given.measuring(given.on, source.identity.threads))


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
def _bar() -> "Iterator[Progress]":
    """Shows on a terminal how many networks were planned or emulated."""
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.completed} networks judged"), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
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
