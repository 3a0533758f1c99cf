"""manifest.yaml: what an artifact is, what it was made of, and how to use it."""

import hashlib
from collections.abc import Collection, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt, field_validator

from mnv3c.compiler.build import KernelJob
from mnv3c.compiler.cache import toolchain_versions
from mnv3c.compiler.link import ArtifactFiles
from mnv3c.compiler.lower import LoweredNetwork
from mnv3c.compiler.manifest_file import read_document, write_document
from mnv3c.compiler.memory import MemoryPlan
from mnv3c.compiler.program import Port, Program
from mnv3c.compiler.reference import weights_digest
from mnv3c.compiler.zig import COMMON_FLAGS
from mnv3c.graph.ir import Preprocessing
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import Candidate, WeightPrecision
from mnv3c.targets.toolchain import Toolchain

FORMAT = "mnv3c-artifact/1"


class PortEntry(BaseModel):
    """An input or output as the C API sees it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    shape: tuple[PositiveInt, ...]
    layout: Literal["NHWC", "NCHW"]


_Deviation = Annotated[FiniteFloat, Field(gt=0)]


class PreprocessingEntry(BaseModel):
    """How an image becomes the input; see graph.ir.Preprocessing."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    mean: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    std: tuple[_Deviation, _Deviation, _Deviation]

    @classmethod
    def of(cls, preprocessing: Preprocessing | None) -> Self | None:
        """What a graph says of images, if it says anything."""
        return None if preprocessing is None else cls(mean=preprocessing.mean, std=preprocessing.std)


class LayerEntry(BaseModel):
    """One call."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    kind: str
    shape: str
    macs: int
    bytes_in: int
    bytes_out: int
    kernel: str
    parameters: dict[str, int]
    # Measured records, estimates of llvm-mca where there are none, else the kernel family's own estimate.
    chosen_by: Literal["records", "llvm-mca", "estimate"] = "estimate"


class FileEntry(BaseModel):
    """A file of the artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    path: str = Field(pattern=r"^[^/\\.][^/\\]*$")  # beside the manifest, wherever that was copied from
    sha256: str
    bytes: int


class CheckEntry(BaseModel):
    """What `NAME-bench --check` compares: the outputs for the built-in input of this seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    seed: int
    tolerance: float


class Manifest(BaseModel):
    """The document. `architecture` is the machine that runs the bench; `memory` is in bytes.

    `threads` is how many the kernels were chosen for; the program runs with any number.

    `flags` are those of the C compiler; `weights_sha256` covers the weights as the network has them, before packing and
    after rounding. With `weights_precision` fp16 `weights_error` is what rounding them changes in the outputs, as
    `reference.weights_error` says; without, the document leaves both out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: Literal["mnv3c-artifact/1"]
    name: str
    versions: dict[str, str]
    target: str
    architecture: Literal["x86_64", "aarch64", "riscv64"]
    triple: str
    operating_system: Literal["linux", "android"]
    threads: PositiveInt = 1
    device: str
    device_sha256: str
    llvm: str
    input: PortEntry
    outputs: tuple[PortEntry, ...]
    preprocessing: PreprocessingEntry | None
    memory: dict[str, int]
    flags: tuple[str, ...]
    weights_sha256: str
    weights_precision: WeightPrecision = "fp32"
    weights_error: FiniteFloat | None = None
    check: CheckEntry
    files: dict[str, FileEntry]
    layers: tuple[LayerEntry, ...]

    @field_validator("files")
    @classmethod
    def _require_files(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        if set(files) != {"library", "header", "bench"}:
            raise ValueError("must be library, header and bench")
        return files


def manifest(
    network: LoweredNetwork,
    program: Program,
    memory: MemoryPlan,
    jobs: Sequence[KernelJob],
    files: ArtifactFiles,
    toolchain: Toolchain,
    device: CpuDevice,
    seed: int,
    tolerance: float,
    recorded: Collection[Candidate] = (),
    weights_error: float | None = None,
    estimated: Collection[Candidate] = (),
    threads: int = 1,
) -> Manifest:
    """The manifest of an artifact whose files are in place.

    `recorded` are the candidates that measured records chose, `estimated` those that estimates chose for want of them.
    `weights_error` is given where weights are stored in half precision. `threads` is how many they were chosen for.
    """
    graph = network.graph
    output_layout = graph.output_layout
    return Manifest(
        format="mnv3c-artifact/1",
        name=program.name,
        versions={"mnv3c": version("mnv3c"), **toolchain_versions()},
        target=device.target,
        architecture=_architecture(toolchain),
        triple=toolchain.triple,
        operating_system="android" if toolchain.android else "linux",
        threads=threads,
        device=device.name,
        device_sha256=device.fingerprint,
        llvm=jobs[0].llvm_target,
        input=input_entry(network, program.input),
        outputs=tuple(PortEntry(name=p.name, shape=p.shape, layout=output_layout) for p in program.outputs),
        preprocessing=PreprocessingEntry.of(graph.preprocessing),
        memory=memory_entry(memory, program.weights_bytes),
        flags=(*COMMON_FLAGS, *toolchain.cpu_flags),
        weights_sha256=weights_digest(graph),
        weights_precision="fp32" if weights_error is None else "fp16",
        weights_error=weights_error,
        check=CheckEntry(seed=seed, tolerance=tolerance),
        files={
            role: file_entry(path)
            for role, path in (("library", files.library), ("header", files.header), ("bench", files.bench))
        },
        layers=tuple(
            LayerEntry(
                name=call.layer,
                kind=call.kind,
                shape=call.shape,
                macs=call.macs,
                bytes_in=call.bytes_in,
                bytes_out=call.bytes_out,
                kernel=job.symbol,
                parameters=dict(call.candidate.parameters),
                chosen_by=chosen_by(call.candidate, recorded, estimated),
            )
            for call, job in zip(network.calls, jobs, strict=True)
        ),
    )


def chosen_by(
    candidate: Candidate, recorded: Collection[Candidate], estimated: Collection[Candidate]
) -> Literal["records", "llvm-mca", "estimate"]:
    """What chose a candidate, as manifests say it."""
    if candidate in recorded:
        return "records"
    return "llvm-mca" if candidate in estimated else "estimate"


def write_manifest(document: Manifest, path: Path) -> Path:
    """Write the document, whole or not at all. Raises MissingError where the disk refuses."""
    write_document(document, path, ("weights_precision", "weights_error") if document.weights_error is None else ())
    return path


def read_manifest(path: Path) -> Manifest:
    """The manifest of an artifact. Raises UserError naming the file and the key."""
    return read_document(Manifest, path)


def input_entry(network: LoweredNetwork, port: Port) -> PortEntry:
    """The input as the caller hands it over."""
    return PortEntry(name=port.name, shape=port.shape, layout="NCHW" if network.input.storage == "NCHW" else "NHWC")


def memory_entry(memory: MemoryPlan, weights_bytes: int) -> dict[str, int]:
    """What a program takes, in bytes."""
    return {
        "peak_activation_bytes": memory.peak_bytes,
        "lower_bound_bytes": memory.lower_bound_bytes,
        "weights_bytes": weights_bytes,
    }


def file_entry(path: Path) -> FileEntry:
    """What a manifest says of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileEntry(path=path.name, sha256=digest, bytes=path.stat().st_size)


def _architecture(toolchain: Toolchain) -> Literal["x86_64", "aarch64", "riscv64"]:
    name = toolchain.static_triple.partition("-")[0]
    match name:
        case "x86_64" | "aarch64" | "riscv64":
            return name
        case _:
            raise ValueError(f"unknown architecture {name}")
