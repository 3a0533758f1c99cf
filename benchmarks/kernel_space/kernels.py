"""The kernels of a compiled network: their layers, how each was chosen, and which weights are near beforehand."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from mnv3c.compiler.lower import LoweredNetwork
from mnv3c.compiler.plan_table import ahead_bytes
from mnv3c.graph.layer import LayerKey, layer_key
from mnv3c.profiles.layer_table import LayerTable
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import Candidate


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
    return tuple(
        Kernel(
            call.layer,
            tuple(str(layer_key(network.graph, node)) for node in call.nodes),
            call.candidate.family,
            dict(call.candidate.parameters),
            call.candidate in recorded,
            there,
        )
        for call, there in zip(network.calls, ahead_bytes(network, device), strict=True)
        if call.nodes
    )


def table_of(kernels: Sequence[Kernel]) -> LayerTable:
    """Each kernel a unit; what a group keeps to itself stays on chip."""
    keys = [tuple(map(LayerKey.parse, kernel.keys)) for kernel in kernels]
    return LayerTable.of_kernels(keys, [kernel.ahead_bytes for kernel in kernels])
