"""The latency of a network, as a search asks for it: a callable on graphs, with a text that says what it stands on.

Here are predictions and emulations; `tabulated` has latencies from tables.
"""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Protocol

from mnv3c.compiler.cache import content_key, source_fingerprint
from mnv3c.compiler.lower import lower
from mnv3c.compiler.plan_table import plan_table
from mnv3c.compiler.tune.choice import RecordedChoice
from mnv3c.compiler.tune.store import known_records
from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.ir import Graph
from mnv3c.graph.layer import layer_key, layers
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.profiles.physics.compiled_device import measured_device
from mnv3c.profiles.predict import NetworkPrediction, predict_network, predict_table
from mnv3c.profiles.profile import Profile
from mnv3c.profiles.profile_file import profile_text
from mnv3c.targets import edgetpu
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.edgetpu.device import AcceleratorDevice
from mnv3c.targets.edgetpu.emulate import emulate
from mnv3c.targets.edgetpu.emulation import Emulation
from mnv3c.targets.edgetpu.sweep import Workload
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import HOST, devices, find_device, target_names


class Latency(Protocol):
    """Milliseconds for a graph. A search that is resumed must have one of the same identity."""

    @property
    def identity(self) -> str: ...

    def __call__(self, graph: Graph) -> float: ...


@dataclass(frozen=True)
class ProfileLatency:
    """What a profile predicts for graphs, fused into layers, or into kernels where mnv3c is the profile's runtime."""

    profile: Profile

    @property
    def identity(self) -> str:
        """The profile's name and a digest of what it says."""
        digest = sha256(profile_text(self.profile).encode()).hexdigest()[:12]
        return f"profile {self.profile.name} {digest}"

    def __call__(self, graph: Graph) -> float:
        """Predicted milliseconds."""
        return self.prediction(graph).total_ms

    def prediction(self, graph: Graph) -> NetworkPrediction:
        """The prediction with its layers.

        Raises UserError for a layer that no cost model knows, and where no device is known for which the network could
        be planned as on the profile's.
        """
        fused = run_passes(graph, default_passes())
        if self.profile.model.physics.unit == "kernel":
            device, choice = self._planner
            network = lower(fused, load_target(device.target), device, choice.choose, choice.choose_group)
            planned = plan_table(network, device)
            return predict_table(self.profile, planned.names, planned.table)
        nodes = layers(fused)
        keys = [layer_key(fused, node) for node in nodes]
        return predict_network(self.profile, [node.name for node in nodes], keys)

    def with_planner(self) -> "ProfileLatency":
        """This, having found the device and the records: a copy that is sent elsewhere then plans as this machine does.

        Raises UserError as `prediction`.
        """
        _ = self._planner
        return self

    @cached_property
    def _planner(self) -> tuple[CpuDevice, RecordedChoice]:
        """The device and the kernels that the compiler would choose on it; TVM is not needed to choose."""
        device = measured_device(self.profile.model.physics, device_of_class(self.profile))
        return device, RecordedChoice(known_records(device), device, self.profile.identity.threads)


@dataclass(frozen=True)
class EmulatedLatency:
    """What the emulator of an accelerator says of graphs, at the device's clock."""

    device: AcceleratorDevice

    @property
    def identity(self) -> str:
        """The device's name, and a digest of its numbers and of the emulator's sources."""
        stands_on = content_key(self.device.model_dump_json(), source_fingerprint(edgetpu.__name__))
        return f"emulator {self.device.name} {stands_on[:12]}"

    def __call__(self, graph: Graph) -> float:
        """Emulated milliseconds. Raises UserError for a layer that cannot be emulated."""
        return self.emulation(run_passes(graph, default_passes())).total_ms

    def emulation(self, fused: Graph) -> Emulation:
        """The emulation of a graph after the default passes. Raises UserError likewise."""
        workload = Workload.of(fused)
        return emulate(workload.name, workload.jobs, workload.outputs, self.device)


def device_of_class(profile: Profile) -> CpuDevice:
    """A device of the class that the profile's kernels were compiled for: of those with a file, else this machine."""
    wanted = profile.compiled_for
    for target in target_names():
        for device in devices(target):
            if device.core_class == wanted:
                return device
    try:
        host = find_device(HOST)
    except MissingError as error:
        here = str(error)
    else:
        if host.core_class == wanted:
            return host
        here = f"this machine is {host.core_class}"
    raise UserError(
        f"profile '{profile.name}' is of code compiled for '{wanted}', of which there is no device file, and {here}"
    )
