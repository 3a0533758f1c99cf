"""Reference rows of Arm's Ethos-U from its compiler Vela: python benchmarks/vela_rows.py --help.

Vela estimates the cycles of every operator that it schedules. It needs an environment of its own:

    python -m venv vela && vela/bin/pip install -r benchmarks/requirements-vela.txt
    python benchmarks/vela_rows.py --vela vela/bin/vela mobilenet_v3_large.tflite ...

How the rows come about:
1. Each accelerator has the system and memory mode of `SETUPS`, both as Vela ships them in its `Arm/vela.ini`; all other
   options are Vela's defaults, so it compiles for performance with its default core (Regor).
2. A row is a line of its `--verbose-performance` table, called after the tensor that the operator makes. Lines without
   cycles are left out: activations and tables that Vela fuses into the operator before.
3. `cycles` is the largest of `npu_cycles` (multiply-accumulates, output and waiting for weights), `sram_cycles`,
   `dram_cycles` and `flash_cycles` (accesses of each memory at its bandwidth). A network's are their sum, which is held
   against the total that Vela reports: operators do not overlap, but for the weights that one fetches for the next.
4. Vela compresses weights, so real ones are wanted, or at least such as are distributed alike.
"""

import csv
import io
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from command_line import run_command_line

from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.whole_file import write_whole

VERSION = "5.2.0"
ROWS = Path(__file__).resolve().parents[1] / "tests" / "targets" / "edgetpu" / "data" / f"vela_{VERSION}.csv"
HEADER = (
    *("network", "accelerator", "name", "op", "npu_op"),
    *("cycles", "npu_cycles", "sram_cycles", "dram_cycles", "flash_cycles", "macs"),
)
# Names of HEADER from "name" on, as Vela's table has them.
_COLUMNS = ("Name", "Original Operator", "NNG Operator", "Op Cycles", "NPU", "SRAM AC", "DRAM AC", "OffFlash AC")
_MACS = "MAC Count"


@dataclass(frozen=True)
class Setup:
    """The system that an accelerator sits in: sections `System_Config.*` and `Memory_Mode.*` of Arm/vela.ini."""

    system: str
    memory: str


SETUPS = {
    # 500 MHz; SRAM of 4 GB/s, shared with the host, holds the activations; flash of 0.5 GB/s holds the weights.
    "ethos-u55-256": Setup("Ethos_U55_High_End_Embedded", "Shared_Sram"),
    # 1 GHz; SRAM of 16 GB/s for the accelerator alone; DRAM of 3.75 GB/s holds weights, input and output.
    "ethos-u65-512": Setup("Ethos_U65_High_End", "Dedicated_Sram"),
}


def main() -> None:
    """Run the command; exit 2 for wrong input and 3 for what is missing, with one line on stderr."""
    run_command_line("vela_rows", vela_rows)


def vela_rows(
    models: Annotated[list[Path], typer.Argument(metavar="FILE...", help="int8 .tflite files; their names count.")],
    vela: Annotated[Path, typer.Option(metavar="FILE", help=f"The vela command of release {VERSION}.")],
    accelerator: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Default: all.")] = None,
    output: Annotated[Path, typer.Option(metavar="FILE", help="Other rows of an existing file stay.")] = ROWS,
) -> None:
    """Run networks through Vela and write a row per operator.

    Example: python benchmarks/vela_rows.py --vela vela/bin/vela mobilenet_v3_large.tflite --accelerator ethos-u65-512
    """
    for path in (vela, *models):
        if not path.is_file():
            raise MissingError(f"{path}: no such file")
    for name in accelerator or ():
        if name not in SETUPS:
            raise UserError(f"--accelerator {name}: must be one of {', '.join(SETUPS)}")
    require_release(vela)
    for model in models:
        for name in accelerator or SETUPS:
            rows = compile_network(vela, model, name)
            replace_rows(output, rows)
            typer.echo(f"{model.stem} {name}: {sum(int(row['cycles']) for row in rows):,} cycles")


def require_release(vela: Path) -> None:
    """Raises MissingError where the command is another release, or does not run."""
    found = _run([str(vela), "--version"]).strip()
    if found != VERSION:
        raise MissingError(f"{vela}: is Vela {found}, needs {VERSION}")


def compile_network(vela: Path, model: Path, accelerator: str) -> list[dict[str, str]]:
    """A row per operator. Raises MissingError where Vela fails, and UserError where it leaves work to the host."""
    setup = SETUPS[accelerator]
    with tempfile.TemporaryDirectory() as folder:
        options = ["--accelerator-config", accelerator, "--config", "Arm/vela.ini"]
        options += ["--system-config", setup.system, "--memory-mode", setup.memory]
        _run([str(vela), str(model), *options, "--verbose-performance", "--output-dir", folder])
        lines = _table(Path(folder) / f"{model.stem}_per-layer.csv")
        (summary,) = _table(Path(folder) / f"{model.stem}_summary_{setup.system}.csv")
    hosted = [line["Name"] for line in lines if line["Target"] != "NPU"]
    if hosted:
        raise UserError(f"{model}: Vela leaves operators to the host: {', '.join(hosted[:5])}")
    rows = [row for line in lines for row in _row(model.stem, accelerator, line)]
    total, reported = sum(int(row["cycles"]) for row in rows), round(float(summary["cycles_total"]))
    if total != reported:
        raise UserError(f"{model}: the rows have {total} cycles, Vela reports {reported}")
    return rows


def _run(command: Sequence[str]) -> str:
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise MissingError(f"{command[0]}: cannot be run: {error.strerror}") from error
    if run.returncode != 0:
        last = (run.stderr.strip() or run.stdout.strip() or "it said nothing").splitlines()[-1]
        raise MissingError(f"{' '.join(command[:2])} failed: {last}")
    return run.stdout


def _table(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise MissingError(f"Vela wrote no {path.name}; it found nothing to put on the accelerator")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _row(network: str, accelerator: str, line: dict[str, str]) -> Iterator[dict[str, str]]:
    """The row of a line of Vela's table, unless it takes no cycles."""
    if int(line["Op Cycles"]) > 0:
        values = (network, accelerator, *(line[column].strip() for column in (*_COLUMNS, _MACS)))
        yield dict(zip(HEADER, values, strict=True))


def replace_rows(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Put rows in a file in place of those of the same network and accelerator."""
    kept: list[dict[str, str]] = []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            kept = [row for row in csv.DictReader(file) if _group(row) != _group(rows[0])]
    text = io.StringIO()
    writer = csv.DictWriter(text, HEADER, lineterminator="\n")
    writer.writeheader()
    ordered: list[dict[str, str]] = sorted([*kept, *rows], key=_group)
    writer.writerows(ordered)
    write_whole(path, text.getvalue())


def _group(row: dict[str, str]) -> tuple[str, str]:
    return row["network"], row["accelerator"]


if __name__ == "__main__":
    main()
