"""Matrix products on the tile unit (AMX), as accurate as in float32.

The tile unit multiplies bfloat16 and adds in float32. A float32 has a significand of 24 bits, a bfloat16 of 8, so a
float32 is the sum of three bfloat16, a = a1 + a2 + a3, without error: each part is what is left, rounded. Of the nine
products of parts the six largest are computed,

    a b = a1 b1 + (a1 b2 + a2 b1) + (a2 b2 + a1 b3 + a3 b1) + what is below 2^-23 of it,

which leaves an error like that of one float32 rounding (Henry, Tang, Heinecke, "Leveraging the bfloat16 Artificial
Intelligence Datatype For Higher-Precision Computations", ARITH 2019, where it is called BF16x3 with six products).
Weights are split when the network is compiled, activations by the kernel, into the workspace. An infinite activation
gives NaN instead.

    split the rows (shared out among threads)
    for panel of 32 columns (shared out among threads)
      for block of 32 rows: four tiles of sums; for 32 of the depth: six products of parts on each
        store the sums, add the bias, residual, activation

Where a panel is deep and rows are many, the threads share the blocks of rows instead, and each splits its own.

The depth is cut into steps of 32. Within a step the tile unit adds products of pairs; which two of the
depth form a pair does not matter, and k with k + 16 needs no shuffling of vectors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from mnv3c.targets.cpu.builder import LINE_FLOATS, Buffer, KernelBuilder, Parameter
from mnv3c.targets.cpu.epilogue import Epilogue
from mnv3c.targets.cpu.kernel import CpuKernel, part
from mnv3c.targets.cpu.lanes import Lanes
from mnv3c.targets.target import Array, Packed
from mnv3c.targets.x86_64.tile_printer import (
    PARTS,
    ROW_BYTES,
    STEP,
    STEP_FLOATS,
    TILE,
    TILE_FLOATS,
    TilePrinter,
    TileShape,
)

# Intel SDM, volume 1, chapter 18: palette 1 has eight tiles of up to 16 rows of 64 bytes.
_PALETTE, _TILES = 1, 8
# More cache lines from far away with every step would hold up the step's own.
_MOST_BEHIND = 24


@dataclass(frozen=True)
class TileGemm(CpuKernel):
    """One blocking of a matrix product on tiles.

    `gated`: a second input, one value for each of the depth, scales the rows of the first. Threads share panels of
    columns or blocks of rows, `chunk` of them at a time. `behind_lines` cache lines of what lies behind the weights are
    asked for with every step.
    """

    family: ClassVar[str] = "tile_gemm"
    rows: int
    depth: int
    columns: int
    lanes: Lanes
    epilogue: Epilogue
    chunk: int
    share_columns: bool
    gated: bool = False
    behind_lines: int = 0

    @property
    def parameters(self) -> Mapping[str, int]:
        """The blocking."""
        return {"chunk": self.chunk, "share_columns": int(self.share_columns)}

    @property
    def tiles(self) -> bool:
        """It does."""
        return True

    @property
    def shape(self) -> TileShape:
        """The product in tiles."""
        return TileShape(self.rows, self.depth, self.columns)

    def asking_ahead(self, weight_bytes: int) -> "TileGemm":
        """Ask for other weights with every step of every item."""
        shape = self.shape
        steps = max(1, shape.blocks * shape.pairs * shape.steps)
        return replace(self, behind_lines=min(-(-weight_bytes // (ROW_BYTES * steps)), _MOST_BEHIND))

    @property
    def asked_bytes(self) -> int:
        """So many cache lines with every step of every item."""
        return self.behind_lines * ROW_BYTES * self.shape.blocks * self.shape.pairs * self.shape.steps

    def packed_bytes(self, weight_bytes: int) -> int:
        """Every panel in whole steps, three parts of each weight."""
        return 4 * self.shape.column_tiles * self.shape.steps * STEP_FLOATS

    def pack(self, weights: Mapping[str, Array]) -> tuple[Packed, ...]:
        """The weight's parts by panel, step and part, the bias, and the setup of tiles and masks; bits, not numbers."""
        own = part(weights, 1) if self.gated else weights
        bias = np.zeros(TILE * self.shape.column_tiles, np.float32)
        if "bias" in own:
            bias[: self.columns] = own["bias"]
        return self._packed(own["weight"].reshape(self.depth, self.columns)), bias, self._setup()

    def _packed(self, weight: Array) -> Array:
        steps, tiles, pairs = self.shape.steps, self.shape.column_tiles, self.shape.pairs
        padded = np.pad(weight, ((0, steps * STEP - self.depth), (0, tiles * TILE - self.columns)))
        parts = np.stack(split(padded)).reshape(PARTS, steps, 2, TILE, tiles, TILE)
        # (tile, step, part, depth within half a step, column, half)
        ordered = np.ascontiguousarray(parts.transpose(4, 1, 0, 3, 5, 2)).view(np.float32)
        panels = ordered[: 2 * pairs].reshape(pairs, 2, steps, PARTS, TILE_FLOATS)
        return np.concatenate([panels.transpose(0, 2, 3, 1, 4).ravel(), ordered[2 * pairs :].ravel()])

    def _setup(self) -> Array:
        """The operand of LDTILECFG (64 bytes), and the mask of the last vector of the depth."""
        config = np.zeros(ROW_BYTES, np.uint8)
        config[0] = _PALETTE
        config[16 : 16 + 2 * _TILES].view(np.uint16)[:] = ROW_BYTES
        config[48 : 48 + _TILES] = TILE
        mask = np.where(np.arange(TILE) <= (self.depth - 1) % TILE, 0xFFFFFFFF, 0).astype(np.uint32)
        return np.concatenate([config.view(np.float32), mask.view(np.float32)])

    @property
    def workspace_elements(self) -> int:
        """Parts of all rows, or of one block for each share of them."""
        blocks = self.shape.blocks if self.share_columns else -(-self.shape.blocks // self.chunk)
        return 2 * blocks * self.shape.tile_floats

    def buffers(self) -> Sequence[Parameter]:
        """Input, [gate], [residual], weight, bias, setup, workspace, output."""
        stored_in, outputs = self.lanes.stored(self.depth), self.rows * self.lanes.stored(self.columns)
        gate = (Parameter("gate", stored_in),) if self.gated else ()
        skip = (Parameter("residual", outputs),) if self.epilogue.residual else ()
        return (
            Parameter("input", self.rows * stored_in),
            *gate,
            *skip,
            Parameter("weight", self.shape.column_tiles * self.shape.steps * STEP_FLOATS),
            Parameter("bias", TILE * self.shape.column_tiles),
            Parameter("setup", LINE_FLOATS + TILE),
            Parameter("workspace", self.workspace_elements),
            Parameter("output", outputs),
        )

    def body(self, k: KernelBuilder, *buffers: Buffer) -> None:
        x, *others, weight, bias, setup, parts, output = buffers
        printer = TilePrinter(
            k=k,
            shape=self.shape,
            lanes=self.lanes,
            epilogue=self.epilogue,
            behind_lines=self.behind_lines,
            input=x,
            gate=others.pop(0) if self.gated else None,
            residual=others.pop(0) if others else None,
            weight=weight,
            bias=bias,
            setup=setup,
            parts=parts,
            output=output,
        )
        work = self.rows * self.depth * self.columns
        if self.share_columns:
            printer.share_columns(self.chunk, work)
        else:
            printer.share_rows(self.chunk, work)


def split(values: Array) -> tuple[npt.NDArray[np.uint16], ...]:
    """Three bfloat16, as bits, whose sum is the float32; ties are rounded away from zero, as the kernel does."""
    rest, parts = values.astype(np.float32), []
    for _ in range(PARTS):
        bits = (rest.view(np.uint32) + np.uint32(0x8000)) & np.uint32(0xFFFF0000)
        parts.append((bits >> np.uint32(16)).astype(np.uint16))
        rest = rest - bits.view(np.float32)
    return tuple(parts)
