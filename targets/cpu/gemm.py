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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mnv3c.graph.ops import Conv2d, Dense
from mnv3c.targets.cpu.builder import Buffer, Expr, KernelBuilder, Parameter, Registers
from mnv3c.targets.cpu.epilogue import Epilogue
from mnv3c.targets.cpu.kernel import CpuKernel, Operands, convolution_buffers, for_blocks, share_blocks, sharing_cores
from mnv3c.targets.cpu.lanes import Lanes, Piece, Run, device_lanes
from mnv3c.targets.cpu.packing import pack_layer
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
        return pack_layer(weights, self.depth, self.columns, self.tile_vectors, self.lanes)

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

    @property
    def _work(self) -> int:
        return self.rows * self.depth * self.columns

    def body(self, k: KernelBuilder, *buffers: Buffer) -> None:
        operands, blocks = Operands.of(buffers), self.lanes.blocks(self.columns, self.tile_vectors)
        product = Product(self.rows, self.depth, self.tile_rows)
        stored_in, stored_out = self.lanes.stored(self.depth), self.lanes.stored(self.columns)

        def tile(index: Expr, column: Expr, pieces: Sequence[Piece]) -> None:
            start = product.tile_start(k, index)
            sums = product.tile(k, operands, column, pieces, lambda r, d: (start + r) * stored_in + d)
            for r in range(self.tile_rows):
                for p, piece in enumerate(pieces):
                    at = (start + r) * stored_out + column + piece.offset
                    value = self.epilogue.apply(k, sums.get(r, p), piece.lanes, operands.residual, at)
                    k.store(operands.output, at, value, piece.lanes)

        if self.share_columns:

            def panel(column: Expr, pieces: Sequence[Piece]) -> None:
                with k.serial(product.tiles) as t:
                    tile(t, column, pieces)

            share_blocks(k, blocks, panel, self._work)
        else:
            self._share_rows(k, product.tiles, blocks, tile)

    def _share_rows(
        self,
        k: KernelBuilder,
        tiles: int,
        blocks: Sequence[Run],
        tile: Callable[[Expr, Expr, Sequence[Piece]], None],
    ) -> None:
        with k.parallel(-(-tiles // self.chunk_tiles), self._work) as chunk:
            first = chunk * self.chunk_tiles
            count = self.chunk_tiles if tiles % self.chunk_tiles == 0 else k.minimum(self.chunk_tiles, tiles - first)

            def panel(column: Expr, pieces: Sequence[Piece]) -> None:
                with k.serial(count) as t:
                    tile(first + t, column, pieces)

            for_blocks(k, blocks, panel)


@dataclass(frozen=True)
class Product:
    """The register-tiled product itself: `rows` cut into tiles of `tile_rows`, accumulated over `depth`."""

    rows: int
    depth: int
    tile_rows: int

    @property
    def tiles(self) -> int:
        """Number of row tiles."""
        return -(-self.rows // self.tile_rows)

    def tile_start(self, k: KernelBuilder, tile: Expr) -> Expr:
        """First row of a tile. The last one moves up to stay inside: rows it shares are computed twice, alike."""
        start = tile * self.tile_rows
        return start if self.rows % self.tile_rows == 0 else k.minimum(start, self.rows - self.tile_rows)

    def tile(
        self,
        k: KernelBuilder,
        operands: Operands,
        column: Expr,
        pieces: Sequence[Piece],
        input_at: Callable[[int, Expr], Expr],
    ) -> Registers:
        """The sums of one tile, bias included; `input_at(row of the tile, depth)` says where an input lies."""
        width = sum(piece.lanes for piece in pieces)
        sums = k.registers(self.tile_rows, pieces)
        sums.clear()
        with k.serial(self.depth) as d:
            panel = column * self.depth + d * width
            vectors = [k.load(operands.weight, panel + piece.offset, piece.lanes) for piece in pieces]
            for r in range(self.tile_rows):
                scalar = operands.input[input_at(r, d)]
                for p, piece in enumerate(pieces):
                    sums.set(r, p, sums.get(r, p) + k.splat(scalar, piece.lanes) * vectors[p])
        sums.add(operands.bias, column)
        return sums


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
    tiles = -(-rows // tile_rows)

    def step(count: int) -> float:
        fma = tile_rows * count / device.vector.fma_pipes
        loads = (tile_rows + count) / 2.0
        return max(fma + 0.25 * loads, loads, float(device.vector.fma_latency_cycles))

    return tiles * sum(run.count * step(len(run.pieces)) for run in lanes.blocks(columns, vectors))


def _sharing(rows: int, depth: int, tile_rows: int, device: CpuDevice) -> tuple[int, bool]:
    """(tiles per chunk, whether threads share the columns).

    Every core gets the same number of chunks, as many as it takes for a chunk's activations to stay in its cache.
    """
    tiles, cores = -(-rows // tile_rows), sharing_cores(device)
    if tiles < 4 * cores:
        return tiles, True
    share = -(-tiles // cores)
    fitting = max(1, device.cache.l2_bytes // 4 // (4 * depth * tile_rows))
    return -(-share // -(-share // fitting)), False
