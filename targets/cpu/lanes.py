"""How channels are cut into vectors, and how activations are stored.

An activation is stored as rows: [height * width, stored channels], channels innermost. A row takes a multiple of the
widest vector, or the next power of two where the channels are fewer, so that vectors do not straddle cache lines. Only
the channels themselves are computed: they are covered by vectors of the widest size first, then by narrower powers of
two down to 4 floats, so 24 channels on AVX-512 are one vector of 16 and one of 8, with nothing wasted and no lane count
that LLVM would scalarise. What lies in the padding is never mixed into real channels.
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
        """Floats from one row of an activation to the next: whole vectors, or a power of two below one."""
        if channels >= self.widest:
            return -(-channels // self.widest) * self.widest
        return max(self.narrowest, 1 << (channels - 1).bit_length())

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

    def blocks(self, channels: int, vectors: int) -> tuple["Run", ...]:
        """The covered channels cut into blocks of at most `vectors` vectors, as even as possible.

        Seven vectors in blocks of at most three are 3 + 2 + 2, not 3 + 3 + 1: a narrow block has too few accumulators
        to hide the latency of an addition. A block that ends in a narrow vector comes last.
        """
        pieces = self.pieces(channels)
        blocks = -(-len(pieces) // vectors)
        small, large = divmod(len(pieces), blocks)
        sizes = [small + 1] * large + [small] * (blocks - large)
        runs: list[Run] = []
        first = 0
        for size in sizes:
            block = pieces[first : first + size]
            local = tuple(Piece(piece.offset - block[0].offset, piece.lanes) for piece in block)
            if runs and runs[-1].pieces == local:
                runs[-1] = Run(runs[-1].start, runs[-1].count + 1, local)
            else:
                runs.append(Run(block[0].offset, 1, local))
            first += size
        return tuple(runs)


@dataclass(frozen=True)
class Run:
    """`count` blocks of channels from channel `start`, each covered by `pieces`."""

    start: int
    count: int
    pieces: tuple[Piece, ...]

    @property
    def size(self) -> int:
        """Channels of one block."""
        return sum(piece.lanes for piece in self.pieces)


def device_lanes(device: CpuDevice) -> Lanes:
    """Vector widths that a device's kernels use."""
    widest = device.vector.bits // 32
    return Lanes(widest, min(4, widest))


def storage_elements(tensor: TensorType, device: CpuDevice) -> int:
    """Floats that a tensor takes as rows of padded channels."""
    return tensor.elements // tensor.channels * device_lanes(device).stored(tensor.channels)
