"""What a target offers whose kernels become OpenCL C."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Literal, Protocol, TypeVar, cast

from mnv3c.compiler.opencl.program import Size, Storage
from mnv3c.graph.errors import UserError
from mnv3c.graph.tensor import TensorType
from mnv3c.targets.base_device import Device
from mnv3c.targets.target import Array, Candidate, KernelTarget, Packed

_Device = TypeVar("_Device", bound=Device, contravariant=True)


class KernelText(Protocol):
    """One kernel as OpenCL C; see `program.GpuKernel`."""

    @property
    def name(self) -> str:
        """The `__kernel` function."""

    @property
    def source(self) -> str:
        """Self-contained OpenCL C."""

    @property
    def global_size(self) -> Size:
        """Work items, a multiple of `local_size`."""

    @property
    def local_size(self) -> Size:
        """The work-group."""


class StoredAs(Protocol):
    """How numbers lie in memory."""

    @property
    def storage(self) -> Storage:
        """Of activations and weights; biases and the caller's tensors are float32."""

    @property
    def arithmetic(self) -> Storage:
        """Of sums and activations."""


class OpenClTarget(KernelTarget[_Device], Protocol[_Device]):
    """A kind of GPU."""

    @property
    def precision(self) -> StoredAs:
        """What kernels read, write and compute with."""

    def with_storage(
        self, storage: Literal["fp32", "fp16"], arithmetic: Literal["fp32", "fp16"] = "fp32"
    ) -> "OpenClTarget[_Device]":
        """The same target with other numbers in memory."""

    # Any: a target takes its own families' candidates alone.
    def kernel_source(self, candidate: Any, symbol: str, device: _Device) -> KernelText:
        """A candidate's kernel, called `symbol`. Imports TVM."""

    def stored(self, x: Array) -> Packed:
        """A tensor in the IR's order as it is stored, flat; what lies between its values may be anything finite."""

    def unstored(self, values: Packed, tensor: TensorType) -> Array:
        """The tensor, in the IR's order, that stored values hold."""

    def tunable(self, candidates: Sequence[Any], device: _Device) -> Sequence[Candidate]:
        """A layer's candidates that the device allows, and more for a tuner; the first guess stays first.

        Raises UserError, as `require_launchable` does, where the device allows none.
        """

    def require_launchable(self, candidate: Any, device: _Device) -> None:
        """Raise UserError for a kernel whose work-group, local memory or arithmetic the device does not allow."""

    def require_allocatable(self, what: str, size_bytes: int, device: _Device) -> None:
        """Raise UserError for a buffer that is larger than the device's driver makes one."""


def load_opencl_target(name: str) -> OpenClTarget[Any]:
    """The target of that folder. Raises UserError where its kernels are no OpenCL."""
    target = import_module(f"mnv3c.targets.{name}.target").target()
    if not hasattr(target, "kernel_source"):
        raise UserError(f"target '{name}' runs no OpenCL")
    return cast(OpenClTarget[Any], target)
