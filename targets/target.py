"""What a target offers to the compiler: the Target protocol.

The compiler knows no target by name. It asks for kernel families, hands a family one layer's work, and gets candidates:
ways to compute that layer, each of which can be packed (NumPy) and built (a TVM PrimFunc).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from mnv3c.graph.ops import Op
from mnv3c.graph.tensor import Layout, TensorType
from mnv3c.targets.base_device import Device
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.toolchain import Toolchain

Array = npt.NDArray[np.float32]
# What a kernel reads of a layer's weights.
Packed = npt.NDArray[np.float32] | npt.NDArray[np.float16]
WeightPrecision = Literal["fp32", "fp16"]
Storage = Literal["target", "NHWC", "NCHW"]
OperatingSystem = Literal["linux", "android"]
_Device = TypeVar("_Device", bound=Device, contravariant=True)


@dataclass(frozen=True)
class LayerWork:
    """One layer as a kernel family sees it: the op and the types, with no names and no weight values.

    `storage` says for each input whether it lies as the target stores activations, or as the caller handed it over.
    `weights` is how the kernel reads the layer's weight; biases, activations and arithmetic are float32 all the same.
    """

    op: Op
    inputs: tuple[TensorType, ...]
    output: TensorType
    storage: tuple[Storage, ...]
    weights: WeightPrecision = "fp32"


@dataclass(frozen=True)
class GroupWork:
    """Neighbouring layers that one kernel may compute as a layer of its own.

    `parts` are in order; only the last one's output is seen outside. `sources[i][n]` tells what input n of part i is:
    the output of an earlier part (0, 1, ...), or tensor e from outside, written -1 - e.
    """

    parts: tuple[LayerWork, ...]
    sources: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class BorderWork:
    """A layout conversion between the caller's dense tensor and the target's own storage."""

    tensor: TensorType
    caller_layout: Layout
    direction: Literal["in", "out"]


class Candidate(Protocol):
    """One way to compute a layer.

    A kernel takes flat buffers: the layer's inputs, then what `pack` gives, then scratch memory if it asks for any,
    then the output. All are float32, except that `pack` may give float16.
    """

    @property
    def family(self) -> str:
        """Name of the kernel family."""

    @property
    def parameters(self) -> Mapping[str, int]:
        """The schedule's parameters (tile sizes and the like)."""

    @property
    def workspace_elements(self) -> int:
        """Floats of scratch memory; 0 where the kernel takes none."""

    @property
    def tiles(self) -> bool:
        """Whether it uses the tile registers of x86_64, which a process has to ask Linux for."""

    @property
    def streams(self) -> bool:
        """Whether it uses each of its weights once, and so waits for them all the time."""

    def asking_ahead(self, weight_bytes: int) -> "Candidate | None":
        """The same kernel, which while it computes asks for about so many bytes that lie behind its own weights.

        None where it does not ask for weights ahead of time.
        """

    @property
    def asked_bytes(self) -> int:
        """How many bytes behind its own weights it asks for; 0 where it does not."""

    def packed_bytes(self, weight_bytes: int) -> int:
        """Bytes of weights that it reads where the layer's own take `weight_bytes`."""

    def pack(self, weights: Mapping[str, Array]) -> tuple[Packed, ...]:
        """The weights in the order and layout that the kernel reads, each flat.

        `weights` has a layer's parameters by role, and those of a group's part i as `i.role`.
        """

    def build(self, symbol: str) -> Any:
        """The kernel as a TVM PrimFunc named `symbol`. Imports TVM."""


class Schedulable(Candidate, Protocol):
    """A candidate that is a plain computation under a trace of schedule primitives, which a search may change."""

    def computation(self, symbol: str) -> Any:
        """The computation without any schedule, as a TVM PrimFunc of blocks named `symbol`. Imports TVM."""

    def scheduled(self, trace: str) -> "Schedulable":
        """The same computation under another trace: the JSON of an `s_tir.Trace`."""


class KernelFamily(Protocol[_Device]):
    """A kind of kernel for a kind of device. None means "not mine": a layer that no family takes is refused by name."""

    @property
    def name(self) -> str:
        """Stable name, part of every record."""

    def candidates(self, work: LayerWork, device: _Device) -> tuple[Candidate, ...] | None:
        """Ways to compute the layer, best first guess first; None where the family does not know the layer."""


class KernelGroupFamily(Protocol[_Device]):
    """A kind of kernel that computes several layers at once."""

    @property
    def name(self) -> str:
        """Stable name, part of every record."""

    @property
    def lengths(self) -> tuple[int, ...]:
        """How many layers a group may have, longest first."""

    def candidates(self, work: GroupWork, device: _Device) -> tuple[Candidate, ...] | None:
        """Ways to compute the group; None where it cannot be fused, or where that is expected to gain nothing."""


class KernelTarget(Protocol[_Device]):
    """What lowering a network asks of a target, whatever kind of device it has."""

    @property
    def name(self) -> str:
        """Name as in `--target`."""

    def families(self) -> tuple[KernelFamily[_Device], ...]:
        """Kernel families in order of preference."""

    def groups(self) -> tuple[KernelGroupFamily[_Device], ...]:
        """Families of fused groups in order of preference."""

    def border(self, work: BorderWork, device: _Device) -> Candidate:
        """The kernel that converts between the caller's layout and the target's storage."""

    def storage_elements(self, tensor: TensorType, device: _Device) -> int:
        """Number of values that a tensor takes in the target's own storage."""

    def dense(self, tensor: TensorType, device: _Device, layout: Layout) -> bool:
        """Whether the target's storage of a tensor is exactly the caller's dense layout, float32."""


class Family(KernelFamily[CpuDevice], Protocol):
    """A kind of kernel for CPUs."""


class GroupFamily(KernelGroupFamily[CpuDevice], Protocol):
    """A kind of kernel for CPUs that computes several layers at once."""


class Target(KernelTarget[CpuDevice], Protocol):
    """All that is special to one kind of processor."""

    @property
    def architecture(self) -> Literal["x86_64", "aarch64", "riscv64"]:
        """Machine name as `platform.machine()` and QEMU spell it."""

    def families(self) -> tuple[Family, ...]: ...

    def groups(self) -> tuple[GroupFamily, ...]: ...

    def traced(self, work: LayerWork, device: CpuDevice, trace: str = "") -> Schedulable | None:
        """The layer's plain computation under a trace, "" for none; None where the target cannot write it so."""

    def require_half_weights(self, device: CpuDevice) -> None:
        """Raise UserError for a device that cannot convert vectors of float16 to float32. Imports TVM."""

    def toolchain(self, device: CpuDevice, operating_system: OperatingSystem) -> Toolchain:
        """How C is compiled and linked for the device."""

    def llvm_target(self, device: CpuDevice) -> dict[str, object]:
        """The TVM target of a device, as a dictionary for `tvm.target.Target`."""
