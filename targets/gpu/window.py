"""Where the taps of a window lie, and which of them may fall outside the map."""

from dataclasses import dataclass

from mnv3c.graph.ops import Conv2d, ConvTranspose2d, Pool2d
from mnv3c.targets.gpu.builder import Expr
from mnv3c.targets.target import LayerWork


@dataclass(frozen=True)
class Axis:
    """One axis of a convolution or pool: `size` inputs, `count` outputs, `taps` of a window."""

    size: int
    count: int
    taps: int
    stride: int
    padding: int
    dilation: int = 1

    def source(self, position: Expr, tap: Expr) -> Expr:
        """The input index that a tap of output `position` reads; outside the map where that is padding."""
        return position * self.stride + (tap * self.dilation - self.padding)

    def inside(self, source: Expr, reach: int = 0) -> list[Expr]:
        """Conditions under which `source` lies in the map; none where it always does.

        `reach` counts outputs behind the last one that are computed, though not stored.
        """
        last = (self.count - 1 + reach) * self.stride + (self.taps - 1) * self.dilation - self.padding
        low = [source >= 0] if self.padding > 0 else []
        return low + ([source < self.size] if last >= self.size else [])

    def columns(self, outputs: int) -> list[int]:
        """Input offsets that so many neighbouring outputs read, the first output's first tap being 0."""
        return sorted({n * self.stride + tap * self.dilation for n in range(outputs) for tap in range(self.taps)})


def window_axes(op: Conv2d | ConvTranspose2d | Pool2d, work: LayerWork) -> tuple[Axis, Axis]:
    """The two axes of a layer with a window."""
    dilation = op.dilation if isinstance(op, Conv2d) else (1, 1)
    rows, columns = (
        Axis(
            work.inputs[0].spatial[n],
            work.output.spatial[n],
            op.kernel[n],
            op.stride[n],
            op.padding[n],
            dilation[n],
        )
        for n in (0, 1)
    )
    return rows, columns
