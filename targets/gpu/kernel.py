"""What all GPU kernels have in common: a candidate's defaults, the operands of a layer with weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from mnv3c.graph.tensor import Layout
from mnv3c.targets.gpu.builder import Buffer, Expr, GpuBuilder, Parameter, build_prim_func
from mnv3c.targets.gpu.grid import Grid, Size
from mnv3c.targets.gpu.precision import Precision
from mnv3c.targets.gpu.tensors import Destination
from mnv3c.targets.target import Array, Packed


@dataclass(frozen=True)
class GpuCandidate:
    """A kernel for one layer. `local` is its work-group; other kernels override what differs from these defaults.

    `delivered` is the layout of the caller's own tensor where the kernel writes that, and None for stored slices.
    """

    family: ClassVar[str]
    precision: Precision
    local: Size
    delivered: Layout | None = field(default=None, kw_only=True)

    @property
    def items(self) -> Size:
        """Work items that have something to do, along each axis."""
        raise NotImplementedError

    @property
    def grid(self) -> Grid:
        """The launch: whole work-groups that cover the items."""
        return Grid.over(self.items, self.local)

    def inside(self, places: Sequence[Expr]) -> list[Expr]:
        """Conditions under which the item at these places has something to do; none for axes covered exactly."""
        covered = zip(places, self.items, self.grid.global_size, strict=False)
        return [place < count for place, count, size in covered if size > count]

    @property
    def tile(self) -> Mapping[str, int]:
        """Parameters besides the work-group."""
        return {}

    @property
    def parameters(self) -> Mapping[str, int]:
        """The schedule's parameters."""
        x, y, z = self.local
        return {**self.tile, "local_x": x, "local_y": y, "local_z": z}

    @property
    def movable(self) -> bool:
        """Whether the work-group may have any size: its items share nothing."""
        return self.local_memory_bytes == 0

    def delivering(self, layout: Layout) -> Self:
        """The same kernel, which writes the caller's dense float32 tensor."""
        return replace(self, delivered=layout)

    def destination(self, pixels: int, channels: int) -> Destination:
        """Where an output of so many pixels and channels is written."""
        return Destination(pixels, channels, self.delivered)

    def with_local(self, local: Size) -> Self:
        """The same kernel with another work-group."""
        return replace(self, local=local)

    @property
    def registers(self) -> int:
        """32-bit registers that a work item needs at once, about: what its tile holds, and a few for addresses."""
        return 24

    @property
    def local_memory_bytes(self) -> int:
        """Local memory of a work-group."""
        return 0

    @property
    def workspace_elements(self) -> int:
        """No kernel needs scratch memory."""
        return 0

    @property
    def tiles(self) -> bool:
        """Tile registers are a matter of x86_64."""
        return False

    @property
    def streams(self) -> bool:
        """Weights ahead of time are a matter of CPUs."""
        return False

    def asking_ahead(self, weight_bytes: int) -> None:
        """A GPU's loads wait for nobody but their own wave."""

    @property
    def asked_bytes(self) -> int:
        """None are asked for."""
        return 0

    def packed_bytes(self, weight_bytes: int) -> int:
        """Bytes of weights that it reads where the layer's own, in float32, take `weight_bytes`."""
        return weight_bytes * self.precision.storage_bytes // 4

    def pack(self, weights: Mapping[str, Array]) -> tuple[Packed, ...]:
        """The weights as the kernel reads them."""
        return ()

    def buffers(self) -> Sequence[Parameter]:
        """The kernel's arguments, in order."""
        raise NotImplementedError

    def body(self, k: GpuBuilder, *buffers: Buffer) -> None:
        """Print the program of one work item."""
        raise NotImplementedError

    def build(self, symbol: str) -> Any:
        """The kernel as a TVM PrimFunc, bound to work-groups and work items."""
        return build_prim_func(symbol, self.buffers(), self.grid, self.precision, self.body)


@dataclass(frozen=True)
class Operands:
    """Buffers of a layer with weights; `residual` is None where nothing is added."""

    input: Buffer
    residual: Buffer | None
    weight: Buffer
    bias: Buffer
    output: Buffer

    @staticmethod
    def of(buffers: Sequence[Buffer]) -> "Operands":
        """From the order in which `weighted_buffers` declares them."""
        x, *residual, weight, bias, output = buffers
        return Operands(x, residual[0] if residual else None, weight, bias, output)


def weighted_buffers(
    given: Parameter, weights: int, bias: int, output: Destination, *, residual: bool
) -> tuple[Parameter, ...]:
    """Arguments of a layer with weights: input, [residual], weight, bias, output; sizes in elements."""
    skip = (Parameter("residual", replace(output, layout=None).parameter.elements),) if residual else ()
    return (
        given,
        *skip,
        Parameter("weight", weights),
        Parameter("bias", bias, "float32"),
        output.parameter,
    )
