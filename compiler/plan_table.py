"""A compiled network as units of the cost model: which layers form a kernel, and which weights are asked for ahead.

Neither needs TVM: kernels are chosen by the device's numbers and the tuner's records alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mnv3c.compiler.ahead import asking_ahead
from mnv3c.compiler.lower import KernelCall, LoweredNetwork
from mnv3c.graph.ir import Graph
from mnv3c.graph.layer import layer_key
from mnv3c.profiles.layer_table import LayerTable
from mnv3c.profiles.work import GroupWork, LayerWork
from mnv3c.targets.device import CpuDevice

# What lies between the asking and the use pushes some of it out: nothing up to the first share of the second-level
# cache, all of it at the first and the second together. Fitted to 60 squeeze-excite products: 90 GB/s where up to 1.3
# MB of 2 MiB lay between, 43 GB/s at 2.4 MB, 28 GB/s where nothing had been asked for.
_KEPT_SHARE, _LOST_SHARE = 0.625, 1.15


@dataclass(frozen=True)
class PlannedTable:
    """The layers of a network as its program computes them: their names, and the table, a kernel a unit."""

    names: tuple[str, ...]
    table: LayerTable


def plan_table(network: LoweredNetwork, device: CpuDevice) -> PlannedTable:
    """The kernels that compute layers, in order; conversions at the borders are left out.

    Raises UserError for a layer whose cost no model knows.
    """
    planned = [
        (call, there) for call, there in zip(network.calls, ahead_bytes(network, device), strict=True) if call.nodes
    ]
    keys = [tuple(layer_key(network.graph, node) for node in call.nodes) for call, _ in planned]
    names = tuple(node.name for call, _ in planned for node in call.nodes)
    return PlannedTable(names, LayerTable.of_kernels(keys, [there for _, there in planned]))


def ahead_bytes(network: LoweredNetwork, device: CpuDevice) -> tuple[int, ...]:
    """For each call, how many bytes of its weights an earlier one has asked for and are still in a near cache."""
    candidates = asking_ahead(network, device)
    asked = [candidate.asked_bytes for candidate in candidates]
    return tuple(map(round, _kept_bytes(network.calls, asked, device.cache.l2_bytes)))


def call_work(call: KernelCall, graph: Graph) -> LayerWork | GroupWork | None:
    """What a call computes, as records name it; None for a conversion at the border to the caller."""
    if not call.nodes:
        return None
    parts = tuple(LayerWork(layer_key(graph, node)) for node in call.nodes)
    if len(parts) == 1:
        return LayerWork(parts[0].key, "fp16" if call.kind.endswith("+fp16") else "fp32")
    return GroupWork(parts, _sources([(node.name, node.inputs) for node in call.nodes]))


def _kept_bytes(calls: Sequence[KernelCall], asked: Sequence[int], l2_bytes: int) -> Iterator[float]:
    left = between = 0
    for call, asks in zip(calls, asked, strict=True):
        weight_bytes = call.candidate.packed_bytes(call.weight_bytes)
        if asks:
            yield 0.0
            left, between = asks, asks + weight_bytes + call.bytes_in - call.weight_bytes + call.bytes_out
            continue
        got = min(left, weight_bytes)
        left -= got
        kept = 1 - (between / l2_bytes - _KEPT_SHARE) / _LOST_SHARE
        yield got * min(1.0, max(0.0, kept))
        between += call.bytes_out


def _sources(nodes: Sequence[tuple[str, tuple[str, ...]]]) -> tuple[tuple[int, ...], ...]:
    """As `GroupWork.sources`: tensors from outside are numbered in order of first use."""
    position = {name: index for index, (name, _) in enumerate(nodes)}
    outside = list(dict.fromkeys(name for _, inputs in nodes for name in inputs if name not in position))
    return tuple(
        tuple(position[name] if name in position else -1 - outside.index(name) for name in inputs)
        for _, inputs in nodes
    )
