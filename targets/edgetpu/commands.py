"""The commands that an accelerator executes: what its driver would hand to it, one after another.

There are four memories, each an array of bytes with addresses from 0: the DRAM, the SRAM, the array's accumulators
(int32), and the vector unit's parameters (multipliers, tables). A command names everything that it reads and writes by
address; nothing is known from the commands before it. The DMA engine does `load` and `store`, the array `matmul` and
`depthwise`, the vector unit the others; `launch` begins
a layer.
"""

from dataclasses import dataclass
from typing import Literal, NewType, Self

from mnv3c.graph.integer.affine import Affine
from mnv3c.graph.integer.ops import Clamp, Rounding
from mnv3c.graph.ops import Padding, Pair

Address = NewType("Address", int)
Size = NewType("Size", int)  # in bytes
Count = NewType("Count", int)
ZeroPoint = NewType("ZeroPoint", int)
Memory = Literal["dram", "sram", "accumulators", "parameters"]
Arithmetic = Literal["fixed", "float32", "float64"]


@dataclass(frozen=True)
class Slab:
    """Rows x columns x channels elements, channels next to each other: a part of an activation tensor.

    `address` is in bytes; the strides are in elements (a byte each, four in the accumulators). Where `ring` is not 0
    the rows lie in a ring of so many rows that begins at `address`, the first of them in the ring's row `first`.
    """

    address: int
    rows: int
    columns: int
    channels: int
    row_stride: int
    column_stride: int
    ring: int = 0
    first: int = 0

    @classmethod
    def dense(cls, address: int, rows: int, columns: int, channels: int) -> Self:
        """A slab without gaps."""
        return cls(address, rows, columns, channels, columns * channels, channels)

    @property
    def elements(self) -> int:
        """How many elements it has."""
        return self.rows * self.columns * self.channels

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns, channels."""
        return self.rows, self.columns, self.channels

    @property
    def span(self) -> int:
        """Elements from the first to the last one's end, or to that of the whole ring."""
        if not self.elements:
            return 0
        rows = self.ring or self.rows
        return (rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride + self.channels


@dataclass(frozen=True)
class Piece:
    """Neighbouring bytes of the SRAM."""

    address: Address
    length: Size


Pieces = tuple[Piece, ...]


@dataclass(frozen=True)
class Port:
    """An input or output of the network: an int8 tensor in the IR's order, in DRAM."""

    name: str
    shape: tuple[int, ...]
    dram: Address
    affine: Affine


@dataclass(frozen=True)
class Launch:
    """A layer begins: its parameters (`length` bytes) come from DRAM to the vector unit."""

    layer: str
    dram: Address
    parameters: Address
    length: Size


@dataclass(frozen=True)
class Resume:
    """What follows belongs to a fused layer that was launched before: a mark for the reader, nothing is done."""

    layer: str


@dataclass(frozen=True)
class Load:
    """A slab from DRAM to SRAM."""

    dram: Slab
    sram: Slab


@dataclass(frozen=True)
class Store:
    """A slab from SRAM to DRAM."""

    sram: Slab
    dram: Slab


@dataclass(frozen=True)
class ArrayCommand:
    """Sums of products over a window, from int8 inputs and weights to int32 accumulators.

    `weights` are the bytes of the pieces one behind the other; where `bias` is set the int32 biases come behind the
    weights, and the sums start from them, else they go on from what the accumulators hold. Biases contain -zero_point *
    (sum of the channel's weights), so that inputs need no subtraction. `padding` is that of this tile alone: what lies
    outside the tensor, and is read as `zero_point`.
    """

    input: Slab
    weights: Pieces
    bias: bool
    accumulators: Slab
    kernel: Pair
    stride: Pair
    dilation: Pair
    padding: Padding
    zero_point: ZeroPoint


@dataclass(frozen=True)
class Matmul(ArrayCommand):
    """Every output channel sums over all taps and channels of the input slab: one tile of the array.

    weights: (kernel_h, kernel_w, input channels, output channels), dense.
    """


@dataclass(frozen=True)
class Depthwise(ArrayCommand):
    """Every output channel sums over the taps of its own input channel. weights: (kernel_h, kernel_w, channels)."""


@dataclass(frozen=True)
class Requantize:
    """Accumulators to int8: scaled per channel, moved to `zero_point`, clamped.

    `scales` is the parameters' address of what each channel is scaled by: `fixed` an int32 mantissa and an int32 shift,
    `float32` one such number, `float64` one such number (rounded to the nearest, ties away from zero).
    """

    accumulators: Slab
    output: Slab
    scales: Address
    arithmetic: Arithmetic
    zero_point: ZeroPoint
    clamp: Clamp


@dataclass(frozen=True)
class Lookup:
    """Every byte x becomes entry x + 128 of the 256 bytes at `table` of the parameters."""

    input: Slab
    output: Slab
    table: Address


@dataclass(frozen=True)
class Sum:
    """The sum of two slabs in `output_affine`, clamped."""

    input: Slab
    other: Slab
    output: Slab
    input_affine: Affine
    other_affine: Affine
    output_affine: Affine
    clamp: Clamp


@dataclass(frozen=True)
class Multiply:
    """The product of two slabs in `output_affine`, clamped; `other` may be one row and column for all (a gate)."""

    input: Slab
    other: Slab
    output: Slab
    input_affine: Affine
    other_affine: Affine
    output_affine: Affine
    clamp: Clamp


@dataclass(frozen=True)
class ReduceSum:
    """Each channel's sum over the rows and columns into accumulators of 1x1, `add`ed to what they hold or anew."""

    input: Slab
    accumulators: Slab
    add: bool


@dataclass(frozen=True)
class Mean:
    """Accumulators of sums over `count` elements each to int8 means."""

    accumulators: Slab
    output: Slab
    count: Count
    input_affine: Affine
    output_affine: Affine


@dataclass(frozen=True)
class Pool:
    """The maximum or average over a window; `padding` is this tile's own and enters neither."""

    input: Slab
    output: Slab
    mode: Literal["max", "average"]
    kernel: Pair
    stride: Pair
    padding: Padding
    affine: Affine


@dataclass(frozen=True)
class Softmax:
    """Softmax over the channels at every position."""

    input: Slab
    output: Slab
    input_affine: Affine
    output_affine: Affine


VectorCommand = Requantize | Lookup | Sum | Multiply | ReduceSum | Mean | Pool | Softmax
Command = Launch | Resume | Load | Store | Matmul | Depthwise | VectorCommand
COMMAND_TYPES: tuple[type[Command], ...] = (
    Launch,
    Resume,
    Load,
    Store,
    Matmul,
    Depthwise,
    Requantize,
    Lookup,
    Sum,
    Multiply,
    ReduceSum,
    Mean,
    Pool,
    Softmax,
)


@dataclass(frozen=True)
class CommandStream:
    """A network's commands for one device, and how large its memories are in bytes.

    `setup` is executed once, before the first inference: it loads the weights that stay in the SRAM. `commands` are one
    inference, from the inputs' place in DRAM to the outputs'. `rounding` is the vector unit's.
    """

    network: str
    device: str
    rounding: Rounding
    dram_bytes: Size
    sram_bytes: Size
    accumulator_bytes: Size
    parameter_bytes: Size
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    setup: tuple[Command, ...]
    commands: tuple[Command, ...]
