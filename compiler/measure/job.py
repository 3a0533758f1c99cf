"""What is to be measured: whole networks, and layers alone; and the programs that do it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from mnv3c.compiler.c_text import identifier
from mnv3c.compiler.measure.layer_graph import LAYER, layer_graph
from mnv3c.compiler.pipeline import Compiler
from mnv3c.compiler.plan_table import ahead_bytes, call_work
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph
from mnv3c.graph.layer import LayerKey, layer_key, layers
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.profiles.readers.text_file import read_text
from mnv3c.profiles.work import GroupWork, LayerWork, NetworkWork

_DIGEST_DIGITS = 16
_EXAMPLE = "'conv2d 1x7x7x160->1x7x7x960 bias=yes activation=hswish'"


@dataclass(frozen=True)
class Job:
    """A network, or a layer alone. `graph` has weights; `name` is for tables."""

    name: str
    work: NetworkWork | LayerWork
    graph: Graph

    @staticmethod
    def of_network(graph: Graph) -> "Job":
        """A whole network, each of its layers timed too."""
        fused = run_passes(graph, default_passes())
        keys = tuple(layer_key(fused, node) for node in layers(fused))
        name = identifier(graph.name)
        return Job(name, NetworkWork(name, keys), graph)

    @staticmethod
    def of_layer(key: LayerKey) -> "Job":
        """A layer alone. Raises UserError where it cannot stand alone."""
        return Job(str(key), LayerWork(key), layer_graph(key))


@dataclass(frozen=True)
class Row:
    """One row of the bench's profile. `work` is None for a conversion at the border to the caller.

    `ahead_bytes` of its weights an earlier kernel has asked for.
    """

    name: str
    work: LayerWork | GroupWork | None
    kernel: str
    ahead_bytes: int = 0


@dataclass(frozen=True)
class Program:
    """A job's bench for a device, of some architecture; `file_name` tells benches apart by content."""

    job: Job
    bench: Path
    file_name: str
    size_bytes: int
    architecture: str
    rows: tuple[Row, ...]

    @property
    def whole(self) -> bool:
        """Whether the job is a whole network, whose own time counts and not only that of a row."""
        return isinstance(self.job.work, NetworkWork)

    @property
    def own_row(self) -> int:
        """Index of the row of a layer alone."""
        return [row.name for row in self.rows].index(LAYER)


def compile_job(job: Job, compiler: Compiler, folder: Path) -> Program:
    """Compile a job's bench into `folder`.

    Raises UserError where the target cannot compile it, or where the layer does not stay a call of its own;
    MissingError as the compiler does.
    """
    artifact = compiler.compile(job.graph, folder)
    calls, graph = artifact.network.calls, artifact.network.graph
    kernels = [call.symbol for call in artifact.program.calls]
    ahead = ahead_bytes(artifact.network, compiler.device)
    rows = tuple(
        Row(call.layer, call_work(call, graph), kernel, there)
        for call, kernel, there in zip(calls, kernels, ahead, strict=True)
    )
    if isinstance(job.work, LayerWork) and all((row.name, row.work) != (LAYER, job.work) for row in rows):
        raise UserError(f"layer '{job.work}' does not stay a call of its own; measure it in a network")
    bench = artifact.files.bench
    with bench.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:_DIGEST_DIGITS]
    architecture = artifact.toolchain.static_triple.partition("-")[0]
    return Program(job, bench, f"bench-{digest}", bench.stat().st_size, architecture, rows)


def read_layers(path: Path) -> tuple[LayerKey, ...]:
    """The keys in a file, one a line, each once; empty lines and those that begin with # are passed over.

    Raises UserError that begins with the file, and the line where that is to blame.
    """
    keys: dict[LayerKey, None] = {}
    for number, line in enumerate(map(str.strip, read_text(path).splitlines()), start=1):
        if line and not line.startswith("#"):
            try:
                keys[LayerKey.parse(line)] = None
            except UserError as error:
                raise UserError(f"{path}:{number}: {error}") from None
    if not keys:
        raise UserError(f"{path}: has no layer; one layer key a line, as {_EXAMPLE}")
    return tuple(keys)
