"""Which part of a tensor a tile is, and where tensors lie."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from mnv3c.graph.ops import Padding
from mnv3c.targets.edgetpu.commands import Slab
from mnv3c.targets.edgetpu.plan import Tiling
from mnv3c.targets.edgetpu.work import Job, Shape, Window


@dataclass(frozen=True)
class Span:
    """Neighbouring indices along one axis."""

    start: int
    size: int

    @property
    def stop(self) -> int:
        """The index behind the last one."""
        return self.start + self.size

    def cut(self, size: int) -> Iterator["Span"]:
        """Pieces of so many indices, the last one smaller where it does not divide."""
        for start in range(self.start, self.stop, size):
            yield Span(start, min(size, self.stop - start))


@dataclass(frozen=True)
class Region:
    """A part of a tensor: of one image of the batch."""

    image: int
    rows: Span
    columns: Span
    channels: Span

    @property
    def elements(self) -> int:
        """How many elements it has."""
        return self.rows.size * self.columns.size * self.channels.size


@dataclass(frozen=True)
class Place:
    """Where a tensor (batch, height, width, channels) of int8 lies; dense, or `ring` rows of it at a time."""

    memory: Literal["dram", "sram"]
    address: int
    shape: Shape
    ring: int = 0

    def slab(self, region: Region) -> Slab:
        """The addresses of a region."""
        _, height, width, channels = self.shape
        image = region.image * height * width * channels if not self.ring else 0
        offset = image + region.columns.start * channels + region.channels.start
        if not self.ring:
            offset += region.rows.start * width * channels
        return Slab(
            self.address + offset,
            region.rows.size,
            region.columns.size,
            region.channels.size,
            width * channels,
            channels,
            self.ring,
            region.rows.start % self.ring if self.ring else 0,
        )


@dataclass(frozen=True)
class Positions:
    """The positions that a job's tiles cut up: outputs, but inputs where a job reads its input whole.

    A matrix product takes the images of a batch as one, one below the other.
    """

    images: int
    rows: int
    columns: int

    @classmethod
    def of(cls, job: Job) -> "Positions":
        """The positions of a job."""
        batch, rows, columns, _ = job.input_shape if job.reads_whole else job.output_shape
        if job.kind == "product" and reads_own_position(job):
            return cls(1, batch * rows, columns)
        return cls(batch, rows, columns)

    def tiles(self, image: int, tiling: Tiling, channels: Span, rows: Span | None = None) -> Iterator[Region]:
        """The tiles of an image, or of these rows of it, in reading order; with these channels."""
        for row in (rows or Span(0, self.rows)).cut(tiling.rows):
            for column in Span(0, self.columns).cut(tiling.columns):
                yield Region(image, row, column, channels)


def reads_own_position(job: Job) -> bool:
    """Whether every output reads the input at its own row and column, and no other."""
    window = job.window
    return window.taps == 1 and window.stride == (1, 1) and not any(window.padding)


def has_gate(job: Job) -> bool:
    """Whether the second input is one row and column for all."""
    return job.second_shape is not None and job.second_shape[1:3] == (1, 1)


@dataclass(frozen=True)
class WindowRead:
    """What a region of outputs reads: `loaded` of the input, of which `used` lies under the windows.

    `padding` is what the windows cover outside the input. As much is loaded as the windows would cover without
    padding, as far as there is so much: all tiles of a size load alike, and the timeline counts them so.
    """

    loaded: Region
    used: Region
    padding: Padding


def window_read(job: Job, output: Region) -> WindowRead:
    """What a region of the job's outputs reads; its channels are the input's already."""
    if reads_own_position(job):
        return WindowRead(output, output, (0, 0, 0, 0))
    rows, row, top, bottom = _covered(output.rows, job.window, 0, job.input_shape[1])
    columns, column, left, right = _covered(output.columns, job.window, 1, job.input_shape[2])
    return WindowRead(
        replace(output, rows=rows, columns=columns),
        replace(output, rows=row, columns=column),
        (top, left, bottom, right),
    )


def _covered(output: Span, window: Window, axis: int, extent: int) -> tuple[Span, Span, int, int]:
    """Along one axis: what is loaded, what is used, and the padding before and behind it."""
    kernel, stride = window.kernel[axis], window.stride[axis]
    size = (output.size - 1) * stride + (kernel - 1) * window.dilation[axis] + 1
    start = output.start * stride - window.padding[axis]
    used = Span(min(max(start, 0), extent), 0)
    used = Span(used.start, max(0, min(start + size, extent) - used.start))
    before = min(max(-start, 0), size) if used.size else size
    loaded = Span(min(max(start, 0), extent - min(size, extent)), min(size, extent))
    return loaded, used, before, size - before - used.size
