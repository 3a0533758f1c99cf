"""What one operator takes on a block engine: cycles of its stages, and the tensors that pass its memory ports.

Vela's model, npu_performance.py of release 5.2.0, put in a few terms. An operator's blocks pass the MAC stage and the
output stage one after the other; both work at the same time, on neighbouring blocks, and only the last block drains.
"""

from dataclasses import dataclass

from mnv3c.targets.edgetpu.block_engine import Block, Engine, Extent, WindowedOperator, ceil_div, round_up

# A block spends at least this part of its time in either stage.
_SHORTEST_STAGE = 0.25
_SUM_BYTES = 4


@dataclass(frozen=True, slots=True)
class Access:
    """Positions of a tensor that are read or written, all their channels each; `tensor` None lives within a layer.

    `moved_positions` are those that energy counts, where time counts others: a gate is timed as if it were read for
    every position.
    """

    tensor: str | None
    positions: int
    channels: int
    moved_positions: int | None = None


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of a layer; a layer runs its operators one after the other, `repeats` times each.

    `engine_cycles` are those without waiting for memory, at least `array_cycles` (MACs, and the decoder where that is
    slower) and `output_cycles`. `weight_reads` pass from the SRAM to the decoder, `weights` (uncompressed) and
    `channel_bytes` (biases and scales) come from DRAM.
    """

    what: str
    array_cycles: float
    output_cycles: float
    engine_cycles: float
    reads: tuple[Access, ...]
    write: Access
    macs: int = 0
    outputs: int = 0
    table: bool = False
    steps: int = 0
    weight_reads: int = 0
    weights: int = 0
    channel_bytes: int = 0
    repeats: int = 1

    @property
    def vector_operations(self) -> int:
        """Output elements, twice where they pass a table."""
        return self.outputs * (1 + self.table)

    @property
    def accumulator_bytes(self) -> int:
        """Bytes of sums: each step reads and writes those of its outputs once."""
        return self.outputs * self.steps * _SUM_BYTES * 2


@dataclass(frozen=True, slots=True)
class Stages:
    """A block engine with the rates of its output stage for each kind of element, in cycles."""

    engine: Engine
    sum_cycles: float
    product_cycles: float
    int32_product_cycles: float
    bytes_per_channel: int

    def windowed(self, operator: WindowedOperator, read: str | None, write: str | None) -> Operator:
        """A convolution, depthwise convolution, pool, or the sums of a mean.

        Each plane of a block takes its micro-blocks times the steps, or as long as the decoder needs for the weights of
        every step. A convolution's input is read once for each of its blocks, halo included, and its weights once for
        each plane of blocks. A mean ends with an int32 product for each channel.
        """
        engine, (height, width, depth) = self.engine, operator.output
        block, steps = engine.block(operator), engine.steps(operator)
        planes = ceil_div(height, block.height) * ceil_div(width, block.width)
        blocks = planes * ceil_div(depth, block.depth)
        array = self._plane_cycles(operator, block) * steps * ceil_div(depth, engine.unit[2]) / engine.cores
        outputs = height * width * depth
        output = outputs * (engine.table_cycles if operator.table else engine.output_cycles)
        drain = max(min(array, output), (array + output) * _SHORTEST_STAGE) / blocks
        tail = round_up(depth, engine.brick) * self.int32_product_cycles if operator.kind == "mean" else 0.0
        reads = planes * min(block.input_height, operator.input[0]) * min(block.input_width, operator.input[1])
        if operator.kind == "mean":
            reads = operator.input[0] * operator.input[1]
        elif operator.kind == "convolution":
            reads *= ceil_div(depth, block.depth)
        weights = engine.stored_weights(operator)
        return Operator(
            what=operator.kind,
            array_cycles=array,
            output_cycles=output + tail,
            engine_cycles=max(array, output) + drain + tail,
            # The sums of a mean pass through the SRAM as int32, written and read again.
            reads=(Access(read, reads, operator.input[2]), *self._sums(operator)),
            write=Access(write, height * width, depth),
            outputs=outputs,
            table=operator.table,
            steps=steps,
            weight_reads=weights * planes if operator.kind == "convolution" else 0,
            weights=weights,
            channel_bytes=0 if operator.kind == "pool" else self.bytes_per_channel * depth * planes,
        )

    def matrix(self, inputs: int, outputs: int, *, table: bool, read: str, write: str | None) -> Operator:
        """A fully connected layer: the decoder's pace, as every weight is used once; they never pass the SRAM."""
        engine = self.engine
        steps = ceil_div(inputs, engine.step_channels)
        step_cycles = max(engine.decode_cycles, engine.step_cycles)
        cycles = ceil_div(outputs, engine.unit[2]) * steps * step_cycles / engine.cores
        output = outputs * (engine.table_cycles if table else engine.output_cycles)
        return Operator(
            what="matrix",
            array_cycles=cycles,
            output_cycles=output,
            engine_cycles=max(cycles, output),
            reads=(Access(read, 1, inputs),),
            write=Access(write, 1, outputs),
            outputs=outputs,
            table=table,
            steps=steps,
            weights=round_up(inputs, engine.step_channels) * outputs,
            channel_bytes=self.bytes_per_channel * outputs,
        )

    def elementwise(
        self,
        what: str,
        shape: Extent,
        cycles: float,
        reads: tuple[Access, ...],
        write: str | None,
        *,
        table: bool = False,
    ) -> Operator:
        """Sums, products, copies, tables: one element after the other, whole bricks of channels."""
        height, width, channels = shape
        per_element = max(cycles, self.engine.table_cycles) if table else cycles
        total = height * width * round_up(channels, self.engine.brick) * per_element
        return Operator(
            what=what,
            array_cycles=0.0,
            output_cycles=total,
            engine_cycles=total,
            reads=reads,
            write=Access(write, height * width, channels),
            outputs=height * width * channels,
            table=table,
        )

    def _plane_cycles(self, operator: WindowedOperator, block: Block) -> int:
        """Cycles of one step of one micro-block's depth over all planes of blocks; edge blocks have fewer."""
        engine = self.engine
        least = 0 if operator.kind == "pool" else engine.decode_cycles
        columns = _units(operator.output[1], block.width, engine.unit[1])
        return sum(
            max(least, engine.step_cycles * rows * across) * count * number
            for rows, count in _units(operator.output[0], block.height, engine.unit[0])
            for across, number in columns
        )

    def _sums(self, operator: WindowedOperator) -> tuple[Access, ...]:
        return (Access(None, 2 * _SUM_BYTES, operator.output[2]),) if operator.kind == "mean" else ()


def _units(extent: int, size: int, unit: int) -> tuple[tuple[int, int], ...]:
    """Micro-blocks along one side of the blocks that an extent is cut into, and how many blocks have so many."""
    whole, rest = divmod(extent, size)
    return ((ceil_div(size, unit), whole), (ceil_div(rest, unit), int(rest > 0)))
