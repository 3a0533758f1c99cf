"""How channels are cut into vectors, and how activations are stored.

An activation is stored as rows: [height * width, stored channels], channels innermost. A row takes a multiple of the
widest vector, so that vectors do not straddle cache lines. Only the channels themselves are computed: they are covered
by vectors of the widest size first, then by narrower powers of two down to 4 floats, so 24 channels on AVX-512 are one
vector of 16 and one of 8, with nothing wasted and no lane count that LLVM would scalarise. What lies in the padding is
never mixed into real channels.
"""

from dataclasses import dataclass

from mnv3c.graph.tensor import TensorType
from mnv3c.targets.device import CpuDevice


@dataclass(frozen=True)
class Piece:
    """One vector of a run of channels: `lanes` floats from `offset`."""

    offset: int
    lanes: int


@dataclass(frozen=True)
class Lanes:
    """Vector widths of a device in float32 lanes: powers of two from `narrowest` to `widest`."""

    widest: int
    narrowest: int

    def stored(self, channels: int) -> int:
        """Floats from one row of an activation to the next."""
        return -(-channels // self.widest) * self.widest

    def covered(self, channels: int) -> int:
        """Channels that vectors compute: a multiple of the narrowest vector."""
        return -(-channels // self.narrowest) * self.narrowest

    def pieces(self, channels: int) -> tuple[Piece, ...]:
        """Vectors that cover the channels, widest first."""
        pieces: list[Piece] = []
        offset, lanes, end = 0, self.widest, self.covered(channels)
        while offset < end:
            while lanes > end - offset:
                lanes //= 2
            pieces.append(Piece(offset, lanes))
            offset += lanes
        return tuple(pieces)

    def blocks(self, channels: int, vectors: int) -> "Blocks":
        """The covered channels cut into blocks of `vectors` widest vectors, and a rest."""
        size = vectors * self.widest
        count, rest = divmod(self.covered(channels), size)
        return Blocks(size, self.pieces(size), count, self.pieces(rest) if rest else ())


@dataclass(frozen=True)
class Blocks:
    """`count` blocks of `size` channels, each covered by `pieces`, then one narrower block covered by `rest`."""

    size: int
    pieces: tuple[Piece, ...]
    count: int
    rest: tuple[Piece, ...]

    @property
    def rest_start(self) -> int:
        """First channel of the rest."""
        return self.count * self.size

    @property
    def total(self) -> int:
        """Number of blocks, the rest included."""
        return self.count + bool(self.rest)


def device_lanes(device: CpuDevice) -> Lanes:
    """Vector widths that a device's kernels use."""
    widest = device.vector.bits // 32
    return Lanes(widest, min(4, widest))


def storage_elements(tensor: TensorType, device: CpuDevice) -> int:
    """Floats that a tensor takes as rows of padded channels."""
    return tensor.elements // tensor.channels * device_lanes(device).stored(tensor.channels)
