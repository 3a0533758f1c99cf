"""A compiled network as units of the cost model: which layers form a kernel, and which weights are asked for ahead.

Neither needs TVM: `compiler.lower` chooses kernels by the devices' numbers and the tuner's records alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from mnv3c.compiler.ahead import asking_ahead
from mnv3c.compiler.lower import KernelCall, LoweredNetwork
from mnv3c.graph.layer import LayerKey, layer_key
from mnv3c.profiles.layer_table import LayerTable
from mnv3c.profiles.physics.compiled_cpu import CompiledCpuPhysics
from mnv3c.targets.cpu.gemm import Gemm
from mnv3c.targets.cpu.kernel import sharing_cores
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import Candidate
from mnv3c.targets.x86_64.tile_gemm import TileGemm

# What lies between the asking and the use pushes some of it out: nothing up to the first share of the second-level
# cache, all of it at the first and the second together. Fitted to 60 squeeze-excite products: 90 GB/s where up to 1.3
# MB of 2 MiB lay between, 43 GB/s at 2.4 MB, 28 GB/s where nothing had been asked for.
_KEPT_SHARE, _LOST_SHARE = 0.625, 1.15
_LINE_BYTES, _TILE_BYTES = 64, 4 * 3 * 256


@dataclass(frozen=True)
class Kernel:
    """A kernel of a network: its layers, how it was chosen, and the bytes of its weights that are in a near cache."""

    name: str
    keys: tuple[str, ...]
    family: str
    parameters: Mapping[str, int]
    recorded: bool
    ahead_bytes: int

    def document(self) -> dict[str, object]:
        """For a line of JSON."""
        return asdict(self) | {"keys": list(self.keys), "parameters": dict(self.parameters)}


def kernels_of(
    network: LoweredNetwork, device: CpuDevice, recorded: frozenset[Candidate] = frozenset()
) -> tuple[Kernel, ...]:
    """The kernels that compute layers, in order; conversions at the borders are left out."""
    ahead = _ahead_bytes(network.calls, asking_ahead(network, device), device.cache.l2_bytes)
    return tuple(
        Kernel(
            call.layer,
            tuple(str(layer_key(network.graph, node)) for node in call.nodes),
            call.candidate.family,
            dict(call.candidate.parameters),
            call.candidate in recorded,
            round(there),
        )
        for call, there in zip(network.calls, ahead, strict=True)
        if call.nodes
    )


def table_of(kernels: Sequence[Kernel]) -> LayerTable:
    """Each kernel a unit; what a group keeps to itself stays on chip."""
    table = LayerTable.of_items([tuple(map(LayerKey.parse, kernel.keys)) for kernel in kernels])
    first, last = np.zeros(len(table), np.int64), np.zeros(len(table), np.int64)
    first[table.starts], last[table.ends] = 1, 1
    ahead = np.zeros(len(table), np.int64)
    ahead[table.ends] = [kernel.ahead_bytes for kernel in kernels]
    return replace(table, input_on_chip=1 - first, output_on_chip=1 - last, ahead_bytes=ahead)


def physics_of(device: CpuDevice, threads: int = 1) -> CompiledCpuPhysics:
    """The physics of a device's file, or of the detected host."""
    vector, cache = device.vector, device.cache
    return CompiledCpuPhysics(
        lanes=vector.bits // 32,
        registers=vector.registers,
        fma_pipes=vector.fma_pipes,
        fma_latency_cycles=vector.fma_latency_cycles,
        tile_bf16_macs=vector.tile_bf16_macs or 0,
        l1d_bytes=cache.l1d_bytes,
        l2_bytes=cache.l2_bytes,
        sharing_cores=sharing_cores(device),
        threads=threads,
    )


def _ahead_bytes(calls: Sequence[KernelCall], candidates: Sequence[Candidate], l2_bytes: int) -> Iterator[float]:
    """For each call, how many bytes of its weights an earlier one has asked for and are still there."""
    left = between = 0
    for call, candidate in zip(calls, candidates, strict=True):
        given = call.bytes_in - call.weight_bytes
        if asked := _asked_bytes(candidate):
            yield 0.0
            left, between = asked, asked + packed_bytes(call) + given + call.bytes_out
            continue
        got = min(left, packed_bytes(call))
        left -= got
        kept = 1 - (between / l2_bytes - _KEPT_SHARE) / _LOST_SHARE
        yield got * min(1.0, max(0.0, kept))
        between += call.bytes_out


def packed_bytes(call: KernelCall) -> int:
    """Weights as the kernel reads them: tiles keep three parts of each."""
    kernel = call.candidate
    if isinstance(kernel, TileGemm):
        return kernel.shape.column_tiles * kernel.shape.steps * _TILE_BYTES
    return call.weight_bytes


def _asked_bytes(candidate: Candidate) -> int:
    if isinstance(candidate, TileGemm):
        shape = candidate.shape
        return candidate.behind_lines * _LINE_BYTES * shape.blocks * shape.pairs * shape.steps
    if isinstance(candidate, Gemm):
        tiles = -(-candidate.rows // candidate.tile_rows)
        chunks = 1 if candidate.share_columns else -(-tiles // candidate.chunk_tiles)
        panels = sum(run.count for run in candidate.lanes.blocks(candidate.columns, candidate.tile_vectors))
        return candidate.behind_tiles * _LINE_BYTES * candidate.depth * panels * chunks
    return 0
