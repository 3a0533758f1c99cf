"""How activations lie in memory: slices of four channels, [slice][row][column][4].

Lanes behind the last channel are padding. Their values are finite, whatever they are: weights of padding are zero.
"""

from dataclasses import dataclass

from mnv3c.graph.tensor import Layout, TensorType
from mnv3c.targets.gpu.builder import LANES, Buffer, Expr, GpuBuilder, Parameter
from mnv3c.targets.target import Storage


def slices(channels: int) -> int:
    """Vectors that hold so many channels."""
    return -(-channels // LANES)


def storage_elements(tensor: TensorType) -> int:
    """Values that a tensor takes, padding included."""
    return tensor.elements // tensor.channels * slices(tensor.channels) * LANES


@dataclass(frozen=True)
class Source:
    """A tensor that a kernel reads vector by vector, as it is stored or as the caller handed it over."""

    height: int
    width: int
    channels: int
    storage: Storage = "target"

    @staticmethod
    def of(tensor: TensorType, storage: Storage = "target") -> "Source":
        """The source of a tensor of batch 1."""
        return Source(*tensor.spatial, tensor.channels, storage)

    @property
    def slices(self) -> int:
        """Vectors of a pixel."""
        return slices(self.channels)

    @property
    def pixels(self) -> int:
        """Height times width."""
        return self.height * self.width

    @property
    def elements(self) -> int:
        """Values of the argument."""
        return self.pixels * (self.slices * LANES if self.storage == "target" else self.channels)

    def load(self, k: GpuBuilder, buffer: Buffer, part: Expr, y: Expr, x: Expr) -> Expr:
        """Slice `part` of the pixel (y, x); a caller's tensor has to have a single slice."""
        pixel = y * self.width + x
        if self.storage == "target":
            return k.load(buffer, part * self.pixels + pixel)
        known = [k.load_scalar(buffer, self.place(pixel, c)) for c in range(self.channels)]
        return k.vector(known + [k.scalar(0.0)] * (LANES - self.channels))

    def place(self, pixel: Expr, channel: Expr) -> Expr:
        """Where a value lies in the caller's tensor."""
        return channel * self.pixels + pixel if self.storage == "NCHW" else pixel * self.channels + channel


@dataclass(frozen=True)
class Destination:
    """A tensor that a kernel writes vector by vector: stored slices, or the caller's own float32 tensor."""

    pixels: int
    channels: int
    layout: Layout | None = None

    @property
    def parameter(self) -> Parameter:
        """The kernel's last argument."""
        if self.layout is None:
            return Parameter("output", self.pixels * LANES * slices(self.channels))
        return Parameter("output", self.pixels * self.channels, "caller")

    def store(self, k: GpuBuilder, buffer: Buffer, part: Expr, pixel: Expr, vector: Expr) -> None:
        """Write slice `part` of a pixel; of padding, the caller's tensor has nothing."""
        if self.layout is None:
            k.store(buffer, part * self.pixels + pixel, vector)
            return
        value = k.register("delivered")
        value.set(vector)
        for lane in range(LANES):
            channel = part * LANES + lane
            with k.when(*([channel < self.channels] if self.channels % LANES else [])):
                place = channel * self.pixels + pixel if self.layout == "NCHW" else pixel * self.channels + channel
                k.store_caller(buffer, place, k.lane(value.get(), lane))
