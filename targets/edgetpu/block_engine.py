"""A block engine's numbers, worked out once; how it cuts a layer's outputs into blocks, and each block into steps.

The rules are those of Arm's Ethos-U as its compiler Vela 5.2.0 times it (ethosu/vela: architecture_allocator.py,
npu_performance.py). Vela searches all blocks; the rule here gives nearly all layers as much.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Self

from mnv3c.graph.ops import Pair
from mnv3c.targets.edgetpu.device import AcceleratorDevice, BlockArray

Extent = tuple[int, int, int]  # height, width, channels
WindowKind = Literal["convolution", "depthwise", "mean", "pool"]

_ACCUMULATOR_BYTES = 4
_BUFFERS = 2
# Windows are worked through in pieces of at most so many taps a side (SubKernelMax).
_PIECE = 8


def ceil_div(dividend: int, divisor: int) -> int:
    """The quotient, rounded up."""
    return -(-dividend // divisor)


def round_up(value: int, grain: int) -> int:
    """The next multiple of a grain."""
    return ceil_div(value, grain) * grain


@dataclass(frozen=True, slots=True)
class WindowedOperator:
    """Outputs that each sum up (or compare) a window of inputs.

    `upscale` is how many positions a side each input position stands for: transposed convolutions and resizing read
    an input that is spread out on its way. `table` says that outputs pass a table.
    """

    kind: WindowKind
    input: Extent
    output: Extent
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    upscale: Pair = (1, 1)
    table: bool = False

    @property
    def taps(self) -> int:
        """Positions of the window."""
        return self.kernel[0] * self.kernel[1]

    def pieces(self) -> Iterator[int]:
        """The taps of each piece of the window."""
        for row in range(0, self.kernel[0], _PIECE):
            for column in range(0, self.kernel[1], _PIECE):
                yield min(_PIECE, self.kernel[0] - row) * min(_PIECE, self.kernel[1] - column)

    def input_side(self, axis: int, outputs: int) -> int:
        """Rows (axis 0) or columns (1) of input behind so many neighbouring outputs, for one piece of the window."""
        window = (min(self.kernel[axis], _PIECE) - 1) * self.dilation[axis] + 1
        return ceil_div((outputs - 1) * self.stride[axis] + window, self.upscale[axis])


@dataclass(frozen=True, slots=True)
class Block:
    """The outputs that are made at a time, `height` x `width` x `depth`, and the rows and columns of input behind."""

    height: int
    width: int
    depth: int
    input_height: int
    input_width: int


@dataclass(frozen=True, slots=True)
class Engine:
    """What the timing of blocks reads of a device.

    `unit` are the outputs of a micro-block, which a core computes at once. A step takes `step_cycles`: a convolution
    sums `step_channels` input channels of one tap, or `step_cycles` taps of `input_depth` channels; a depthwise one
    sums `depthwise_taps`. `decode_cycles` is what a core needs to decode the weights of a step. `output_cycles` and
    `table_cycles` are an element's, plain and through a table, all cores together; 0 where that is free.
    """

    unit: Extent
    cores: int
    step_cycles: int
    input_depth: int
    depthwise_taps: float
    decode_cycles: int
    buffer_banks: int
    bank_bytes: int
    input_granule: int
    accumulator_granule: int
    largest: Extent
    convolution_depth: int
    brick: int
    output_cycles: float
    table_cycles: float

    @classmethod
    def of(cls, device: AcceleratorDevice) -> Self:
        """The engine of a device whose array is of kind `blocks`."""
        array, blocks, vector = device.array, device.blocks, device.vector
        assert isinstance(array, BlockArray) and blocks is not None  # the device's check
        depth = array.block_depth // blocks.cores
        outputs = array.block_height * array.block_width * array.block_depth
        step_weights = blocks.step_cycles * array.input_depth * depth
        return cls(
            unit=(array.block_height, array.block_width, depth),
            cores=blocks.cores,
            step_cycles=blocks.step_cycles,
            input_depth=array.input_depth,
            depthwise_taps=array.depthwise_macs_per_cycle * blocks.step_cycles / outputs,
            decode_cycles=ceil_div(step_weights, blocks.weights_decoded_per_cycle),
            buffer_banks=blocks.buffer_bytes // blocks.buffer_bank_bytes,
            bank_bytes=blocks.buffer_bank_bytes,
            input_granule=blocks.input_granule_banks,
            accumulator_granule=blocks.accumulator_granule_banks,
            largest=(blocks.largest_height, blocks.largest_width, blocks.largest_depth),
            convolution_depth=blocks.convolution_depth,
            brick=blocks.channel_brick,
            output_cycles=1 / vector.output_lanes if vector.output_lanes else 0.0,
            table_cycles=1 / vector.lanes if vector.lanes else 0.0,
        )

    @property
    def step_channels(self) -> int:
        """Input channels of one tap that a step of a convolution sums up."""
        return self.step_cycles * self.input_depth

    def by_taps(self, operator: WindowedOperator) -> bool:
        """Whether a step of a convolution is several taps of few channels, as few channels fill it better."""
        channels, taps = operator.input[2], operator.taps
        if operator.kind != "convolution":
            return False
        filled = channels * taps * round_up(channels, self.step_channels)
        padded = round_up(channels, self.input_depth) * round_up(taps, self.step_cycles) * channels
        return channels <= self.input_depth or filled > padded

    def steps(self, operator: WindowedOperator) -> int:
        """Steps that one micro-block takes; of a pool's window, those of one comparison or sum a tap."""
        channels, taps = operator.input[2], operator.taps
        if operator.kind == "pool":
            return sum(ceil_div(max(self.step_cycles, piece), self.step_cycles) for piece in operator.pieces())
        if operator.kind != "convolution":
            return sum(-int(-piece // self.depthwise_taps) for piece in operator.pieces())
        if self.by_taps(operator):
            return ceil_div(taps, self.step_cycles) * ceil_div(channels, self.input_depth)
        return taps * ceil_div(channels, self.step_channels)

    def stored_weights(self, operator: WindowedOperator) -> int:
        """Weights as they are stored: those of a convolution fill their steps with zeros."""
        channels, depth, taps = operator.input[2], operator.output[2], operator.taps
        if operator.kind == "depthwise":
            return taps * depth
        if operator.kind != "convolution":
            return 0
        if self.by_taps(operator):
            return round_up(taps, self.step_cycles) * round_up(channels, self.input_depth) * depth
        return taps * round_up(channels, self.step_channels) * depth

    def block(self, operator: WindowedOperator) -> Block:
        """The block of outputs: as deep as allowed, of balanced width, then as high as fits into the buffers.

        A depthwise block is one brick of channels deep. Where not even the lowest block fits, it becomes shallower, and
        after that narrower, down to a single micro-block (which longer strides than Vela allows may leave too large).
        """
        height, width, channels = operator.output
        unit_height, unit_width, unit_depth = self.unit
        widest = round_up(ceil_div(width, ceil_div(width, self.largest[1])), unit_width)
        deepest = {"convolution": self.convolution_depth, "mean": self.largest[2]}.get(operator.kind, self.brick)
        highest = min(round_up(height, unit_height), round_up(self.largest[0], unit_height))
        depths = range(round_up(min(channels, deepest), unit_depth), 0, -unit_depth)
        block = Block(0, 0, 0, 0, 0)
        for block_width in range(widest, 0, -unit_width):
            columns = round_up(operator.input_side(1, block_width), unit_width)
            for depth in depths if block_width == widest else depths[-1:]:
                for block_height in range(highest, 0, -unit_height):
                    rows = round_up(operator.input_side(0, block_height), unit_height)
                    block = Block(block_height, block_width, depth, rows, columns)
                    if self._banks(operator, block) <= self.buffer_banks:
                        return block
        return block

    def _banks(self, operator: WindowedOperator, block: Block) -> int:
        depth = block.depth
        if operator.kind == "convolution":
            most = self.step_channels // (2 if self.by_taps(operator) else 1)
            depth = round_up(min(operator.input[2], most), self.input_depth)
        inputs = block.input_height * block.input_width * depth
        sums = block.height * block.width * block.depth * _ACCUMULATOR_BYTES
        return round_up(_BUFFERS * ceil_div(inputs, self.bank_bytes), self.input_granule) + round_up(
            _BUFFERS * ceil_div(sums, self.bank_bytes), self.accumulator_granule
        )
