"""Gate and projection of a squeeze-excite block as one kernel: the gate scales the weights, not the activations.

sum over k of (x[m, k] g[k]) w[k, n] = sum over k of x[m, k] (g[k] w[k, n]). Scaling the activations reads and writes
rows x depth values, scaling the weights depth x columns, and it leaves them in the cache for the product that follows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from mnv3c.graph.ops import Multiply
from mnv3c.targets.cpu.builder import MOVE, Buffer, Expr, KernelBuilder, Parameter
from mnv3c.targets.cpu.gemm import Gemm, GemmFamily
from mnv3c.targets.cpu.kernel import CpuKernel, part, share_blocks
from mnv3c.targets.cpu.lanes import Piece
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import Array, GroupWork, LayerWork, Packed

# The gate's product is (activations, gate), the projection reads it, and a residual from outside.
_SOURCES = (((-1, -2), (0,)), ((-1, -2), (0, -3)))


@dataclass(frozen=True)
class GatedGemm(CpuKernel):
    """One blocking of the projection; the scaled weights lie in the workspace, packed as the product reads them."""

    family: ClassVar[str] = "gated_gemm"
    project: Gemm

    @property
    def parameters(self) -> Mapping[str, int]:
        """The product's blocking."""
        return self.project.parameters

    def pack(self, weights: Mapping[str, Array]) -> tuple[Packed, ...]:
        """Weight and bias of the projection."""
        return self.project.pack(part(weights, 1))

    @property
    def workspace_elements(self) -> int:
        """The scaled weights."""
        return self.project.depth * self.project.lanes.covered(self.project.columns)

    def buffers(self) -> Sequence[Parameter]:
        """Input, gate, [residual], weight, bias, workspace, output."""
        x, *others, output = self.project.buffers()
        gate = Parameter("gate", self.project.lanes.stored(self.project.depth))
        return (x, gate, *others, Parameter("workspace", self.workspace_elements), output)

    def body(self, k: KernelBuilder, *buffers: Buffer) -> None:
        x, gate, *residual, weight, bias, scaled, output = buffers
        product = self.project

        def scale(column: Expr, pieces: Sequence[Piece]) -> None:
            width = sum(piece.lanes for piece in pieces)
            with k.serial(product.depth) as d:
                for piece in pieces:
                    at = (column * product.depth + d * width) + piece.offset
                    value = k.load(weight, at, piece.lanes) * k.splat(gate[d], piece.lanes)
                    k.store(scaled, at, value, piece.lanes)

        blocks = product.lanes.blocks(product.columns, product.tile_vectors)
        share_blocks(k, blocks, scale, MOVE * self.workspace_elements)
        product.body(k, x, *residual, scaled, bias, output)


@dataclass(frozen=True)
class GatedGemmFamily:
    """A squeeze-excite gate and the 1x1 convolution after it, where there are more rows than columns."""

    name: str = "gated_gemm"
    lengths: tuple[int, ...] = (2,)

    def candidates(self, work: GroupWork, device: CpuDevice) -> tuple[GatedGemm, ...] | None:
        """The blockings of the product; None for any other group, and where the activations are less to scale."""
        project = gated_projection(work)
        if project is None or project.inputs[0].elements // project.inputs[0].channels <= project.output.channels:
            return None
        offers = GemmFamily().candidates(project, device)
        # The weights that the product reads have just been written: there is nothing to ask for ahead of time.
        return tuple(GatedGemm(replace(offer, prefetch=False)) for offer in offers) if offers else None


def gated_projection(work: GroupWork) -> LayerWork | None:
    """The layer after a squeeze-excite gate, reading its product; None for any other group."""
    gate, project = work.parts
    gates = isinstance(gate.op, Multiply) and gate.op.activation is None and gate.inputs[1] != gate.inputs[0]
    stored = all(storage == "target" for layer in work.parts for storage in layer.storage)
    return project if gates and stored and work.sources in _SOURCES else None
