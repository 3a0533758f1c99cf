"""A job as loops over tiles see it: a space of positions and channels, and what lies behind a part of it."""

from dataclasses import dataclass
from typing import NamedTuple

from mnv3c.targets.edgetpu.work import Job

ACCUMULATOR_BYTES = 4


class Streams(NamedTuple):
    """Which tensors of a layer pass between DRAM and SRAM tile by tile; the others lie in SRAM.

    Of the weights so many bytes do; the rest, the same share of each tile's, is pinned.
    """

    input: bool
    second: bool
    further: bool
    output: bool
    weight_bytes: int


@dataclass(frozen=True, slots=True)
class LayerView:
    """The tile space of a job.

    `rows` x `columns` x `channels` is tiled, `repeats` times over (images of a batch, groups). They are outputs, but
    inputs where a job reads everything before it writes. `depth` is a group's input channels, or 0 where those are the
    tile's own channels (depthwise and vector work).

    Of the input, r rows of a tile read min(height, floor((r - 1) * row_step / row_unit) + row_reach) rows, and columns
    likewise; padding counts as if it were read. A resized image is read in proportion, with a row of border each side.
    """

    job: Job
    repeats: int
    rows: int
    columns: int
    channels: int
    depth: int
    height: int
    width: int
    row_step: int
    row_unit: int
    row_reach: int
    column_step: int
    column_unit: int
    column_reach: int

    @classmethod
    def of(cls, job: Job) -> "LayerView":
        """The view of a job. A matrix product takes all images of a batch as one."""
        batch, rows, columns, channels = job.input_shape if job.reads_whole else job.output_shape
        _, height, width, depth = job.input_shape
        kernel, stride, dilation = job.window.kernel, job.window.stride, job.window.dilation
        by_rows = (stride[0], 1, (kernel[0] - 1) * dilation[0] + 1)
        by_columns = (stride[1], 1, (kernel[1] - 1) * dilation[1] + 1)
        if job.kind == "vector" and job.window.taps == 1 and (height, width) != (rows, columns):
            by_rows, by_columns = (height, rows, 3), (width, columns, 3)
        if job.kind != "product":
            return cls(job, batch, rows, columns, channels, 0, height, width, *by_rows, *by_columns)
        if job.window.taps == 1 and job.input_shape[:3] == job.output_shape[:3]:
            batch, rows, height = 1, batch * rows, batch * height
        repeats, depth = batch * job.groups, depth // job.groups
        return cls(job, repeats, rows, columns, job.n, depth, height, width, *by_rows, *by_columns)

    @property
    def second_is_gate(self) -> bool:
        """Whether the second input has one value for each channel instead of one for each output."""
        shape = self.job.second_shape
        return shape is not None and shape[1:3] != self.job.output_shape[1:3]

    def input_positions(self, rows: int, columns: int) -> int:
        """Positions of the input behind a tile of so many rows and columns."""
        read_rows = (rows - 1) * self.row_step // self.row_unit + self.row_reach
        read_columns = (columns - 1) * self.column_step // self.column_unit + self.column_reach
        return min(self.height, read_rows) * min(self.width, read_columns)

    def input_bytes(self, rows: int, columns: int, channels: int, depth: int) -> int:
        """Bytes of the first input behind a tile."""
        return self.input_positions(rows, columns) * (depth if self.depth else min(channels, self.job.input_shape[3]))

    def second_bytes(self, rows: int, columns: int, channels: int) -> int:
        """Bytes of the second input behind a tile: of its own positions, or one for each channel of a gate."""
        if self.job.second_shape is None:
            return 0
        share = min(channels, self.job.second_shape[3])
        return share if self.second_is_gate else rows * columns * share

    def further_bytes(self, rows: int, columns: int) -> int:
        """Bytes of the third and later inputs behind a tile of all channels."""
        return rows * columns * sum(shape[3] for _, shape in self.job.further)

    @property
    def weight_parts(self) -> int:
        """Weights are so many equal parts, one for each input channel of each output channel of the view."""
        return (self.job.groups if self.depth else 1) * self.channels * (self.depth or 1)

    def weight_bytes(self, channels: int, depth: int) -> int:
        """Bytes of weights behind a tile: its share of the layer's, biases included."""
        return -(-self.job.weight_bytes * channels * (depth if self.depth else 1) // self.weight_parts)

    def output_bytes(self, rows: int, columns: int, channels: int) -> int:
        """Bytes of output of a tile; a job that reads everything first writes each channel once."""
        return channels if self.job.reads_whole else rows * columns * channels
