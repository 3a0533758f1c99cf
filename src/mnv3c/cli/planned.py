"""The layers of a network as the runtime of a profile computes them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mnv3c.compiler.plan_table import PlannedTable
    from mnv3c.graph.ir import Graph
    from mnv3c.profiles.predict import NetworkPrediction
    from mnv3c.profiles.profile import Profile
    from mnv3c.targets.device import CpuDevice


def network_prediction(profile: "Profile", graph: "Graph") -> "NetworkPrediction":
    """What the profile predicts for a graph, fused into layers, or into kernels where mnv3c is the runtime.

    Raises UserError for a layer that no cost model knows, and where no device is known for which the network could be
    planned as on the profile's.
    """
    from mnv3c.graph.layer import layer_key, layers
    from mnv3c.graph.passes.default import default_passes
    from mnv3c.graph.passes.pipeline import run_passes
    from mnv3c.profiles.predict import predict_network, predict_table

    fused = run_passes(graph, default_passes())
    if profile.model.physics.unit == "kernel":
        planned = _planned(profile, fused)
        return predict_table(profile, planned.names, planned.table)
    nodes = layers(fused)
    return predict_network(profile, [node.name for node in nodes], [layer_key(fused, node) for node in nodes])


def _planned(profile: "Profile", fused: "Graph") -> "PlannedTable":
    """The kernels that the compiler would choose on the profile's device; TVM is not needed to choose."""
    from mnv3c.compiler.lower import lower
    from mnv3c.compiler.plan_table import plan_table
    from mnv3c.compiler.tune.choice import RecordedChoice
    from mnv3c.compiler.tune.store import known_records
    from mnv3c.profiles.physics.compiled_device import measured_device
    from mnv3c.targets.loader import load_target

    device = measured_device(profile.model.physics, _device_of_class(profile))
    choice = RecordedChoice(known_records(device), device, profile.identity.threads)
    network = lower(fused, load_target(device.target), device, choice.choose, choice.choose_group)
    return plan_table(network, device)


def _device_of_class(profile: "Profile") -> "CpuDevice":
    """A device of the class that the profile's kernels were compiled for: of those with a file, else this machine."""
    from mnv3c.graph.errors import MissingError, UserError
    from mnv3c.targets.registry import HOST, devices, find_device, target_names

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
