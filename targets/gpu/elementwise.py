"""Layers that treat every value alone: sums, gates, affine maps, activations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mnv3c.graph.ops import Activate, Add, ChannelAffine, Multiply, Op, ScalarAffine, activation_of
from mnv3c.targets.gpu.builder import LANES, Buffer, Expr, GpuBuilder, Parameter
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.epilogue import activate
from mnv3c.targets.gpu.grid import Size, local_size
from mnv3c.targets.gpu.kernel import GpuCandidate
from mnv3c.targets.gpu.packing import padded
from mnv3c.targets.gpu.precision import Precision
from mnv3c.targets.gpu.tensors import Destination, Source
from mnv3c.targets.target import Array, LayerWork, Packed


@dataclass(frozen=True)
class Elementwise(GpuCandidate):
    """A work item computes one vector. `gated`: the second input has one vector a slice."""

    family: ClassVar[str] = "elementwise"
    op: Op
    tensor: Source
    gated: bool

    @property
    def items(self) -> Size:
        """Pixels, slices."""
        return (self.tensor.pixels, self.tensor.slices, 1)

    @property
    def _roles(self) -> tuple[str, ...]:
        if not isinstance(self.op, ChannelAffine):
            return ()
        return tuple(role for role, there in (("scale", self.op.scale), ("shift", self.op.shift)) if there)

    def pack(self, weights: Mapping[str, Array]) -> tuple[Packed, ...]:
        """Scale and shift in float32, as biases are."""
        return tuple(np.ascontiguousarray(padded(weights[role], LANES)) for role in self._roles)

    @property
    def _output(self) -> Destination:
        return self.destination(self.tensor.pixels, self.tensor.channels)

    def buffers(self) -> Sequence[Parameter]:
        """Inputs, [scale], [shift], output."""
        vector, whole = LANES * self.tensor.slices, self.tensor.elements
        second = (Parameter("other", vector if self.gated else whole),) if isinstance(self.op, Add | Multiply) else ()
        constants = (Parameter(role, vector, "float32") for role in self._roles)
        return (Parameter("input", whole), *second, *constants, self._output.parameter)

    def body(self, k: GpuBuilder, *buffers: Buffer) -> None:
        x, *others, output = buffers
        pixel, part = k.work_item(0), k.work_item(1)
        with k.when(*self.inside((pixel, part))):
            at = part * self.tensor.pixels + pixel
            value = k.register("value")
            value.set(k.load(x, at))
            value.set(self._computed(k, value.get(), others, at, part))
            self._output.store(k, output, part, pixel, activate(k, activation_of(self.op), value.get()))

    def _computed(self, k: GpuBuilder, value: Expr, others: Sequence[Buffer], at: Expr, part: Expr) -> Expr:
        match self.op:
            case Add():
                return value + k.load(others[0], at)
            case Multiply():
                return value * k.load(others[0], part if self.gated else at)
            case ChannelAffine():
                constants = dict(zip(self._roles, others, strict=True))
                if "scale" in constants:
                    value = value * k.load(constants["scale"], part)
                return value + k.load(constants["shift"], part) if "shift" in constants else value
            case ScalarAffine():
                return value * k.splat(self.op.scale) + k.splat(self.op.shift)
            case _:
                return value


@dataclass(frozen=True)
class ElementwiseFamily:
    """Elementwise layers."""

    precision: Precision
    name: str = "elementwise"

    def candidates(self, work: LayerWork, device: GpuDevice) -> tuple[Elementwise, ...] | None:
        """The one kernel; None for any other layer."""
        op, x = work.op, work.inputs[0]
        known = isinstance(op, Add | Multiply | ChannelAffine | ScalarAffine | Activate)
        if not known or x.shape[0] != 1 or set(work.storage) != {"target"}:
            return None
        gated = isinstance(op, Multiply) and work.inputs[1] != x
        tensor = Source.of(x)
        local = local_size((tensor.pixels, tensor.slices, 1), device)
        return (Elementwise(self.precision, local, op, tensor, gated),)
