"""What the CPU kernels have in common: the candidate's defaults, the operands of a convolution, loops over blocks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mnv3c.targets.cpu.builder import Buffer, Dtype, Expr, KernelBuilder, Parameter, build_prim_func
from mnv3c.targets.cpu.lanes import Piece, Run
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import Array, Packed

# Takes one finished vector of sums: (column, channel, lanes, value).
Put = Callable[[Expr, Expr, int, Expr], None]


class CpuKernel:
    """A candidate without weights and without parameters; kernels override what differs."""

    family: ClassVar[str]

    @property
    def workspace_elements(self) -> int:
        """Floats of scratch memory that the kernel asks for."""
        return 0

    @property
    def parameters(self) -> Mapping[str, int]:
        """The schedule's parameters."""
        return {}

    @property
    def tiles(self) -> bool:
        """Whether it uses the tile registers of x86_64."""
        return False

    @property
    def streams(self) -> bool:
        """Whether it uses each of its weights once."""
        return False

    def asking_ahead(self, weight_bytes: int) -> "CpuKernel | None":
        """The same kernel, asking for weights behind its own; None where it cannot."""
        return None

    @property
    def asked_bytes(self) -> int:
        """Bytes behind its own weights that it asks for."""
        return 0

    def packed_bytes(self, weight_bytes: int) -> int:
        """Bytes of weights that it reads: as many as the layer has."""
        return weight_bytes

    def pack(self, weights: Mapping[str, Array]) -> tuple[Packed, ...]:
        """The weights as the kernel reads them."""
        return ()

    def buffers(self) -> Sequence[Parameter]:
        """The kernel's arguments, in order."""
        raise NotImplementedError

    def body(self, k: KernelBuilder, *buffers: Buffer) -> None:
        """Print the kernel's statements."""
        raise NotImplementedError

    def build(self, symbol: str) -> Any:
        """The kernel as a TVM PrimFunc."""
        return build_prim_func(symbol, self.buffers(), self.body)


@dataclass(frozen=True)
class Operands:
    """Buffers of a layer with weights; `residual` is None where nothing is added."""

    input: Buffer
    residual: Buffer | None
    weight: Buffer
    bias: Buffer
    output: Buffer

    @staticmethod
    def of(buffers: Sequence[Buffer]) -> "Operands":
        """From the order in which `convolution_buffers` declares them."""
        x, *residual, weight, bias, output = buffers
        return Operands(x, residual[0] if residual else None, weight, bias, output)


def convolution_buffers(
    given: Parameter, weights: int, bias: int, outputs: int, *, residual: bool, weight_dtype: Dtype = "float32"
) -> tuple[Parameter, ...]:
    """Arguments of a layer with weights: input, [residual], weight, bias, output; sizes in elements."""
    skip = (Parameter("residual", outputs),) if residual else ()
    weight = Parameter("weight", weights, dtype=weight_dtype)
    return (given, *skip, weight, Parameter("bias", bias), Parameter("output", outputs))


def for_blocks(k: KernelBuilder, blocks: Sequence[Run], body: Callable[[Expr, Sequence[Piece]], None]) -> None:
    """Print `body(first channel, vectors)` for every block: a loop for each run of equal ones."""
    for run in blocks:
        if run.count == 1:
            body(run.start, run.pieces)
        else:
            with k.serial(run.count) as b:
                body(b * run.size + run.start, run.pieces)


def share_blocks(
    k: KernelBuilder, blocks: Sequence[Run], body: Callable[[Expr, Sequence[Piece]], None], work: int
) -> None:
    """As `for_blocks`, with the blocks shared out among the threads."""
    with k.parallel(sum(run.count for run in blocks), work) as b:
        select_block(k, b, blocks, body)


def select_block(
    k: KernelBuilder,
    b: Expr,
    blocks: Sequence[Run],
    body: Callable[[Expr, Sequence[Piece]], None],
    first: int = 0,
) -> None:
    """Print `body` for block number b, `first` being the number of the first block: a branch for each run."""
    run, *others = blocks
    start = (b - first) * run.size + run.start
    if not others:
        body(start, run.pieces)
        return
    after = first + run.count
    k.choose(b < after, lambda: body(start, run.pieces), lambda: select_block(k, b, others, body, after))


def part(weights: Mapping[str, Array], index: int) -> dict[str, Array]:
    """The weights of part `index` of a group, by role."""
    prefix = f"{index}."
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}


def for_vectors(k: KernelBuilder, blocks: Sequence[Run], body: Callable[[Expr, Piece], None]) -> None:
    """As `for_blocks`, one vector at a time."""

    def block(start: Expr, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            body(start + piece.offset, Piece(0, piece.lanes))

    for_blocks(k, blocks, block)


def sharing_cores(device: CpuDevice) -> int:
    """How many threads the kernels' loops are cut for; more threads than that find less work.

    A cut costs a little even when one thread does all of it, so loops are not cut for all cores of a server.
    """
    return min(device.cores, 4)
