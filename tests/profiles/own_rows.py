"""Made-up measurements of our own programs: physics itself says what their kernels take."""

import numpy as np

from mnv3c.compiler.lower import lower
from mnv3c.compiler.plan_table import call_work, plan_table
from mnv3c.graph.layer import layer_key
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.profiles.physics.compiled_device import compiled_physics
from mnv3c.profiles.record import Record
from mnv3c.profiles.work import NetworkWork, Work
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device

DEVICE = "sapphire-rapids"
# Every term takes so much of its nominal time, a network so much of the sum of its kernels.
SPEED, SCALE = 1.6, 1.05


def own_record(work: Work, latency_ms: float, tags: dict[str, str], device: str = DEVICE) -> Record:
    return Record(
        work=work,
        device=device,
        processor="cpu",
        runtime="mnv3c 0.1.0",
        precision="fp32",
        threads=1,
        latency_ms=latency_ms,
        tags=tags,
        source="made up",
    )


def own_network(width: float, resolution: int, seed: int, device: str = DEVICE) -> tuple[Record, ...]:
    """The kernels of a V3-Small with 2 % noise, and the network itself."""
    cpu, rng = find_device(DEVICE), np.random.default_rng(seed)
    graph = run_passes(mobilenet_v3("small", width=width, resolution=resolution, seed=None), default_passes())
    network = lower(graph, load_target(cpu.target), cpu)
    table, physics = plan_table(network, cpu).table, compiled_physics(cpu)
    ms = SPEED * (table.per_unit_sum(physics.terms(table).sum(1)) + physics.unit_ms)
    calls = [call for call in network.calls if call.nodes]
    noisy, name = ms * np.exp(0.02 * rng.standard_normal(len(ms))), f"small_{seed}"
    records = []
    for call, there, each_ms in zip(calls, table.ahead_bytes[table.ends], noisy, strict=True):
        work = call_work(call, network.graph)
        assert work is not None
        tags = {"network": name, "layer": call.layer, "ahead_bytes": str(there)}
        records.append(own_record(work, float(each_ms), tags, device))
    keys = tuple(layer_key(network.graph, node) for call in calls for node in call.nodes)
    whole = own_record(NetworkWork(name, keys), SCALE * float(noisy.sum()), {}, device)
    return (*records, whole)
