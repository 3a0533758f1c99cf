"""Where the tile unit multiplies matrices: on devices that have one, for products with many rows."""

from dataclasses import dataclass, replace

from mnv3c.graph.ops import Conv2d
from mnv3c.targets.cpu.epilogue import Epilogue
from mnv3c.targets.cpu.gated import GatedGemmFamily, gated_projection
from mnv3c.targets.cpu.gemm import GemmFamily, vector_cycles
from mnv3c.targets.cpu.kernel import CpuKernel, sharing_cores
from mnv3c.targets.cpu.lanes import device_lanes
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import GroupWork, LayerWork
from mnv3c.targets.x86_64.tile_gemm import TileGemm
from mnv3c.targets.x86_64.tile_printer import PRODUCTS, STEP, TILE, TileShape

# With fewer rows or columns tiles are mostly empty; with less depth the sums are not worth the way to them and back.
_LEAST_ROWS, _LEAST_COLUMNS, _LEAST_DEPTH = 33, 32, 33
# Cycles, fitted to 12 products: a product of tiles takes a third more than its 16 where the operands are real numbers
# (the clock falls), splitting 32 values 15, storing and finishing what is not hidden 150 for a block of rows.
_PRODUCT_SHARE, _SPLIT_CYCLES, _BLOCK_CYCLES = 1.35, 15.0, 150.0


@dataclass(frozen=True)
class TileGemmFamily:
    """1x1 convolutions on the tile unit, then as the vector unit computes them; the likely faster one first."""

    name: str = "gemm"

    def candidates(self, work: LayerWork, device: CpuDevice) -> tuple[CpuKernel, ...] | None:
        """Blockings of the product; None for any other layer."""
        vectors = GemmFamily().candidates(work, device)
        tiles = tile_candidates(work, device)
        if vectors is None or not tiles:
            return vectors
        shape = _shape(work)
        best = vector_cycles(shape.rows, shape.depth, shape.columns, device_lanes(device), device)
        return (*tiles, *vectors) if tile_cycles(shape, device) < best else (*vectors, *tiles)


@dataclass(frozen=True)
class TileGatedFamily:
    """A squeeze-excite gate and the 1x1 convolution after it: a tile's rows are scaled as they are split."""

    name: str = "gated_gemm"
    lengths: tuple[int, ...] = (2,)

    def candidates(self, work: GroupWork, device: CpuDevice) -> tuple[CpuKernel, ...] | None:
        """Blockings of the product; None for any other group, and where scaling apart is likely faster."""
        vectors = GatedGemmFamily().candidates(work, device)
        project = gated_projection(work)
        if project is None:
            return vectors
        offers = TileGemmFamily().candidates(project, device) or ()
        tiles = tuple(replace(offer, gated=True) for offer in offers if isinstance(offer, TileGemm))
        if not tiles or not isinstance(offers[0], TileGemm):
            return (*vectors, *tiles) if vectors else None
        return (*tiles, *(vectors or ()))


def tile_candidates(work: LayerWork, device: CpuDevice) -> tuple[TileGemm, ...]:
    """Blockings on tiles, best first guess first; none where the device or the layer has no use for them."""
    op = work.op
    if device.vector.tile_bf16_macs is None or device_lanes(device).widest != TILE or work.weights != "fp32":
        return ()
    if not (isinstance(op, Conv2d) and op.pointwise) or any(storage != "target" for storage in work.storage):
        return ()
    shape = _shape(work)
    if shape.rows < _LEAST_ROWS or shape.columns < _LEAST_COLUMNS or shape.depth < _LEAST_DEPTH:
        return ()
    cores = sharing_cores(device)
    blocks, pairs = shape.blocks, shape.columns // (2 * TILE)
    by_rows, by_columns = -(-blocks // cores), -(-pairs // cores)
    # With many blocks threads share the rows, so that each splits its own; with few the largest share decides, and of
    # equal ones the columns, so that each reads its own weights.
    rows_first = blocks >= 2 * cores or by_rows / blocks < by_columns / pairs
    options = ((by_rows, False), (by_columns, True)) if rows_first else ((by_columns, True), (by_rows, False))
    epilogue, lanes = Epilogue(op.activation, op.residual), device_lanes(device)
    return tuple(
        TileGemm(shape.rows, shape.depth, shape.columns, lanes, epilogue, chunk, share) for chunk, share in options
    )


def tile_cycles(shape: TileShape, device: CpuDevice) -> float:
    """About how many cycles one core takes for a product on tiles."""
    items = shape.row_tiles * shape.column_tiles * shape.steps * len(PRODUCTS)
    products = items * TILE * TILE * STEP / (device.vector.tile_bf16_macs or 1)
    split = shape.row_tiles * TILE * shape.steps * _SPLIT_CYCLES
    return _PRODUCT_SHARE * products + split + shape.blocks * _BLOCK_CYCLES


def _shape(work: LayerWork) -> TileShape:
    x = work.inputs[0]
    return TileShape(x.elements // x.channels, x.channels, work.output.channels)
