"""Pointwise convolutions and dense layers: a register-tiled matrix product.

rows [M, K] times packed columns gives rows [M, N], with bias, residual and activation fused. A tile of `tile_rows` x
`tile_vectors` accumulators stays in registers over the whole depth K; each step of K loads one weight vector per column
and broadcasts one activation per row.

    for chunk of rows (shared out among threads)        the chunk's activations stay in L2
      for block of columns                              the packed panel [K, block] stays in L1 or L2
        for tile of rows in the chunk
          for k: accumulate

With few rows (7x7 maps, dense layers) the threads share the columns instead.

Weights come from the third-level cache or from memory, and each panel of them is wanted all at once: by its first tile.
So the tiles of a panel ask for the next one meanwhile, a cache line with each step of the depth. Tiles that are left
may ask for weights of later layers (`asking_ahead`), which lie behind this one's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from mnv3c.graph.ops import Conv2d, Dense
from mnv3c.targets.cpu.builder import LINE_FLOATS, Buffer, Dtype, Expr, KernelBuilder, Parameter, Registers
from mnv3c.targets.cpu.epilogue import Epilogue
from mnv3c.targets.cpu.kernel import CpuKernel, Operands, convolution_buffers, for_blocks, share_blocks, sharing_cores
from mnv3c.targets.cpu.lanes import Lanes, Piece, Run, device_lanes
from mnv3c.targets.cpu.packing import as_halves, pack_layer
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import Array, LayerWork, Packed

# A panel larger than this share of the first-level cache is not there when the next tile reads it; each of its lines
# then costs so many cycles (fitted to 15 products on AVX-512).
_PANEL_SHARE, _MISS_CYCLES = 0.7, 0.5
# Where LLVM unrolls the depth it loads ahead, into registers beyond those of the tile itself: with fewer than these to
# spare it spilled sums (Cortex-A55 and A53; found by trying all tiles on two layers).
_UNROLLED_SPARE = 6
# Cycles of a step besides its FMAs, and besides its loads, where pairs of vectors are loaded slowly: fitted to the
# cycles that llvm-mca gives the loops of Cortex-A55 (docs/validation.md).
_PAIRED_FMA_CYCLES, _PAIRED_LOAD_CYCLES = 2, 5


@dataclass(frozen=True)
class Gemm(CpuKernel):
    """One blocking of a matrix product. `tile_rows` <= `rows`; `chunk_tiles` row tiles form a chunk.

    `prefetch` asks for panels ahead of time; `behind_tiles` tiles of each panel ask for what lies behind the weights.
    """

    family: ClassVar[str] = "gemm"
    weight_dtype: ClassVar[Dtype] = "float32"
    rows: int
    depth: int
    columns: int
    lanes: Lanes
    epilogue: Epilogue
    tile_rows: int
    tile_vectors: int
    chunk_tiles: int
    share_columns: bool
    prefetch: bool = False
    behind_tiles: int = 0

    @property
    def parameters(self) -> Mapping[str, int]:
        """The blocking."""
        return {
            "tile_rows": self.tile_rows,
            "tile_vectors": self.tile_vectors,
            "chunk_tiles": self.chunk_tiles,
            "share_columns": int(self.share_columns),
        }

    def pack(self, weights: Mapping[str, Array]) -> tuple[Packed, ...]:
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
            weight_dtype=self.weight_dtype,
        )

    @property
    def _work(self) -> int:
        return self.rows * self.depth * self.columns

    def body(self, k: KernelBuilder, *buffers: Buffer) -> None:
        operands, blocks = Operands.of(buffers), self.lanes.blocks(self.columns, self.tile_vectors)
        product = Product(self.rows, self.depth, self.tile_rows)
        stored_in, stored_out = self.lanes.stored(self.depth), self.lanes.stored(self.columns)

        def tile(index: Expr, column: Expr, pieces: Sequence[Piece], ahead: Expr | None) -> None:
            start = product.tile_start(k, index)
            sums = product.tile(k, operands, column, pieces, lambda r, d: (start + r) * stored_in + d, ahead)
            for r in range(self.tile_rows):
                for p, piece in enumerate(pieces):
                    at = (start + r) * stored_out + column + piece.offset
                    value = self.epilogue.apply(k, sums.get(r, p), piece.lanes, operands.residual, at)
                    k.store(operands.output, at, value, piece.lanes)

        if self.share_columns:
            every = (0, product.tiles, 0)
            share_blocks(k, blocks, lambda column, pieces: self._panel(k, every, column, pieces, tile), self._work)
            return
        tiles, most = product.tiles, self.chunk_tiles
        with k.parallel(-(-tiles // most), self._work) as chunk:
            first = chunk * most
            count = most if tiles % most == 0 else k.minimum(most, tiles - first)
            own = (first, count, chunk)
            for_blocks(k, blocks, lambda column, pieces: self._panel(k, own, column, pieces, tile))

    def _panel(
        self,
        k: KernelBuilder,
        share: tuple[Expr, Expr, Expr],
        column: Expr,
        pieces: Sequence[Piece],
        tile: Callable[[Expr, Expr, Sequence[Piece], Expr | None], None],
    ) -> None:
        """The tiles of one panel; `share` is the first one, how many, and the number of the chunk.

        The first tiles ask for the next panel, the next `behind_tiles` for what lies behind the weights.
        """
        first, count, chunk = share
        width = sum(piece.lanes for piece in pieces)
        behind = self.depth * self.lanes.covered(self.columns)
        panel = chunk * self._panels + k.quotient(column, self.tile_vectors * self.lanes.widest)
        asking = (
            (self._asking_tiles(width), (column + width) * self.depth),
            (self.behind_tiles, behind + panel * (self.behind_tiles * self.depth * LINE_FLOATS)),
        )
        begin: Expr = 0
        for tiles, at in asking:
            if tiles:
                end = k.minimum(begin + tiles, count)
                with k.serial(end - begin) as t:
                    tile(first + begin + t, column, pieces, at + t * (self.depth * LINE_FLOATS))
                begin = end
        with k.serial(count - begin) as t:
            tile(first + begin + t, column, pieces, None)

    @property
    def _panels(self) -> int:
        return sum(run.count for run in self.lanes.blocks(self.columns, self.tile_vectors))

    def _asking_tiles(self, width: int) -> int:
        """Tiles that it takes to ask for a panel so wide, each for one cache line with every step of the depth."""
        return -(-width // LINE_FLOATS) if self.prefetch else 0

    @property
    def streams(self) -> bool:
        """With one row every weight is used once."""
        return self.rows == 1

    def asking_ahead(self, weight_bytes: int) -> "Gemm | None":
        """Tiles that do not ask for the next panel can ask for other weights; None where it asks for none at all."""
        if not self.prefetch:
            return None
        tiles = -(-self.rows // self.tile_rows)
        chunk, chunks = (tiles, 1) if self.share_columns else (self.chunk_tiles, -(-tiles // self.chunk_tiles))
        widest = max(run.size for run in self.lanes.blocks(self.columns, self.tile_vectors))
        by_one_tile = 4 * LINE_FLOATS * self.depth * self._panels * chunks
        idle = max(0, min(chunk, tiles) - self._asking_tiles(widest))
        return replace(self, behind_tiles=min(idle, round(weight_bytes / by_one_tile)))

    @property
    def asked_bytes(self) -> int:
        """A cache line with each step of the depth, by so many tiles of each panel in each chunk."""
        tiles = -(-self.rows // self.tile_rows)
        chunks = 1 if self.share_columns else -(-tiles // self.chunk_tiles)
        return self.behind_tiles * 4 * LINE_FLOATS * self.depth * self._panels * chunks


@dataclass(frozen=True)
class HalfGemm(Gemm):
    """The same product with its weight in half precision, converted as it is loaded: half the bytes to read."""

    family: ClassVar[str] = "gemm_fp16"
    weight_dtype: ClassVar[Dtype] = "float16"

    def pack(self, weights: Mapping[str, Array]) -> tuple[Packed, ...]:
        """Columns in blocks as float16, and the bias as float32."""
        weight, bias = pack_layer(weights, self.depth, self.columns, self.tile_vectors, self.lanes)
        return as_halves(weight), bias


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
        ahead: Expr | None = None,
    ) -> Registers:
        """The sums of one tile, bias included; `input_at(row of the tile, depth)` says where an input lies.

        From index `ahead` on, counted from the weights' start, it asks for one cache line with every step.
        """
        width = sum(piece.lanes for piece in pieces)
        sums = k.registers(self.tile_rows, pieces)
        sums.clear()
        with k.serial(self.depth) as d:
            panel = column * self.depth + d * width
            vectors = [k.load(operands.weight, panel + piece.offset, piece.lanes) for piece in pieces]
            if ahead is not None:
                k.prefetch(operands.weight, ahead + d * LINE_FLOATS)
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
        kernel = HalfGemm if work.weights == "fp16" else Gemm
        columns = work.output.channels
        prefetch = rows > 1 and 4 * depth * columns > device.cache.l1d_bytes and not device.llvm.unrolls
        return tuple(
            kernel(rows, depth, columns, lanes, epilogue, tile_rows, tile_vectors, chunk, share, prefetch)
            for tile_rows, tile_vectors in register_tiles(rows, depth, columns, lanes, device)
            for chunk, share in [_sharing(rows, depth, tile_rows, device)]
        )


def register_tiles(rows: int, depth: int, columns: int, lanes: Lanes, device: CpuDevice) -> tuple[tuple[int, int], ...]:
    """(tile_rows, tile_vectors) that fit the register file, by estimated cost of the whole product.

    A tile needs rows x vectors accumulators, one register per weight vector and one for the broadcast. The cost counts,
    per step of the depth, one load per vector and per row against the FMA pipes, rows and columns computed in vain, and
    the lines of a panel that is too large to stay in the first-level cache from tile to tile.
    """
    spare = _UNROLLED_SPARE if device.llvm.unrolls else 1
    options: list[tuple[float, int, int]] = []
    for vectors in range(1, 7):
        if vectors > 1 and vectors * lanes.widest >= 2 * lanes.covered(columns):
            continue
        for tile_rows in range(1, min(rows, 28) + 1):
            if tile_rows * vectors + vectors + spare > device.vector.registers:
                continue
            cost = _tile_cost(rows, depth, columns, tile_rows, vectors, lanes, device)
            options.append((cost, tile_rows, vectors))
    return tuple((tile_rows, vectors) for _, tile_rows, vectors in sorted(options))


def _tile_cost(
    rows: int, depth: int, columns: int, tile_rows: int, vectors: int, lanes: Lanes, device: CpuDevice
) -> float:
    tiles = -(-rows // tile_rows)

    def step(run: Run) -> float:
        count = len(run.pieces)
        fma = tile_rows * count / device.vector.fma_pipes
        if device.vector.load_pair_cycles is not None:
            loads = tile_rows + count * device.vector.load_pair_cycles / 2.0
            return max(fma + _PAIRED_FMA_CYCLES, loads + _PAIRED_LOAD_CYCLES)
        loads = (tile_rows + count) / 2.0
        far = tiles > 1 and 4 * run.size * depth > _PANEL_SHARE * device.cache.l1d_bytes
        misses = _MISS_CYCLES * run.size / LINE_FLOATS if far else 0.0
        return max(fma + 0.25 * loads, loads, float(device.vector.fma_latency_cycles)) + misses

    return tiles * sum(run.count * step(run) for run in lanes.blocks(columns, vectors))


def vector_cycles(rows: int, depth: int, columns: int, lanes: Lanes, device: CpuDevice) -> float:
    """About how many cycles one core takes for a product by its best tile."""
    tile_rows, vectors = register_tiles(rows, depth, columns, lanes, device)[0]
    return depth * _tile_cost(rows, depth, columns, tile_rows, vectors, lanes, device)


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
