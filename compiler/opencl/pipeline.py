"""The whole way to a GPU: graph -> passes -> layers -> OpenCL kernels -> program -> linked artifact."""

import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from mnv3c.compiler.cache import FileCache
from mnv3c.compiler.layout import FLOAT_BYTES
from mnv3c.compiler.lower import LoweredNetwork, first_guess, lower
from mnv3c.compiler.manifest import CheckEntry
from mnv3c.compiler.manifest_file import write_document
from mnv3c.compiler.memory import MemoryPlan
from mnv3c.compiler.opencl.assemble import assemble_gpu
from mnv3c.compiler.opencl.deliver import delivered
from mnv3c.compiler.opencl.kernels import kernels_of
from mnv3c.compiler.opencl.link import GpuArtifactFiles, link_gpu_artifact
from mnv3c.compiler.opencl.manifest import Architecture, gpu_manifest
from mnv3c.compiler.opencl.program import HALF_TOLERANCE, GpuProgram, Storage
from mnv3c.compiler.opencl.source import kernel_source
from mnv3c.compiler.opencl.target import OpenClTarget
from mnv3c.compiler.opencl.verify import output_layout
from mnv3c.compiler.pipeline import CHECK_SEED, CHECK_TOLERANCE, Listener, require_weights
from mnv3c.compiler.reference import reference_file
from mnv3c.graph.ir import Graph
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.yaml_io import save_graph
from mnv3c.targets.base_device import Device
from mnv3c.targets.target import Candidate, LayerWork, OperatingSystem
from mnv3c.targets.toolchain import Toolchain

D = TypeVar("D", bound=Device)
_OLDEST_GLIBC = "2.28"


class KernelChoice(Protocol):
    """Picks a candidate of each layer."""

    @property
    def recorded(self) -> Collection[Candidate]:
        """The candidates that were picked by records so far."""

    def choose(self, work: LayerWork, candidates: Sequence[Candidate]) -> Candidate:
        """A candidate for a layer."""


@dataclass(frozen=True)
class FirstGuesses:
    """Picks the candidate that the family's own estimate ranks first."""

    recorded: frozenset[Candidate] = frozenset()

    def choose(self, work: LayerWork, candidates: Sequence[Candidate]) -> Candidate:
        return first_guess(work, candidates)


@dataclass(frozen=True)
class GpuArtifact:
    """A network compiled for a GPU: its folder, its files, and what was decided on the way.

    `recorded` names the layers whose kernels were chosen by records.
    """

    directory: Path
    files: GpuArtifactFiles
    manifest: Path
    network: LoweredNetwork
    program: GpuProgram
    memory: MemoryPlan
    toolchain: Toolchain
    compile_s: float
    recorded: frozenset[str] = frozenset()


@dataclass(frozen=True)
class GpuCompiler(Generic[D]):
    """Compiles graphs for one GPU of one target, to be driven by a CPU of `architecture`.

    The target's own `precision` says how numbers lie in memory. `choice` picks among the candidates of a layer.
    """

    target: OpenClTarget[D]
    device: D
    architecture: Architecture = "aarch64"
    operating_system: OperatingSystem = "linux"
    choice: KernelChoice = FirstGuesses()
    cache: FileCache = field(default_factory=FileCache.default)
    listener: Listener = field(default_factory=Listener)

    def compile(self, graph: Graph, directory: Path) -> GpuArtifact:
        """Write the artifact of a graph into `directory`.

        Raises UserError for a graph that cannot be compiled, or not for this device, MissingError for a missing tool or
        a full disk.
        """
        begin = time.monotonic()
        require_weights(graph)
        fused = run_passes(graph, default_passes(), self.listener.after_pass)
        lowered = lower(fused, self.target, self.device, self.choice.choose)
        recorded = frozenset(call.layer for call in lowered.calls if call.candidate in self.choice.recorded)
        network = delivered(lowered)
        for call in network.calls:
            self.target.require_launchable(call.candidate, self.device)
        kernels = kernels_of(network.calls, self.target, self.device, self.cache, self.listener.kernels)
        names = graph.output_names or graph.outputs
        program, weights, memory = assemble_gpu(network, kernels, names, self.target, self.device)
        self._require_allocatable(program)
        self.listener.stage("kernels", lambda: kernel_source(program).text)
        check = CheckEntry(seed=CHECK_SEED, tolerance=_tolerance(program.storage))
        toolchain = _toolchain(self.architecture, self.operating_system)
        with tempfile.TemporaryDirectory(prefix="mnv3c-") as folder:
            weights_path = Path(folder) / "weights.bin"
            weights.write(weights_path)
            files = link_gpu_artifact(
                directory,
                program,
                weights_path,
                reference_file(fused, check.seed, self.cache),
                toolchain,
                self.listener.message,
                seed=check.seed,
                tolerance=check.tolerance,
            )
        save_graph(fused.rebuilt(fused.nodes, weights={}), directory / "graph.yaml")
        path = directory / "manifest.yaml"
        arithmetic = self.target.precision.arithmetic
        write_document(
            gpu_manifest(
                network, program, memory, files, toolchain, self.architecture, self.device, arithmetic, check, recorded
            ),
            path,
        )
        elapsed = time.monotonic() - begin
        return GpuArtifact(directory, files, path, network, program, memory, toolchain, elapsed, recorded)

    def _require_allocatable(self, program: GpuProgram) -> None:
        """The device's own bound on each of the program's four buffers."""
        sizes = {
            "the input": program.input.elements * FLOAT_BYTES,
            "the outputs": output_layout(program).copy_bytes,
            "activations": program.arena_bytes,
            "weights": program.weights_bytes,
        }
        for contents, size_bytes in sizes.items():
            what = f"network '{program.name}', {contents}"
            self.target.require_allocatable(what, size_bytes, self.device)


def _tolerance(storage: Storage) -> float:
    return HALF_TOLERANCE if storage == "fp16" else CHECK_TOLERANCE


def _toolchain(architecture: Architecture, operating_system: OperatingSystem) -> Toolchain:
    """That of the CPU beside the GPU: any of its architecture will do."""
    triple = f"{architecture}-linux-gnu.{_OLDEST_GLIBC}"
    return Toolchain(triple, f"{architecture}-linux-musl", android=operating_system == "android")
