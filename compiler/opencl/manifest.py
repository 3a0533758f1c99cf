"""manifest.yaml of a network that was compiled for a GPU."""

from collections.abc import Collection, Sequence
from importlib.metadata import version
from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, field_validator

from mnv3c.compiler.cache import toolchain_versions
from mnv3c.compiler.lower import LoweredNetwork
from mnv3c.compiler.manifest import (
    CheckEntry,
    FileEntry,
    PortEntry,
    PreprocessingEntry,
    file_entry,
    input_entry,
    memory_entry,
)
from mnv3c.compiler.memory import MemoryPlan
from mnv3c.compiler.opencl.link import GpuArtifactFiles
from mnv3c.compiler.opencl.program import GpuProgram, Storage
from mnv3c.compiler.reference import weights_digest
from mnv3c.compiler.zig import COMMON_FLAGS
from mnv3c.targets.base_device import Device
from mnv3c.targets.toolchain import Toolchain

GPU_FORMAT = "mnv3c-gpu-artifact/1"
ROLES = ("library", "header", "bench", "kernels")
Architecture = Literal["x86_64", "aarch64"]


class GpuLayerEntry(BaseModel):
    """One launch; `bytes` is its global-memory traffic, `work_items` and `work_group` are along x, y and z.

    What chose the kernel: records that were measured on PoCL, which is no GPU, or the kernel family's own estimate.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    kind: str
    shape: str
    macs: NonNegativeInt
    bytes: NonNegativeInt
    kernel: str
    parameters: dict[str, int]
    work_items: tuple[int, int, int]
    work_group: tuple[int, int, int]
    chosen_by: Literal["pocl-records", "estimate"] = "estimate"


class GpuManifest(BaseModel):
    """The document. `architecture` is that of the CPU beside the GPU, which runs library and bench.

    `storage` is how activations and weights lie in memory, `arithmetic` what sums are computed with; the caller's
    tensors are float32. `memory` is in bytes, `flags` are those of the C compiler and `build_options` those of the
    device's OpenCL compiler.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: Literal["mnv3c-gpu-artifact/1"]
    name: str
    versions: dict[str, str]
    target: str
    device: str
    device_sha256: str
    architecture: Architecture
    triple: str
    operating_system: Literal["linux", "android"]
    storage: Storage
    arithmetic: Storage
    build_options: str
    input: PortEntry
    outputs: tuple[PortEntry, ...]
    preprocessing: PreprocessingEntry | None
    memory: dict[str, int]
    flags: tuple[str, ...]
    weights_sha256: str
    check: CheckEntry
    files: dict[str, FileEntry]
    layers: tuple[GpuLayerEntry, ...]

    @field_validator("files")
    @classmethod
    def _require_files(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        if set(files) != set(ROLES):
            raise ValueError(f"must be {', '.join(ROLES)}")
        return files


def gpu_manifest(
    network: LoweredNetwork,
    program: GpuProgram,
    memory: MemoryPlan,
    files: GpuArtifactFiles,
    toolchain: Toolchain,
    architecture: Architecture,
    device: Device,
    arithmetic: Storage,
    check: CheckEntry,
    recorded: Collection[str] = (),
) -> GpuManifest:
    """The manifest of an artifact whose files are in place; `recorded` are layers with kernels chosen by records."""
    graph = network.graph
    layout = graph.output_layout
    return GpuManifest(
        format="mnv3c-gpu-artifact/1",
        name=program.name,
        versions={"mnv3c": version("mnv3c"), **toolchain_versions()},
        target=device.target,
        device=device.name,
        device_sha256=device.fingerprint,
        architecture=architecture,
        triple=toolchain.triple,
        operating_system="android" if toolchain.android else "linux",
        storage=program.storage,
        arithmetic=arithmetic,
        build_options=program.build_options,
        input=input_entry(network, program.input),
        outputs=tuple(PortEntry(name=port.name, shape=port.shape, layout=layout) for port in program.outputs),
        preprocessing=PreprocessingEntry.of(graph.preprocessing),
        memory=memory_entry(memory, program.weights_bytes),
        flags=(*COMMON_FLAGS, *toolchain.cpu_flags),
        weights_sha256=weights_digest(graph),
        check=check,
        files={role: file_entry(getattr(files, role)) for role in ROLES},
        layers=tuple(_layers(network, program, recorded)),
    )


def chosen_by(layer: str, recorded: Collection[str]) -> Literal["pocl-records", "estimate"]:
    """What chose the kernel of a layer, as manifests say it."""
    return "pocl-records" if layer in recorded else "estimate"


def _layers(network: LoweredNetwork, program: GpuProgram, recorded: Collection[str]) -> Sequence[GpuLayerEntry]:
    kernels = {kernel.name: kernel for kernel in program.kernels}
    return [
        GpuLayerEntry(
            name=launch.layer,
            kind=launch.kind,
            shape=launch.shape,
            macs=launch.macs,
            bytes=launch.bytes,
            kernel=launch.kernel,
            parameters=dict(call.candidate.parameters),
            work_items=kernels[launch.kernel].global_size,
            work_group=kernels[launch.kernel].local_size,
            chosen_by=chosen_by(launch.layer, recorded),
        )
        for call, launch in zip(network.calls, program.calls, strict=True)
    ]
