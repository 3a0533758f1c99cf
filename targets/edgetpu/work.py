"""What a layer asks of an accelerator: the matrix product or the vector work, and the tensors that it moves.

Times depend on shapes alone, so all of this comes from the fused graph; no weights and no quantisation are needed.
Every activation and weight is one byte (int8), every bias and accumulator four.
"""

from dataclasses import dataclass
from typing import Literal

from mnv3c.graph.ops import Op, Padding, Pair

JobKind = Literal["product", "depthwise", "vector"]
Shape = tuple[int, int, int, int]  # batch, height, width, channels


@dataclass(frozen=True)
class Window:
    """How outputs read their inputs: 1x1 of stride 1 for a product or a vector op without a window."""

    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    dilation: Pair = (1, 1)

    @property
    def taps(self) -> int:
        """Positions of the window."""
        return self.kernel[0] * self.kernel[1]

    def input_rows(self, output_rows: int) -> int:
        """Rows of input that so many neighbouring rows of output read, padding included."""
        return (output_rows - 1) * self.stride[0] + (self.kernel[0] - 1) * self.dilation[0] + 1

    def input_columns(self, output_columns: int) -> int:
        """Columns of input that so many neighbouring columns of output read, padding included."""
        return (output_columns - 1) * self.stride[1] + (self.kernel[1] - 1) * self.dilation[1] + 1


@dataclass(frozen=True)
class Job:
    """One layer of the fused graph.

    A `product` multiplies M = batch * out_height * out_width rows by K = taps * in_channels / groups and N =
    out_channels / groups, `groups` times; a `depthwise` has K = taps for each of its channels; `vector` work (pools,
    gates, sums, tables of their own, softmax, resizing) goes to the vector unit alone: `reads_whole` says that nothing
    of the output is known before the whole input was read (global pools: the barrier of squeeze-excite).

    `input_shape` and `output_shape` are (batch, height, width, channels), with height = width = 1 for rank 2.
    `passes` is how many vector operations each output element takes after its accumulator has become int8: one for a
    table, one for a residual sum; for vector work, per output element or per input element where `reads_whole`.
    `second` is the input read alongside the output (a residual: same shape; a gate: (batch, 1, 1, channels)); `further`
    are the third and later inputs of a concatenation. A transposed convolution is one product for all its phases: its
    `output_shape` is (batch, height / stride, width / stride, stride * stride * channels), rounded up.
    """

    name: str
    kind: JobKind
    op: Op
    input: str
    input_shape: Shape
    output_shape: Shape
    window: Window = Window()
    groups: int = 1
    passes: int = 0
    second: str | None = None
    second_shape: Shape | None = None
    further: tuple[tuple[str, Shape], ...] = ()
    reads_whole: bool = False
    weight_bytes: int = 0
    macs: int = 0

    @property
    def m(self) -> int:
        """Output positions."""
        return self.output_shape[0] * self.output_shape[1] * self.output_shape[2]

    @property
    def k(self) -> int:
        """Products that are summed up in one output."""
        return self.window.taps * (self.input_shape[3] // self.groups)

    @property
    def n(self) -> int:
        """Output channels of one group."""
        return self.output_shape[3] // self.groups
