"""Layers as plain loop nests for a scheduler to work on: no tiles, no vectors, no order that means anything.

Where the other kernels are printed as they shall run, these only say what is computed, in blocks as TVM's schedules
want them: a reduction into `sums`, then bias, residual and activation. Tensors lie as for every other kernel (see
lanes.py); a buffer has the tensor's extents and is contiguous, so of an argument only its pointer is used. Weights are
in the order of the graph, (height, width, channels in, channels out).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mnv3c.graph.ops import (
    Activate,
    Add,
    Conv2d,
    ConvTranspose2d,
    Dense,
    GlobalAveragePool,
    Multiply,
    Pool2d,
    activation_of,
)
from mnv3c.graph.tensor import TensorType
from mnv3c.targets.cpu.builder import Buffer, Expr, KernelBuilder
from mnv3c.targets.cpu.epilogue import Epilogue
from mnv3c.targets.cpu.lanes import Lanes
from mnv3c.targets.target import LayerWork, Storage

Position = tuple[Expr, ...]
_LOWEST = -3.4028234663852886e38  # the least float32


def computable(work: LayerWork) -> bool:
    """Whether `computation` knows the layer; its weights are always float32."""
    known = Conv2d | ConvTranspose2d | Dense | GlobalAveragePool | Pool2d | Add | Multiply | Activate
    return isinstance(work.op, known) and work.weights == "fp32"


def computation(work: LayerWork, lanes: Lanes, symbol: str) -> Any:
    """The layer as a PrimFunc of blocks: inputs, [weight, bias], output. The layer must be `computable`."""
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script.builder import ir

    with IRBuilder() as builder, ir.prim_func(s_tir=True):
        ir.func_name(symbol)
        ir.func_attr({"global_symbol": symbol, "tirx.noalias": True})
        _Layer(BlockBuilder(), work, lanes).print()
    return builder.get()


class BlockBuilder(KernelBuilder):
    """A `KernelBuilder` that also prints the blocks of a schedule."""

    def parameter(self, name: str, shape: Sequence[int], align: int = 64) -> Buffer:
        """The next argument."""
        return self._ir.arg(name, self._ir.buffer(tuple(shape), "float32", align=align))

    def temporary(self, shape: Sequence[int]) -> Buffer:
        """A tensor of the kernel's own; local, so that it is put on the stack however small schedules make it."""
        return self._ir.sblock_alloc_buffer(tuple(shape), "float32", scope="local")

    def block(
        self,
        name: str,
        extents: Sequence[int],
        output: Buffer,
        value: Callable[[Position], Expr],
        reads: Callable[[Position], Sequence[tuple[Buffer, Position]]],
    ) -> None:
        """output[position] = value(position) for every position."""
        with self._ir.grid(*extents) as loops, self._ir.sblock(name):
            position = self._axes("S" * len(extents), loops)
            self._access(reads(position), output, position)
            self._ir.buffer_store(output, value(position), list(position))

    def reduction(
        self,
        name: str,
        extents: Sequence[int],
        depth: Sequence[int],
        output: Buffer,
        step: Callable[[Expr, Position, Position], Expr],
        reads: Callable[[Position, Position], Sequence[tuple[Buffer, Position]]],
        start: float = 0.0,
    ) -> None:
        """output[position] = step(output[position], position, tap) for every tap, from `start`."""
        with self._ir.grid(*extents, *depth) as loops, self._ir.sblock(name):
            axes = self._axes("S" * len(extents) + "R" * len(depth), loops)
            position, tap = axes[: len(extents)], axes[len(extents) :]
            self._access(reads(position, tap), output, position)
            with self._ir.init():
                self._ir.buffer_store(output, self.scalar(start), list(position))
            self._ir.buffer_store(output, step(output[position], position, tap), list(position))

    def where(self, condition: Expr | None, value: Expr, otherwise: float) -> Expr:
        """The value under a condition, which is not computed where that does not hold."""
        return value if condition is None else self._tirx.if_then_else(condition, value, self.scalar(otherwise))

    def all(self, conditions: Sequence[Expr]) -> Expr | None:
        """Logical and; None for no conditions."""
        return self._tirx.all(*conditions) if conditions else None

    def to_float(self, value: Expr) -> Expr:
        """int32 to float32."""
        return self._tirx.Cast("float32", value)

    def _axes(self, kinds: str, loops: Any) -> Position:
        bound = list(loops) if len(kinds) > 1 else [loops]
        axes = self._ir.axis.remap(kinds, bound)
        return tuple(axes) if len(kinds) > 1 else (axes,)

    def _access(self, reads: Sequence[tuple[Buffer, Position]], output: Buffer, position: Position) -> None:
        # Said, not inferred: under a condition TVM would take a read for one of the whole tensor.
        self._ir.reads(*(buffer[at] for buffer, at in reads))
        self._ir.writes(output[position])


@dataclass(frozen=True)
class _Tensor:
    """An argument: its buffer by row, column and channel, or by pixel and channel."""

    buffer: Buffer
    storage: Storage

    def at(self, place: Position, channel: Expr) -> Position:
        """The index of a value."""
        return (channel, *place) if self.storage == "NCHW" else (*place, channel)


class _Layer:
    """Prints one layer. `flat`: pixels are one axis, as no window tells rows from columns."""

    def __init__(self, k: BlockBuilder, work: LayerWork, lanes: Lanes) -> None:
        self._k, self._work, self._lanes = k, work, lanes
        op = work.op
        windowed = isinstance(op, ConvTranspose2d | Pool2d) or (isinstance(op, Conv2d) and not op.pointwise)
        self._flat = not windowed
        given = zip(work.inputs, work.storage, strict=True)
        self._inputs = [self._tensor(f"input{n}", *each) for n, each in enumerate(given)]

    def print(self) -> None:
        match self._work.op:
            case Conv2d() | ConvTranspose2d() | Dense():
                self._product()
            case GlobalAveragePool() | Pool2d():
                self._pool()
            case _:
                self._elementwise()

    def _tensor(self, name: str, type_: TensorType, storage: Storage = "target") -> _Tensor:
        place = (type_.spatial[0] * type_.spatial[1],) if self._flat else type_.spatial
        if storage == "target":
            return _Tensor(self._k.parameter(name, (*place, self._lanes.stored(type_.channels))), storage)
        shape = (type_.channels, *place) if storage == "NCHW" else (*place, type_.channels)
        return _Tensor(self._k.parameter(name, shape, align=4), storage)

    @property
    def _extents(self) -> tuple[int, ...]:
        out = self._work.output
        place = (out.spatial[0] * out.spatial[1],) if self._flat else out.spatial
        return (*place, out.channels)

    def _product(self) -> None:
        op, k = self._work.op, self._k
        assert isinstance(op, Conv2d | ConvTranspose2d | Dense)
        kernel = (1, 1) if isinstance(op, Dense) else op.kernel
        x, channels = self._work.inputs[0], self._work.output.channels
        groups = op.groups if isinstance(op, Conv2d) else 1
        depth = x.channels // groups
        weight = k.parameter("weight", (*kernel, depth, channels))
        bias = k.parameter("bias", (channels,))
        output = self._tensor("output", self._work.output)
        sums = k.temporary(self._extents)
        # Loops of one step would only be more decisions for the search.
        taps = [extent for extent in (*kernel, depth) if extent > 1] or [1]

        def split(tap: Position) -> tuple[Expr, Expr, Expr]:
            steps = iter(tap)
            i, j, c = (next(steps) if extent > 1 else 0 for extent in (*kernel, depth))
            return i, j, c

        def source(position: Position, tap: Position) -> tuple[Position, list[Expr]]:
            i, j, c = split(tap)
            *place, channel = position
            first = channel // (channels // groups) * depth if groups > 1 else 0
            where, inside = ((place[0],), []) if self._flat else self._window(place, (i, j))
            return self._inputs[0].at(where, first + c), inside

        def step(total: Expr, position: Position, tap: Position) -> Expr:
            at, inside = source(position, tap)
            value = k.where(k.all(inside), self._inputs[0].buffer[at], 0.0)
            return total + value * weight[(*split(tap), position[-1])]

        def reads(position: Position, tap: Position) -> list[tuple[Buffer, Position]]:
            at, _ = source(position, tap)
            return [(self._inputs[0].buffer, at), (weight, (*split(tap), position[-1]))]

        k.reduction("sums", self._extents, taps, sums, step, reads)
        self._finish(sums, bias, output)

    def _window(self, place: Sequence[Expr], tap: tuple[Expr, Expr]) -> tuple[Position, list[Expr]]:
        """Where a tap reads, and the conditions under which that is inside the input."""
        op = self._work.op
        assert isinstance(op, Conv2d | ConvTranspose2d | Pool2d)
        where, inside = [], []
        for axis in (0, 1):
            size, count = self._work.inputs[0].spatial[axis], self._work.output.spatial[axis]
            taps, stride, padding = op.kernel[axis], op.stride[axis], op.padding[axis]
            if isinstance(op, ConvTranspose2d):
                over = place[axis] + padding - tap[axis]
                at = self._k.quotient(over, stride)
                conditions = [over >= 0, at < size] + ([self._k.modulo(over, stride) == 0] if stride > 1 else [])
            else:
                dilation = op.dilation[axis] if isinstance(op, Conv2d) else 1
                at = place[axis] * stride + tap[axis] * dilation - padding
                last = (count - 1) * stride + (taps - 1) * dilation - padding
                conditions = ([at >= 0] if padding > 0 else []) + ([at < size] if last >= size else [])
            where.append(at)
            inside += conditions
        return tuple(where), inside

    def _finish(self, sums: Buffer, bias: Buffer, output: _Tensor) -> None:
        k, op = self._k, self._work.op
        epilogue = Epilogue(activation_of(op), op.residual if isinstance(op, Conv2d) else None)
        residual = self._inputs[1] if epilogue.residual else None

        def skip(position: Position) -> Position:
            return residual.at(position[:-1], position[-1]) if residual else ()

        def value(position: Position) -> Expr:
            total = sums[position] + bias[position[-1]]
            return epilogue.apply(k, total, 1, residual.buffer if residual else None, skip(position))

        def reads(position: Position) -> list[tuple[Buffer, Position]]:
            added = [(residual.buffer, skip(position))] if residual else []
            return [(sums, position), (bias, (position[-1],)), *added]

        k.block("output", self._extents, output.buffer, value, reads)

    def _pool(self) -> None:
        op, k, x = self._work.op, self._k, self._inputs[0]
        output = self._tensor("output", self._work.output)
        largest = isinstance(op, Pool2d) and op.mode == "max"
        start = _LOWEST if largest else 0.0
        state = k.temporary(self._extents)
        height, width = self._work.inputs[0].spatial
        taps = op.kernel if isinstance(op, Pool2d) else (height * width,)

        def source(position: Position, tap: Position) -> tuple[Position, list[Expr]]:
            *place, channel = position
            where, inside = self._window(place, (tap[0], tap[1])) if isinstance(op, Pool2d) else (tap, [])
            return x.at(where, channel), inside

        def step(total: Expr, position: Position, tap: Position) -> Expr:
            at, inside = source(position, tap)
            value = k.where(k.all(inside), x.buffer[at], start)
            return k.maximum(total, value) if largest else total + value

        def scaled(position: Position) -> Expr:
            return state[position] if largest else k.divide(state[position], self._window_size(position))

        k.reduction("sums", self._extents, taps, state, step, lambda at, tap: [(x.buffer, source(at, tap)[0])], start)
        k.block("output", self._extents, output.buffer, scaled, lambda at: [(state, at)])

    def _window_size(self, position: Position) -> Expr:
        op, k = self._work.op, self._k
        size = self._work.inputs[0].spatial
        if not isinstance(op, Pool2d):
            return k.scalar(size[0] * size[1])
        if op.count_padding:
            return k.scalar(op.kernel[0] * op.kernel[1])
        extents = []
        for axis in (0, 1):
            first = position[axis] * op.stride[axis] - op.padding[axis]
            extents.append(k.minimum(first + op.kernel[axis], size[axis]) - k.maximum(first, 0))
        return k.to_float(extents[0] * extents[1])

    def _elementwise(self) -> None:
        op, k = self._work.op, self._k
        output = self._tensor("output", self._work.output)
        gated = isinstance(op, Multiply) and self._work.inputs[1] != self._work.inputs[0]

        def places(position: Position) -> list[tuple[Buffer, Position]]:
            *place, channel = position
            wheres = [tuple(place), (0,) if gated else tuple(place)]
            return [(x.buffer, x.at(where, channel)) for x, where in zip(self._inputs, wheres, strict=False)]

        def value(position: Position) -> Expr:
            first, *others = (buffer[at] for buffer, at in places(position))
            for other in others:
                first = first + other if isinstance(op, Add) else first * other
            return Epilogue(activation_of(op)).apply(k, first, 1)

        k.block("output", self._extents, output.buffer, value, places)
