"""Layers that touch each value once: add, multiply and squeeze-excite gate, affine, activation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mnv3c.graph.ops import Activate, Add, ChannelAffine, Multiply, Op, ScalarAffine
from mnv3c.targets.cpu.builder import MOVE, Buffer, Expr, KernelBuilder, Parameter
from mnv3c.targets.cpu.epilogue import activate
from mnv3c.targets.cpu.kernel import CpuKernel, for_vectors
from mnv3c.targets.cpu.lanes import Lanes, Piece, device_lanes
from mnv3c.targets.cpu.packing import pad_channels
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import Array, LayerWork


@dataclass(frozen=True)
class Elementwise(CpuKernel):
    """One pass over the rows. `gated`: the second input is a single row that scales every row."""

    family: ClassVar[str] = "elementwise"
    op: Op
    rows: int
    channels: int
    lanes: Lanes
    gated: bool

    def pack(self, weights: Mapping[str, Array]) -> tuple[Array, ...]:
        """Scale and shift of an affine layer, one of each per channel."""
        if not isinstance(self.op, ChannelAffine):
            return ()
        neutral = {"scale": np.ones(self.channels, np.float32), "shift": np.zeros(self.channels, np.float32)}
        return tuple(pad_channels(weights.get(role, neutral[role]), self.lanes) for role in ("scale", "shift"))

    def buffers(self) -> Sequence[Parameter]:
        """Inputs, [scale, shift], output."""
        stored, covered = self.lanes.stored(self.channels), self.lanes.covered(self.channels)
        parameters = [Parameter("input", self.rows * stored)]
        if isinstance(self.op, Add | Multiply):
            parameters.append(Parameter("other", stored if self.gated else self.rows * stored))
        if isinstance(self.op, ChannelAffine):
            parameters += [Parameter("scale", covered), Parameter("shift", covered)]
        parameters.append(Parameter("output", self.rows * stored))
        return parameters

    def body(self, k: KernelBuilder, *buffers: Buffer) -> None:
        blocks = self.lanes.blocks(self.channels, 1)
        with k.parallel(self.rows, MOVE * self.rows * self.channels) as row:
            for_vectors(k, blocks, lambda start, piece: self._vector(k, buffers, row, start, piece))

    def _vector(self, k: KernelBuilder, buffers: tuple[Buffer, ...], row: Expr, block: Expr, piece: Piece) -> None:
        x, *others, output = buffers
        channel, lanes = block + piece.offset, piece.lanes
        at = row * self.lanes.stored(self.channels) + channel
        value = k.load(x, at, lanes)
        match self.op:
            case Add():
                value = activate(k, self.op.activation, value + k.load(others[0], at, lanes), lanes)
            case Multiply():
                other = k.load(others[0], channel if self.gated else at, lanes)
                value = activate(k, self.op.activation, value * other, lanes)
            case ChannelAffine():
                value = value * k.load(others[0], channel, lanes) + k.load(others[1], channel, lanes)
            case ScalarAffine():
                value = value * k.splat(self.op.scale, lanes) + k.splat(self.op.shift, lanes)
            case Activate():
                value = activate(k, self.op.activation, value, lanes)
        k.store(output, at, value, lanes)


@dataclass(frozen=True)
class ElementwiseFamily:
    """Elementwise layers."""

    name: str = "elementwise"

    def candidates(self, work: LayerWork, device: CpuDevice) -> tuple[Elementwise, ...] | None:
        """The one kernel; None for any other layer."""
        op, x = work.op, work.inputs[0]
        known = isinstance(op, Add | Multiply | ChannelAffine | ScalarAffine | Activate)
        if not known or any(storage != "target" for storage in work.storage):
            return None
        gated = isinstance(op, Multiply) and work.inputs[1] != x
        rows = x.elements // x.channels
        return (Elementwise(op, rows, x.channels, device_lanes(device), gated),)
