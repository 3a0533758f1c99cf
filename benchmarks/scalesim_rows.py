"""Reference rows of the systolic array from SCALE-Sim: python benchmarks/scalesim_rows.py --help.

SCALE-Sim needs an environment of its own (its numpy is older than ours):

    python -m venv scalesim && scalesim/bin/pip install -r benchmarks/requirements-scalesim.txt
    python benchmarks/scalesim_rows.py --python scalesim/bin/python

How the rows come about:
1. Memory is ideal: `InterfaceBandwidth : CALC`, in which SCALE-Sim serves every read as a hit, and an output buffer
   that never fills. A row is its "Total Cycles" of COMPUTE_REPORT; a run with stall cycles is refused.
2. Every distinct layer (M, K, N) of a network is really run, once for each array and dataflow; equal layers share it.
3. A depthwise convolution is C equal layers of one channel. One of them is run; its row says `channels` = C, and the
   network's total counts its cycles C times.
4. Traces are not written (`save_disk_space`), which changes no cycle; its command line ignores that switch (`-s N`).
5. SCALE-Sim knows no padding and rounds an output's extent up, so a convolution's image is given as the part of the
   padded one that its windows read. V3-Large's layers are given as matrix products, the way `-i gemm` reads them: an
   image of M x K and filters of 1 x K.
One core needs 3 minutes for V3-Large, 7 for ResNet-18, 20 for AlexNet and over an hour for YOLO-tiny.

The release carries no topology files. ResNet-18, AlexNet and YOLO-tiny are written here from their papers; with
SCALE-Sim's repository at hand, `--topology FILE` adds the rows of any of its own files.
"""

import csv
import io
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Annotated

import typer
from command_line import run_command_line

from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.ops import Conv2d
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.whole_file import write_whole

ROWS = Path(__file__).resolve().parents[1] / "tests" / "targets" / "edgetpu" / "data" / "scalesim_3.0.0.csv"
DATAFLOWS = ("os", "ws", "is")
HEADER = (
    *("network", "layer", "m", "k", "n", "channels", "rows", "cols", "dataflow"),
    *("cycles", "ifmap_reads", "filter_reads", "ofmap_writes"),
)
# What SCALE-Sim's python runs: one layer per folder, so that the matrices of only one layer are held at a time.
_WORKER = """
import sys
from importlib.metadata import version
from scalesim.scale_sim import scalesim
assert version("scalesim") == "3.0.0", "scalesim is " + version("scalesim")
for job in sys.argv[1:]:
    run = scalesim(save_disk_space=True, verbose=False, config=job + "/run.cfg", topology=job + "/topology.csv",
                   layout=job + "/layout.csv")
    run.run_scale(top_path=job)
"""
_CONFIG = """[general]
run_name = report
[architecture_presets]
ArrayHeight : {rows}
ArrayWidth : {cols}
IfmapSramSzkB : {ifmap_kb}
FilterSramSzkB : {filter_kb}
OfmapSramSzkB : {ofmap_kb}
IfmapOffset : 0
FilterOffset : 1000000000
OfmapOffset : 2000000000
Dataflow : {dataflow}
Bandwidth : {cols}
ReadRequestBuffer : 64
WriteRequestBuffer : 64
[layout]
IfmapCustomLayout : False
IfmapSRAMBankBandwidth : 10
IfmapSRAMBankNum : 10
IfmapSRAMBankPort : 2
FilterCustomLayout : False
FilterSRAMBankBandwidth : 10
FilterSRAMBankNum : 10
FilterSRAMBankPort : 2
[sparsity]
SparsitySupport : false
[run_presets]
InterfaceBandwidth : CALC
UseRamulatorTrace : False
"""
_TOPOLOGY_HEADER = "Layer,IFMAP Height,IFMAP Width,Filter Height,Filter Width,Channels,Num Filter,Strides,\n"


@dataclass(frozen=True)
class Layer:
    """A convolution over an image (height, width, channels) that has its padding on.

    `count` equal layers stand for it: the channels of a depthwise convolution.
    """

    name: str
    height: int
    width: int
    kernel: tuple[int, int]
    channels: int
    filters: int
    stride: int = 1
    count: int = 1

    @property
    def gemm(self) -> tuple[int, int, int]:
        """M, K and N, the output's extent as SCALE-Sim rounds it."""
        rows, cols = (
            ceil((extent - kernel + self.stride) / self.stride)
            for extent, kernel in zip((self.height, self.width), self.kernel, strict=True)
        )
        return rows * cols, self.kernel[0] * self.kernel[1] * self.channels, self.filters

    @property
    def topology(self) -> str:
        """Its line in a topology file."""
        shape = (self.height, self.width, *self.kernel, self.channels, self.filters, self.stride)
        return "layer," + ",".join(str(extent) for extent in shape) + ",\n"


@dataclass(frozen=True)
class Setting:
    """An array of PEs (rows, columns) and what stays in it."""

    rows: int
    cols: int
    dataflow: str


@dataclass(frozen=True)
class Counts:
    """What SCALE-Sim reports of one run: total cycles, elements read of either operand, elements written."""

    cycles: int
    ifmap_reads: int
    filter_reads: int
    ofmap_writes: int


def main() -> None:
    """Run the command; exit 2 for wrong input and 3 for what is missing, with one line on stderr."""
    run_command_line("scalesim_rows", scalesim_rows)


def scalesim_rows(
    python: Annotated[Path, typer.Option(metavar="FILE", help="The python that has scalesim 3.0.0.")],
    network: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only these; repeatable.")] = None,
    topology: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A topology file of SCALE-Sim's; repeatable.")
    ] = None,
    array: Annotated[list[int] | None, typer.Option(metavar="N", min=1, help="Arrays of NxN; default: 32, 64.")] = None,
    dataflow: Annotated[list[str] | None, typer.Option(metavar="NAME", help="os, ws or is; default: all.")] = None,
    output: Annotated[Path, typer.Option(metavar="FILE", help="Other rows of an existing file stay.")] = ROWS,
) -> None:
    """Run networks through SCALE-Sim and write a row per layer. V3-Large runs on all arrays, others on the first.

    Example: python benchmarks/scalesim_rows.py --python scalesim/bin/python --network mobilenet_v3_large --array 32
    """
    if not python.is_file():
        raise MissingError(f"--python {python}: no such file")
    known = networks() | {path.stem: read_topology(path) for path in topology or ()}
    _check("--network", network, known)
    _check("--dataflow", dataflow, DATAFLOWS)
    sizes = array or [32, 64]
    for name in network or known:
        for size in sizes if name == "mobilenet_v3_large" else sizes[:1]:
            for each in dataflow or DATAFLOWS:
                setting = Setting(size, size, each)
                rows = table(name, known[name], setting, run_layers(python, known[name], setting))
                replace_rows(output, rows)
                total = sum(int(row["cycles"]) * int(row["channels"]) for row in rows)
                typer.echo(f"{name} {size}x{size} {each}: {total:,} cycles")


def _check(option: str, names: Sequence[str] | None, known: Iterable[str]) -> None:
    for name in names or ():
        if name not in known:
            raise UserError(f"{option} {name}: must be one of {', '.join(known)}")


def networks() -> dict[str, tuple[Layer, ...]]:
    """The networks that have rows, by name."""
    return {
        "mobilenet_v3_large": graph_layers(run_passes(mobilenet_v3("large"), default_passes())),
        "resnet18": tuple(_resnet18()),
        "alexnet": _alexnet(),
        "yolo_tiny": tuple(_yolo_tiny()),
    }


def graph_layers(graph: Graph) -> tuple[Layer, ...]:
    """Every weight layer of a graph as a matrix product, or as one for each group."""
    return tuple(_graph_layer(graph, node) for node in graph.weight_layers)


def _graph_layer(graph: Graph, node: Node) -> Layer:
    groups = node.op.groups if isinstance(node.op, Conv2d) else 1
    out = graph.type_of(node.name)
    n = out.channels // groups
    m = out.elements // out.channels
    k = graph.macs(node) // (m * n * groups)
    return Layer(node.name, height=m, width=k, kernel=(1, k), channels=1, filters=n, count=groups)


def _conv(name: str, extent: int, kernel: int, channels: int, filters: int, stride: int = 1) -> Layer:
    """A convolution with a square output, over just the part of its padded image that its windows read."""
    image = (extent - 1) * stride + kernel
    return Layer(name, image, image, (kernel, kernel), channels, filters, stride)


def _resnet18() -> Iterator[Layer]:
    """He et al., Deep Residual Learning for Image Recognition, table 1, on 224x224."""
    yield _conv("conv1", 112, 7, 3, 64, stride=2)
    previous = 64
    for stage, (extent, width) in enumerate(((56, 64), (28, 128), (14, 256), (7, 512)), start=2):
        for block in (1, 2):
            stride = 2 if width != previous else 1
            yield _conv(f"conv{stage}_{block}a", extent, 3, previous, width, stride)
            yield _conv(f"conv{stage}_{block}b", extent, 3, width, width)
            if stride == 2:
                yield _conv(f"conv{stage}_shortcut", extent, 1, previous, width, stride)
            previous = width
    yield _conv("fc", 1, 1, 512, 1000)


def _alexnet() -> tuple[Layer, ...]:
    """Krizhevsky et al., ImageNet Classification with Deep CNNs, as one network instead of two halves, on 227x227."""
    return (
        _conv("conv1", 55, 11, 3, 96, stride=4),
        _conv("conv2", 27, 5, 96, 256),
        _conv("conv3", 13, 3, 256, 384),
        _conv("conv4", 13, 3, 384, 384),
        _conv("conv5", 13, 3, 384, 256),
        _conv("fc6", 1, 1, 9216, 4096),
        _conv("fc7", 1, 1, 4096, 4096),
        _conv("fc8", 1, 1, 4096, 1000),
    )


def _yolo_tiny() -> Iterator[Layer]:
    """Redmon and Farhadi, YOLO9000: tiny YOLOv2 for VOC, on 416x416."""
    previous = 3
    shapes = ((416, 16), (208, 32), (104, 64), (52, 128), (26, 256), (13, 512), (13, 1024), (13, 1024))
    for index, (extent, width) in enumerate(shapes, start=1):
        yield _conv(f"conv{index}", extent, 3, previous, width)
        previous = width
    yield _conv("conv9", 13, 1, previous, 125)


def read_topology(path: Path) -> tuple[Layer, ...]:
    """Layers of a topology file of SCALE-Sim's. Raises UserError for a line that is not a layer."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()[1:]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--topology {path}: cannot be read: {error}") from error
    return tuple(_topology_layer(path, line) for line in lines if line.strip())


def _topology_layer(path: Path, line: str) -> Layer:
    name, *cells = (cell.strip() for cell in line.split(","))
    try:
        height, width, kernel_h, kernel_w, channels, filters, stride = (int(cell) for cell in cells[:7])
    except ValueError:
        raise UserError(f"--topology {path}: {line.strip()!r} is not a name and seven integers") from None
    # SCALE-Sim reads a layer with DP in its name as depthwise: one layer of one channel for each channel.
    depthwise = "DP" in name
    count, channels = (channels, 1) if depthwise else (1, channels)
    return Layer(name, height, width, (kernel_h, kernel_w), channels, filters, stride, count)


def run_layers(python: Path, layers: Sequence[Layer], setting: Setting) -> dict[tuple[int, int, int], Counts]:
    """Run each distinct layer once. Raises MissingError where SCALE-Sim fails and UserError where it stalls."""
    distinct = {layer.gemm: layer for layer in layers}
    with tempfile.TemporaryDirectory() as name:
        jobs = {gemm: Path(name, str(index)) for index, gemm in enumerate(distinct)}
        for gemm, folder in jobs.items():
            _write_job(folder, distinct[gemm], setting)
        command = [str(python), "-c", _WORKER, *map(str, jobs.values())]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            last = (run.stderr.strip() or run.stdout.strip() or "it said nothing").splitlines()[-1]
            raise MissingError(f"{python}: SCALE-Sim failed: {last}")
        return {gemm: _read_counts(folder / "report") for gemm, folder in jobs.items()}


def _write_job(folder: Path, layer: Layer, setting: Setting) -> None:
    m, k, n = layer.gemm
    folder.mkdir()
    (folder / "topology.csv").write_text(_TOPOLOGY_HEADER + layer.topology, encoding="utf-8")
    (folder / "layout.csv").write_text("no layout\n", encoding="utf-8")
    config = _CONFIG.format(
        rows=setting.rows,
        cols=setting.cols,
        dataflow=setting.dataflow,
        ifmap_kb=_sram_kb(m * k),
        filter_kb=_sram_kb(k * n),
        ofmap_kb=1 << 20,
    )
    (folder / "run.cfg").write_text(config, encoding="utf-8")


def _sram_kb(elements: int) -> int:
    """SCALE-Sim looks each element up in hundredths of the buffer; one that holds the operand in few is quick."""
    return min(ceil(elements / 10) + 1, 1 << 20)


def _read_counts(folder: Path) -> Counts:
    cycles = _report(folder / "COMPUTE_REPORT.csv")
    accesses = _report(folder / "DETAILED_ACCESS_REPORT.csv")
    if cycles["Stall Cycles"] != 0:
        raise UserError(f"SCALE-Sim stalled for {cycles['Stall Cycles']} cycles; the memory is not ideal")
    return Counts(
        cycles["Total Cycles"],
        accesses["SRAM IFMAP Reads"],
        accesses["SRAM Filter Reads"],
        accesses["SRAM OFMAP Writes"],
    )


def _report(path: Path) -> dict[str, int]:
    header, values = (line.split(",") for line in path.read_text(encoding="utf-8").splitlines())
    return {key.strip(): int(float(value)) for key, value in zip(header, values, strict=True) if key.strip()}


def table(
    network: str, layers: Sequence[Layer], setting: Setting, counts: dict[tuple[int, int, int], Counts]
) -> list[dict[str, str]]:
    """A row per layer; its counts are those of one channel."""
    return [
        dict(
            zip(
                HEADER,
                (
                    *(network, layer.name, *map(str, layer.gemm), str(layer.count)),
                    *(str(setting.rows), str(setting.cols), setting.dataflow),
                    *map(str, (one.cycles, one.ifmap_reads, one.filter_reads, one.ofmap_writes)),
                ),
                strict=True,
            )
        )
        for layer in layers
        for one in (counts[layer.gemm],)
    ]


def replace_rows(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Put rows in a file in place of those of the same network, array and dataflow."""
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


def _group(row: dict[str, str]) -> tuple[str, int, int, int]:
    return row["network"], int(row["rows"]), int(row["cols"]), DATAFLOWS.index(row["dataflow"])


if __name__ == "__main__":
    main()
