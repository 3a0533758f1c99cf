"""Pointwise convolutions and dense layers: a register-tiled matrix product.

rows [M, K] times packed columns gives rows [M, N], with bias, residual and activation fused. A tile of `tile_rows` x
`tile_vectors` accumulators stays in registers over the whole depth K; each step of K loads one weight vector per column
and broadcasts one activation per row.

    for chunk of rows (shared out among threads)        the chunk's activations stay in L2
      for block of columns                              the packed panel [K, block] stays in L1 or L2
        for tile of rows in the chunk
          for k: accumulate

With few rows (7x7 maps, dense layers) the threads share the columns instead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mnv3c.graph.ops import Conv2d, Dense
from mnv3c.targets.cpu.builder import Buffer, Expr, KernelBuilder, Parameter
from mnv3c.targets.cpu.epilogue import Epilogue
from mnv3c.targets.cpu.kernel import CpuKernel, Operands, convolution_buffers, for_blocks
from mnv3c.targets.cpu.lanes import Lanes, Piece, device_lanes
from mnv3c.targets.cpu.packing import pack_bias, pack_columns
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import Array, LayerWork


@dataclass(frozen=True)
class Gemm(CpuKernel):
    """One blocking of a matrix product. `tile_rows` <= `rows`; `chunk_tiles` row tiles form a chunk."""

    family: ClassVar[str] = "gemm"
    rows: int
    depth: int
    columns: int
    lanes: Lanes
    epilogue: Epilogue
    tile_rows: int
    tile_vectors: int
    chunk_tiles: int
    share_columns: bool

    @property
    def parameters(self) -> Mapping[str, int]:
        """The blocking."""
        return {
            "tile_rows": self.tile_rows,
            "tile_vectors": self.tile_vectors,
            "chunk_tiles": self.chunk_tiles,
            "share_columns": int(self.share_columns),
        }

    def pack(self, weights: Mapping[str, Array]) -> tuple[Array, ...]:
        """Columns in blocks, and the bias."""
        blocks = self.lanes.blocks(self.columns, self.tile_vectors)
        weight = weights["weight"].reshape(self.depth, self.columns)
        return pack_columns(weight, blocks, self.lanes), pack_bias(weights.get("bias"), self.columns, self.lanes)

    def buffers(self) -> Sequence[Parameter]:
        """Input, [residual], weight, bias, output."""
        stored_in, stored_out = self.lanes.stored(self.depth), self.lanes.stored(self.columns)
        return convolution_buffers(
            Parameter("input", self.rows * stored_in),
            weights=self.depth * self.lanes.covered(self.columns),
            bias=self.lanes.covered(self.columns),
            outputs=self.rows * stored_out,
            residual=self.epilogue.residual is not None,
        )

    def body(self, k: KernelBuilder, *buffers: Buffer) -> None:
        operands = Operands.of(buffers)
        if self.share_columns:
            self._share_columns(k, operands)
        else:
            self._share_rows(k, operands)

    def _share_rows(self, k: KernelBuilder, operands: Operands) -> None:
        tiles = -(-self.rows // self.tile_rows)
        blocks = self.lanes.blocks(self.columns, self.tile_vectors)
        with k.parallel(-(-tiles // self.chunk_tiles)) as chunk:
            first = chunk * self.chunk_tiles
            count = self.chunk_tiles if tiles % self.chunk_tiles == 0 else k.minimum(self.chunk_tiles, tiles - first)

            def panel(column: Expr, pieces: Sequence[Piece]) -> None:
                with k.serial(count) as t:
                    self._tile(k, operands, self._tile_start(k, first + t), column, pieces)

            for_blocks(k, blocks, panel)

    def _share_columns(self, k: KernelBuilder, operands: Operands) -> None:
        tiles = -(-self.rows // self.tile_rows)
        blocks = self.lanes.blocks(self.columns, self.tile_vectors)

        def panel(column: Expr, pieces: Sequence[Piece]) -> None:
            with k.serial(tiles) as t:
                self._tile(k, operands, self._tile_start(k, t), column, pieces)

        with k.parallel(blocks.total) as j:
            if not blocks.rest:
                panel(j * blocks.size, blocks.pieces)
            elif not blocks.count:
                panel(0, blocks.rest)
            else:
                k.choose(
                    j < blocks.count,
                    lambda: panel(j * blocks.size, blocks.pieces),
                    lambda: panel(blocks.rest_start, blocks.rest),
                )

    def _tile_start(self, k: KernelBuilder, tile: Expr) -> Expr:
        """First row of a tile. The last one moves up to stay inside: rows it shares are computed twice, alike."""
        start = tile * self.tile_rows
        return start if self.rows % self.tile_rows == 0 else k.minimum(start, self.rows - self.tile_rows)

    def _tile(self, k: KernelBuilder, operands: Operands, row: Expr, column: Expr, pieces: Sequence[Piece]) -> None:
        width = sum(piece.lanes for piece in pieces)
        stored_in, stored_out = self.lanes.stored(self.depth), self.lanes.stored(self.columns)
        tile = k.registers(self.tile_rows, pieces)
        for p, piece in enumerate(pieces):
            start = k.load(operands.bias, column + piece.offset, piece.lanes)
            for r in range(self.tile_rows):
                tile.set(r, p, start)
        with k.serial(self.depth) as d:
            panel = column * self.depth + d * width
            columns = [k.load(operands.weight, panel + piece.offset, piece.lanes) for piece in pieces]
            for r in range(self.tile_rows):
                scalar = operands.input[(row + r) * stored_in + d]
                for p, piece in enumerate(pieces):
                    tile.set(r, p, tile.get(r, p) + k.splat(scalar, piece.lanes) * columns[p])
        for r in range(self.tile_rows):
            for p, piece in enumerate(pieces):
                at = (row + r) * stored_out + column + piece.offset
                value = self.epilogue.apply(k, tile.get(r, p), piece.lanes, operands.residual, at)
                k.store(operands.output, at, value, piece.lanes)


@dataclass(frozen=True)
class GemmFamily:
    """Blockings for 1x1 convolutions of stride 1 and dense layers."""

    name: str = "gemm"

    def candidates(self, work: LayerWork, device: CpuDevice) -> tuple[Gemm, ...] | None:
        """Register tiles that fit the device, best first guess first; None for any other layer."""
        op = work.op
        if isinstance(op, Conv2d) and op.pointwise:
            epilogue = Epilogue(op.activation, op.residual)
        elif isinstance(op, Dense):
            epilogue = Epilogue(op.activation)
        else:
            return None
        if any(storage != "target" for storage in work.storage):
            return None
        rows, depth = work.inputs[0].elements // work.inputs[0].channels, work.inputs[0].channels
        lanes = device_lanes(device)
        return tuple(
            Gemm(rows, depth, work.output.channels, lanes, epilogue, tile_rows, tile_vectors, chunk, share)
            for tile_rows, tile_vectors in register_tiles(rows, work.output.channels, lanes, device)
            for chunk, share in [_sharing(rows, depth, tile_rows, device)]
        )


def register_tiles(rows: int, columns: int, lanes: Lanes, device: CpuDevice) -> tuple[tuple[int, int], ...]:
    """(tile_rows, tile_vectors) that fit the register file, by estimated cost of the whole product.

    A tile needs rows x vectors accumulators, one register per weight vector and one for the broadcast. The cost counts,
    per step of the depth, one load per vector and per row against the FMA pipes, and rows and columns computed in vain.
    """
    spare = 1
    options: list[tuple[float, int, int]] = []
    for vectors in range(1, 7):
        if vectors > 1 and vectors * lanes.widest >= 2 * lanes.covered(columns):
            continue
        for tile_rows in range(1, min(rows, 28) + 1):
            if tile_rows * vectors + vectors + spare > device.vector.registers:
                continue
            options.append((_tile_cost(rows, columns, tile_rows, vectors, lanes, device), tile_rows, vectors))
    return tuple((tile_rows, vectors) for _, tile_rows, vectors in sorted(options))


def _tile_cost(rows: int, columns: int, tile_rows: int, vectors: int, lanes: Lanes, device: CpuDevice) -> float:
    blocks = lanes.blocks(columns, vectors)
    tiles = -(-rows // tile_rows)

    def step(count: int) -> float:
        latency_bound = device.vector.fma_latency_cycles
        fma = tile_rows * count / device.vector.fma_pipes
        loads = (tile_rows + count) / 2.0
        return max(fma + 0.25 * loads, loads, latency_bound)

    cycles = blocks.count * step(len(blocks.pieces)) + (step(len(blocks.rest)) if blocks.rest else 0.0)
    return tiles * cycles


def _sharing(rows: int, depth: int, tile_rows: int, device: CpuDevice) -> tuple[int, bool]:
    """(tiles per chunk, whether threads share the columns)."""
    tiles = -(-rows // tile_rows)
    if tiles < 4 * device.cores:
        return tiles, True
    fitting = device.cache.l2_bytes // 4 // (4 * depth * tile_rows)
    return max(1, min(fitting, tiles // (2 * device.cores))), False
