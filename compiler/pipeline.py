"""The whole way: graph -> passes -> layers -> kernels -> objects -> program -> linked artifact."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mnv3c.compiler.ahead import asking_ahead
from mnv3c.compiler.assemble import assemble
from mnv3c.compiler.build import KernelJob, build_kernels
from mnv3c.compiler.cache import FileCache
from mnv3c.compiler.link import ArtifactFiles, link_artifact
from mnv3c.compiler.lower import LoweredNetwork, lower
from mnv3c.compiler.manifest import manifest, write_manifest
from mnv3c.compiler.memory import MemoryPlan
from mnv3c.compiler.program import Program
from mnv3c.compiler.reference import reference_file, weights_error
from mnv3c.compiler.tune.choice import RecordedChoice
from mnv3c.compiler.tune.metaschedule.kernels import with_recorded_traces
from mnv3c.compiler.tune.metaschedule.traces import TraceFolder
from mnv3c.compiler.tune.record import Record
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.passes.round_weights import RoundWeights
from mnv3c.graph.yaml_io import save_graph
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import Candidate, OperatingSystem, Target, WeightPrecision
from mnv3c.targets.toolchain import Toolchain

CHECK_SEED = 0
CHECK_TOLERANCE = 1e-4
_MAX_PROGRAM_BYTES = 2**31 - 2**26


@dataclass(frozen=True)
class Listener:
    """Who hears of the compilation. `message` gets slow steps, `kernels` (done, total), `stage` each stage's text."""

    message: Callable[[str], None] = lambda text: None
    kernels: Callable[[int, int], None] = lambda done, total: None
    stage: Callable[[str, Callable[[], str]], None] = lambda name, text: None

    def after_pass(self, name: str, graph: Graph) -> None:
        """Tell of a pass by the graph that it leaves."""
        from mnv3c.graph.printer import format_graph

        self.stage(name, lambda: format_graph(graph))


@dataclass(frozen=True)
class Artifact:
    """A compiled network: its folder, its files, and what was decided on the way; `recorded` kernels by measured
    records, `estimated` ones by estimates for want of those.

    `weights_error` is what rounding weights to half precision changes; None where they are not rounded. `threads` is
    how many the kernels were chosen for.
    """

    directory: Path
    files: ArtifactFiles
    manifest: Path
    network: LoweredNetwork
    program: Program
    memory: MemoryPlan
    toolchain: Toolchain
    compile_s: float
    recorded: frozenset[Candidate] = frozenset()
    weights_error: float | None = None
    estimated: frozenset[Candidate] = frozenset()
    threads: int = 1


@dataclass(frozen=True)
class Compiler:
    """Compiles graphs for one device of one target, with the kernels that `records` say are fastest by `threads`.

    With `weights` fp16 the weights of matrix-vector products are rounded to half precision and stored so. Traces that
    the records name are looked for in the folders `traces`.
    """

    target: Target
    device: CpuDevice
    operating_system: OperatingSystem = "linux"
    records: tuple[Record, ...] = ()
    cache: FileCache = field(default_factory=FileCache.default)
    listener: Listener = field(default_factory=Listener)
    weights: WeightPrecision = "fp32"
    traces: tuple[TraceFolder, ...] = ()
    threads: int = 1

    def compile(self, graph: Graph, directory: Path) -> Artifact:
        """Write the artifact of a graph into `directory`.

        Raises UserError for a graph that cannot be compiled, MissingError for a missing tool or a full disk.
        """
        begin = time.monotonic()
        require_weights(graph)
        if self.weights == "fp16":
            self.target.require_half_weights(self.device)
        exact = run_passes(graph, default_passes(), self.listener.after_pass)
        fused = run_passes(exact, (RoundWeights(),)) if self.weights == "fp16" else exact
        choice = RecordedChoice(self.records, self.device, self.threads)
        target = with_recorded_traces(self.target, self.device, self.records, self.traces, self.threads)
        network = lower(fused, target, self.device, choice.choose, choice.choose_group, self.weights)
        self.listener.stage("calls", lambda: _calls_text(network))
        llvm_target = self.target.llvm_target(self.device)
        jobs = [KernelJob.of(candidate, llvm_target) for candidate in asking_ahead(network, self.device)]
        symbols = [job.symbol for job in jobs]
        program, weights, memory = assemble(
            network, symbols, graph.output_names or graph.outputs, self.target, self.device
        )
        _require_addressable(program)
        objects = build_kernels(jobs, self.cache, self.listener.kernels)
        self.listener.stage("kernels", lambda: _kernels_text(jobs))
        reference = reference_file(fused, CHECK_SEED, self.cache)
        error = weights_error(exact, fused, CHECK_SEED, self.cache) if self.weights == "fp16" else None
        toolchain = self.target.toolchain(self.device, self.operating_system)
        with tempfile.TemporaryDirectory(prefix="mnv3c-") as folder:
            weights_path = Path(folder) / "weights.bin"
            weights.write(weights_path)
            files = link_artifact(
                directory,
                program,
                sorted(set(objects.values())),
                weights_path,
                reference,
                toolchain,
                self.listener.message,
                seed=CHECK_SEED,
                tolerance=CHECK_TOLERANCE,
            )
        save_graph(fused.rebuilt(fused.nodes, weights={}), directory / "graph.yaml")
        document = manifest(
            network,
            program,
            memory,
            jobs,
            files,
            toolchain,
            self.device,
            CHECK_SEED,
            CHECK_TOLERANCE,
            choice.recorded,
            error,
            choice.estimated,
            self.threads,
        )
        path = write_manifest(document, directory / "manifest.yaml")
        elapsed = time.monotonic() - begin
        return Artifact(
            directory,
            files,
            path,
            network,
            program,
            memory,
            toolchain,
            elapsed,
            choice.recorded,
            error,
            choice.estimated,
            self.threads,
        )


def require_weights(graph: Graph) -> None:
    """Raise UserError for a graph that has lost its weights."""
    if graph.total_params and not graph.weights:
        raise UserError(f"graph '{graph.name}' has no weights: nothing to compile")


def _require_addressable(program: Program) -> None:
    """Code reaches the arena and the weights by 32-bit offsets from itself."""
    copies = 4 * (program.input.elements + sum(port.elements for port in program.outputs))
    total = program.arena_bytes + program.weights_bytes + copies
    if total > _MAX_PROGRAM_BYTES:
        raise UserError(
            f"network '{program.name}' needs {program.arena_bytes} bytes of activations and {program.weights_bytes} of"
            f" weights; a program can hold {_MAX_PROGRAM_BYTES} together"
        )


def _calls_text(network: LoweredNetwork) -> str:
    rows = [
        f"{call.layer}: {call.kind} {call.shape} [{call.candidate.family} {dict(call.candidate.parameters)}]"
        for call in network.calls
    ]
    return "\n".join(rows) + "\n"


def _kernels_text(jobs: list[KernelJob]) -> str:
    unique = {job.symbol: job for job in jobs}
    return "\n".join(str(job.candidate.build(symbol)) for symbol, job in unique.items()) + "\n"
