"""One layer of a plan as commands: its tiles in the plan's order, each loaded, computed, finished and stored."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from itertools import product as pairs

from mnv3c.graph.errors import UserError
from mnv3c.graph.integer import ops
from mnv3c.graph.integer.network import IntegerLayer
from mnv3c.graph.integer.ops import Step
from mnv3c.targets.edgetpu.commands import (
    Address,
    Command,
    Count,
    Depthwise,
    Load,
    Lookup,
    Matmul,
    Mean,
    Multiply,
    Piece,
    Pieces,
    Pool,
    ReduceSum,
    Requantize,
    Size,
    Slab,
    Softmax,
    Store,
    Sum,
    ZeroPoint,
)
from mnv3c.targets.edgetpu.constants import ParameterBlock, WeightLayout, WeightTile, product_of
from mnv3c.targets.edgetpu.plan import LayerPlan
from mnv3c.targets.edgetpu.regions import Place, Positions, Region, Span, has_gate, window_read
from mnv3c.targets.edgetpu.tile_buffers import Operand, Turns


@dataclass(frozen=True)
class PlacedLayer:
    """A layer with everything that it reads and writes in its place.

    `weights_dram` is where its weights begin in DRAM, `pinned_sram` where those lie that stay in the SRAM,
    `parameters_base` where its block begins in the vector unit's parameters.
    """

    plan: LayerPlan
    integer: IntegerLayer
    layout: WeightLayout
    parameters: ParameterBlock
    input: Place
    second: Place | None
    output: Place
    weights_dram: int
    pinned_sram: int
    parameters_base: int = 0


@dataclass
class LayerCommands:
    """Spells out a layer. `rows` cuts it into strips that share buffers, for layers that are fused."""

    layer: PlacedLayer
    turns: Turns
    accumulators: Iterator[int]

    def commands(self, rows: Span | None = None) -> Iterator[Command]:
        """The commands of the whole layer, or of these rows of its output. Raises UserError.

        What was loaded for one image or group is loaded anew for the next, but stays from one strip of rows to another.
        """
        job, positions = self.layer.plan.job, Positions.of(self.layer.plan.job)
        groups = job.groups if job.kind == "product" else 1
        for image, group in pairs(range(positions.images), range(groups)):
            if rows is None:
                self.turns.forget()
            channels = list(Span(group * self._channels, self._channels).cut(self.layer.plan.tiling.channels))
            if job.reads_whole:
                for channel in channels:
                    yield from self._mean(list(positions.tiles(image, self.layer.plan.tiling, channel)))
                continue
            for output in self._in_order(positions, image, channels, rows):
                yield from self._tile(output, group)

    @property
    def _channels(self) -> int:
        """Output channels that are cut into tiles: a product's are those of one group."""
        job = self.layer.plan.job
        return job.n if job.kind == "product" else job.output_shape[3]

    def _in_order(self, positions: Positions, image: int, channels: list[Span], rows: Span | None) -> Iterator[Region]:
        tiling = self.layer.plan.tiling
        if tiling.order == "weights_outer":
            for channel in channels:
                yield from positions.tiles(image, tiling, channel, rows)
        else:
            for position in positions.tiles(image, tiling, channels[0], rows):
                yield from (replace(position, channels=channel) for channel in channels)

    def _tile(self, output: Region, group: int) -> Iterator[Command]:
        match self.layer.plan.job.kind:
            case "product":
                yield from self._product_tile(output, group)
            case "depthwise":
                sums = self._accumulators(output)
                for tile in self.layer.layout.by_channels[output.channels]:
                    yield from self._array(Depthwise, tile, output, sums)
                yield from self._requantized(output, sums)
            case "vector":
                yield from self._vector_tile(output)

    def _product_tile(self, output: Region, group: int) -> Iterator[Command]:
        job = self.layer.plan.job
        sums = self._accumulators(output)
        per_group = job.input_shape[3] // job.groups
        for tile in self.layer.layout.by_channels[output.channels]:
            depth = Span(group * per_group + tile.depth.start, tile.depth.size)
            yield from self._array(Matmul, tile, replace(output, channels=depth), sums)
        yield from self._requantized(output, sums)

    def _array(self, kind: type[Matmul | Depthwise], tile: WeightTile, region: Region, sums: Slab) -> Iterator[Command]:
        """One command of the array and what must be loaded for it; the region has the input's channels."""
        job = self.layer.plan.job
        weights = yield from self._weights(tile)
        read = window_read(job, region)
        source = yield from self._fetched("input", self.layer.input, read.loaded, read.used, region)
        zero_point = ZeroPoint(product_of(self.layer.integer).input.zero_point)
        kernel, stride, dilation = job.window.kernel, job.window.stride, job.window.dilation
        yield kind(source, weights, tile.bias, sums, kernel, stride, dilation, read.padding, zero_point)

    def _requantized(self, output: Region, sums: Slab) -> Iterator[Command]:
        step, block = product_of(self.layer.integer), self.layer.parameters
        second = yield from self._second(output)
        target = self._target(output)
        scales = Address(self.layer.parameters_base + output.channels.start * block.scale_bytes)
        zero_point = ZeroPoint(step.output.zero_point)
        yield Requantize(sums, target, scales, block.arithmetic, zero_point, step.clamp)
        yield from self._further(1, target, second)
        yield from self._stored(output, target)

    def _vector_tile(self, output: Region) -> Iterator[Command]:
        job, step = self.layer.plan.job, self.layer.integer.steps[0]
        if isinstance(step, ops.IntegerSoftmax) and output.channels.size < job.output_shape[3]:
            raise UserError(f"layer '{job.name}': softmax needs all {job.output_shape[3]} channels in one tile")
        read = window_read(job, output)
        source = yield from self._fetched("input", self.layer.input, read.loaded, read.used, output)
        second = yield from self._second(output)
        target = self._target(output)
        if isinstance(step, ops.Window):
            yield Pool(source, target, step.op.mode, step.op.kernel, step.op.stride, read.padding, step.affine)
        else:
            yield self._elementwise(step, 0, source, target, second)
        yield from self._further(1, target, second)
        yield from self._stored(output, target)

    def _mean(self, pieces: list[Region]) -> Iterator[Command]:
        """Some channels of one image: sums of piece after piece, then their means."""
        job, step = self.layer.plan.job, self.layer.integer.steps[0]
        if not isinstance(step, ops.Mean):
            raise UserError(f"layer '{job.name}': a {type(step).__name__} cannot read its input whole")
        output = replace(pieces[0], rows=Span(0, 1), columns=Span(0, 1))
        sums = self._accumulators(output)
        for index, piece in enumerate(pieces):
            source = yield from self._fetched("input", self.layer.input, piece, piece, piece)
            yield ReduceSum(source, sums, index > 0)
        target = self._target(output)
        count = Count(job.input_shape[1] * job.input_shape[2])
        yield Mean(sums, target, count, step.input, step.output)
        yield from self._further(1, target, None)
        yield from self._stored(output, target)

    def _further(self, first: int, target: Slab, second: Slab | None) -> Iterator[Command]:
        """The steps after the first, each in place."""
        for index, step in enumerate(self.layer.integer.steps[first:], start=first):
            yield self._elementwise(step, index, target, target, second)

    def _elementwise(self, step: Step, index: int, source: Slab, target: Slab, second: Slab | None) -> Command:
        match step:
            case ops.Table():
                table = self.layer.parameters_base + self.layer.parameters.tables[index]
                return Lookup(source, target, Address(table))
            case ops.IntegerSoftmax():
                return Softmax(source, target, step.input, step.output)
            case ops.Sum() | ops.ElementProduct() if second is not None:
                kind = Sum if isinstance(step, ops.Sum) else Multiply
                return kind(source, second, target, step.input, step.other, step.output, step.clamp)
        name = self.layer.plan.job.name
        raise UserError(f"layer '{name}': its vector unit has no command for a {type(step).__name__} here")

    def _accumulators(self, output: Region) -> Slab:
        shape = (output.rows.size, output.columns.size, output.channels.size)
        return Slab.dense(next(self.accumulators), *shape)

    def _second(self, output: Region) -> Generator[Command, None, Slab | None]:
        """The other input of a sum or product; loaded anew for each tile."""
        place = self.layer.second
        if place is None:
            return None
        one = Span(0, 1)
        region = replace(output, rows=one, columns=one) if has_gate(self.layer.plan.job) else output
        self.turns.forget("second")
        return (yield from self._fetched("second", place, region, region, region))

    def _fetched(
        self, operand: Operand, place: Place, loaded: Region, used: Region, tile: Region
    ) -> Generator[Command, None, Slab]:
        """Where the used part of a region lies in SRAM, after the region was loaded if it is not there.

        It is there if it was loaded for this tile; what was loaded for another one is not looked at, even where the
        two overlap.
        """
        if place.memory == "sram":
            return place.slab(used)
        address = self.turns.holding(operand, tile)
        if address is None:
            address = self.turns.take(operand, tile)
            source = place.slab(loaded)
            yield Load(source, Slab.dense(address, *source.shape))
        width, depth = loaded.columns.size, loaded.channels.size
        offset = (used.rows.start - loaded.rows.start) * width + used.columns.start - loaded.columns.start
        return Slab(address + offset * depth, used.rows.size, used.columns.size, depth, width * depth, depth)

    def _weights(self, tile: WeightTile) -> Generator[Command, None, Pieces]:
        """Where a tile of weights lies in SRAM, after what is not pinned of it was loaded."""
        layer, pieces = self.layer, []
        if tile.pinned_bytes:
            pieces.append(Piece(Address(layer.pinned_sram + tile.pinned_offset), Size(tile.pinned_bytes)))
        if tile.loaded_bytes:
            address = self.turns.holding("weights", tile)
            if address is None:
                address = self.turns.take("weights", tile)
                source = Slab.dense(layer.weights_dram + tile.offset + tile.pinned_bytes, 1, 1, tile.loaded_bytes)
                yield Load(source, replace(source, address=address))
            pieces.append(Piece(Address(address), Size(tile.loaded_bytes)))
        return tuple(pieces)

    def _target(self, output: Region) -> Slab:
        """Where a tile of output is put together: at its place, or in a buffer until it is stored."""
        place = self.layer.output
        if place.memory == "sram":
            return place.slab(output)
        return Slab.dense(self.turns.take("output"), *place.slab(output).shape)

    def _stored(self, output: Region, target: Slab) -> Iterator[Command]:
        if self.layer.output.memory == "dram":
            yield Store(target, self.layer.output.slab(output))
