"""Expand and depthwise fused by blocks of channels, for maps small enough that a block of channels stays in cache.

A depthwise convolution needs of a channel only that channel. So a block of a few vectors of channels is expanded for
the whole map into scratch memory, and convolved from there: nothing is computed twice, every weight is read once, and
the widest tensor exists one block at a time.

    for block of channels (shared out among threads; each has a scratch map of its own)
      expand: [height * width, depth] x [depth, block] -> scratch
      depthwise: scratch -> output, this block's channels
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mnv3c.targets.cpu.builder import Buffer, Expr, KernelBuilder, Parameter
from mnv3c.targets.cpu.depthwise import Window
from mnv3c.targets.cpu.epilogue import Epilogue
from mnv3c.targets.cpu.gemm import Product
from mnv3c.targets.cpu.kernel import CpuKernel, Operands, part, select_block
from mnv3c.targets.cpu.lanes import Lanes, Piece
from mnv3c.targets.cpu.packing import pack_bias, pack_columns
from mnv3c.targets.cpu.window import Axis, ColumnTile, for_column_tiles
from mnv3c.targets.target import Array


@dataclass(frozen=True)
class ChannelPipeline(CpuKernel):
    """One fused pair. `vertical` and `horizontal` are the depthwise layer's axes over the expanded map."""

    family: ClassVar[str] = "channel_pipeline"
    vertical: Axis
    horizontal: Axis
    depth: int
    channels: int
    expand: Epilogue
    window: Epilogue
    lanes: Lanes
    tile_rows: int
    tile_vectors: int
    tile_columns: int
    chunks: int

    @property
    def parameters(self) -> Mapping[str, int]:
        """The tiles of both parts; the block of channels is `tile_vectors` wide."""
        return {
            "tile_rows": self.tile_rows,
            "tile_vectors": self.tile_vectors,
            "tile_columns": self.tile_columns,
            "chunks": self.chunks,
        }

    def pack(self, weights: Mapping[str, Array]) -> tuple[Array, ...]:
        """Weight and bias of both parts, all in the same blocks of channels."""
        blocks = self.lanes.blocks(self.channels, self.tile_vectors)
        packed: list[Array] = []
        for index, depth in enumerate((self.depth, self._taps)):
            values = part(weights, index)
            packed.append(pack_columns(values["weight"].reshape(depth, self.channels), blocks, self.lanes))
            packed.append(pack_bias(values.get("bias"), self.channels, self.lanes))
        return tuple(packed)

    def buffers(self) -> Sequence[Parameter]:
        """Input, weight and bias of both parts, scratch maps, output."""
        covered, stored = self.lanes.covered(self.channels), self.lanes.stored(self.channels)
        return (
            Parameter("input", self._rows * self.lanes.stored(self.depth)),
            Parameter("expand_weight", self.depth * covered),
            Parameter("expand_bias", covered),
            Parameter("depthwise_weight", self._taps * covered),
            Parameter("depthwise_bias", covered),
            Parameter("workspace", self.workspace_elements),
            Parameter("output", self.vertical.count * self.horizontal.count * stored),
        )

    @property
    def workspace_elements(self) -> int:
        """Floats of all chunks' scratch maps."""
        return self.chunks * self._scratch_elements

    @property
    def _rows(self) -> int:
        return self.vertical.size * self.horizontal.size

    @property
    def _taps(self) -> int:
        return self.vertical.taps * self.horizontal.taps

    @property
    def _block(self) -> int:
        return max(run.size for run in self.lanes.blocks(self.channels, self.tile_vectors))

    @property
    def _scratch_elements(self) -> int:
        return self._rows * self._block

    def body(self, k: KernelBuilder, *buffers: Buffer) -> None:
        x, expand_weight, expand_bias, weight, bias, workspace, output = buffers
        expand = Operands(x, None, expand_weight, expand_bias, workspace)
        window = Operands(workspace, None, weight, bias, output)
        blocks = self.lanes.blocks(self.channels, self.tile_vectors)
        total = sum(run.count for run in blocks)
        share = -(-total // self.chunks)
        work = (self._rows * self.depth + self.vertical.count * self.horizontal.count * self._taps) * self.channels
        with k.parallel(self.chunks, work) as chunk:
            scratch, first = chunk * self._scratch_elements, chunk * share
            count = share if total % self.chunks == 0 else k.minimum(share, total - first)

            def block(channel: Expr, pieces: Sequence[Piece]) -> None:
                self._expand(k, expand, scratch, channel, pieces)
                self._convolve(k, window, scratch, channel, pieces)

            with k.serial(count) as b:
                select_block(k, first + b, blocks, block)

    def _expand(
        self, k: KernelBuilder, operands: Operands, scratch: Expr, channel: Expr, pieces: Sequence[Piece]
    ) -> None:
        product = Product(self._rows, self.depth, self.tile_rows)
        stored = self.lanes.stored(self.depth)
        with k.serial(product.tiles) as t:
            start = product.tile_start(k, t)
            sums = product.tile(k, operands, channel, pieces, lambda r, d: (start + r) * stored + d)
            for r in range(self.tile_rows):
                for p, piece in enumerate(pieces):
                    at = scratch + (start + r) * self._block + piece.offset
                    value = self.expand.apply(k, sums.get(r, p), piece.lanes)
                    k.store(operands.output, at, value, piece.lanes)

    def _convolve(
        self, k: KernelBuilder, operands: Operands, scratch: Expr, channel: Expr, pieces: Sequence[Piece]
    ) -> None:
        stored, width, out_width = self.lanes.stored(self.channels), self.horizontal.size, self.horizontal.count
        window = Window(self.vertical, self.horizontal)
        block = sum(piece.lanes for piece in pieces)

        with k.serial(self.vertical.count) as row:

            def tile(columns: ColumnTile) -> None:
                for piece in pieces:
                    sums = window.tile(
                        k,
                        operands,
                        row,
                        columns,
                        channel,
                        (piece,),
                        lambda y, x: scratch + (y * width + x) * self._block,
                        block,
                    )
                    for c in range(columns.width):
                        at = (row * out_width + columns.start + c) * stored + channel + piece.offset
                        k.store(operands.output, at, self.window.apply(k, sums.get(c, 0), piece.lanes), piece.lanes)

            for_column_tiles(k, self.horizontal, self.tile_columns, tile)
