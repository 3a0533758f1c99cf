"""1x1 convolutions: a matrix product whose tiles of pixels and output slices stay in registers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mnv3c.graph.ops import Conv2d
from mnv3c.targets.gpu.builder import LANES, Buffer, Expr, GpuBuilder, Parameter, Register
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.epilogue import Epilogue
from mnv3c.targets.gpu.grid import Size, local_size
from mnv3c.targets.gpu.kernel import GpuCandidate, Operands, weighted_buffers
from mnv3c.targets.gpu.packing import bias_of, dense_weights
from mnv3c.targets.gpu.precision import Precision
from mnv3c.targets.gpu.tensors import Destination, slices
from mnv3c.targets.gpu.tiling import Tile, TiledWork, registers, tiles
from mnv3c.targets.target import Array, LayerWork, Packed


@dataclass(frozen=True)
class Pointwise(GpuCandidate):
    """A work item computes `tile.pixels` pixels, a work-group's width apart, of `tile.slices` neighbouring slices.

    So the items of a wave load neighbouring vectors of the input, and all of them the same weights.
    """

    family: ClassVar[str] = "pointwise"
    pixels: int
    channels: int
    outputs: int
    epilogue: Epilogue
    shape: Tile

    @property
    def items(self) -> Size:
        """Tiles along the flattened map and along the output slices."""
        return (-(-self.pixels // self.shape.pixels), -(-slices(self.outputs) // self.shape.slices), 1)

    @property
    def tile(self) -> Mapping[str, int]:
        """Pixels and slices of a work item."""
        return {"pixels": self.shape.pixels, "slices": self.shape.slices}

    @property
    def registers(self) -> int:
        """Those of the tile."""
        return registers(self.shape)

    @property
    def _padded(self) -> int:
        width = LANES * self.shape.slices
        return -(-self.outputs // width) * width

    def pack(self, weights: Mapping[str, Array]) -> tuple[Packed, ...]:
        """Weights by output slice, and the bias."""
        width = LANES * self.shape.slices
        weight = weights["weight"].reshape(1, 1, self.channels, self.outputs)
        return dense_weights(weight, width, self.precision), bias_of(weights, self.outputs, width)

    @property
    def _output(self) -> Destination:
        return self.destination(self.pixels, self.outputs)

    def buffers(self) -> Sequence[Parameter]:
        """Input, [residual], weight, bias, output."""
        deep = LANES * slices(self.channels)
        return weighted_buffers(
            Parameter("input", self.pixels * deep),
            deep * self._padded,
            self._padded,
            self._output,
            residual=self.epilogue.residual is not None,
        )

    def body(self, k: GpuBuilder, *buffers: Buffer) -> None:
        ops = Operands.of(buffers)
        deep, tile = slices(self.channels), self.shape
        first = k.group(0) * (self.local[0] * tile.pixels) + k.item(0)
        pixels = [first + n * self.local[0] for n in range(tile.pixels)]
        part = k.work_item(1) * tile.slices
        with k.when(*self._inside(part)):
            sums = [[k.register(f"sum{s}_{p}") for p in range(tile.pixels)] for s in range(tile.slices)]
            for register in (each for row in sums for each in row):
                register.set(k.splat(0.0))
            x = [k.register(f"x{p}") for p in range(tile.pixels)]
            with k.serial(deep, "c") as c:
                for p, pixel in enumerate(pixels):
                    x[p].set(k.load(ops.input, c * self.pixels + k.minimum(pixel, self.pixels - 1)))
                for s, row in enumerate(sums):
                    multiply_add(k, row, x, ops.weight, ((part + s) * deep + c) * LANES)
            for s, row in enumerate(sums):
                self._finish(k, ops, row, pixels, part + s)

    def _inside(self, part: Expr) -> list[Expr]:
        return [part < slices(self.outputs)] if self.grid.global_size[1] > self.items[1] else []

    def _finish(
        self, k: GpuBuilder, ops: Operands, row: Sequence[Register], pixels: Sequence[Expr], part: Expr
    ) -> None:
        whole = slices(self.outputs) % self.shape.slices == 0
        bias = k.register("bias_vector")
        bias.set(k.load(ops.bias, part))
        for register, pixel in zip(row, pixels, strict=True):
            at = part * self.pixels + pixel
            with k.when(pixel < self.pixels, *([] if whole else [part < slices(self.outputs)])):
                value = self.epilogue.apply(k, register.get() + bias.get(), ops.residual, at)
                self._output.store(k, ops.output, part, pixel, value)


def multiply_add(k: GpuBuilder, sums: Sequence[Register], x: Sequence[Register], weight: Buffer, at: Expr) -> None:
    """sums[p] += x[p] times the 4x4 weights that begin at vector `at`."""
    rows = [k.register(f"w{lane}") for lane in range(LANES)]
    for lane, register in enumerate(rows):
        register.set(k.load(weight, at + lane))
    for lane, register in enumerate(rows):
        for total, value in zip(sums, x, strict=True):
            total.set(total.get() + k.splat(k.lane(value.get(), lane)) * register.get())


@dataclass(frozen=True)
class PointwiseFamily:
    """1x1 convolutions of stride 1 of stored maps."""

    precision: Precision
    name: str = "pointwise"

    def candidates(self, work: LayerWork, device: GpuDevice) -> tuple[Pointwise, ...] | None:
        """A candidate for each tile that fits; None for any other layer."""
        op, x = work.op, work.inputs[0]
        if not isinstance(op, Conv2d) or not op.pointwise or set(work.storage) != {"target"}:
            return None
        height, width = x.spatial
        out = slices(op.out_channels)
        job = TiledWork(1, height * width, out, slices(x.channels), LANES * LANES, 1, LANES)
        return tuple(self._candidate(op, x.channels, height * width, tile, device) for tile in tiles(job, device))

    def _candidate(self, op: Conv2d, channels: int, pixels: int, tile: Tile, device: GpuDevice) -> Pointwise:
        items = (-(-pixels // tile.pixels), -(-slices(op.out_channels) // tile.slices), 1)
        local = local_size(items, device)
        return Pointwise(self.precision, local, pixels, channels, op.out_channels, Epilogue.of(op), tile)
