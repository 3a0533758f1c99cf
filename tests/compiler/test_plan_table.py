"""What the cost model is told of a compiled network: its kernels, and which weights are near before they begin."""

from functools import cache

import numpy as np
import pytest

from mnv3c.compiler.ahead import asking_ahead
from mnv3c.compiler.lower import LoweredNetwork, lower
from mnv3c.compiler.plan_table import ahead_bytes, call_work, plan_table
from mnv3c.graph.layer import layer_key, layers
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.profiles.work import GroupWork, parse_work
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device

DEVICES = ("sapphire-rapids", "cortex-a76")


@cache
def lowered(name: str) -> LoweredNetwork:
    device = find_device(name)
    graph = run_passes(mobilenet_v3("large"), default_passes())
    return lower(graph, load_target(device.target), device)


def with_l2(device: CpuDevice, l2_bytes: int) -> CpuDevice:
    return device.model_copy(update={"cache": device.cache.model_copy(update={"l2_bytes": l2_bytes})})


@pytest.mark.parametrize("name", DEVICES)
def test_every_layer_is_in_one_kernel(name: str) -> None:
    network = lowered(name)
    planned = plan_table(network, find_device(name))
    table = planned.table
    assert sorted(planned.names) == sorted(node.name for node in layers(network.graph))
    assert table.owner[-1] + 1 == sum(bool(call.nodes) for call in network.calls)
    sizes = [len(call.nodes) for call in network.calls if call.nodes]
    assert max(sizes) > 1 and np.bincount(table.owner).tolist() == sizes
    # Between the layers of a kernel a map stays on chip; at its ends it does not.
    inner = np.diff(table.owner) == 0
    assert (table.output_on_chip[:-1] == inner).all() and (table.input_on_chip[1:] == inner).all()
    assert table.input_on_chip[0] == table.output_on_chip[-1] == 0


@pytest.mark.parametrize("name", DEVICES)
def test_weights_are_near_only_where_they_were_asked_for(name: str) -> None:
    network, device = lowered(name), find_device(name)
    near, asking = ahead_bytes(network, device), asking_ahead(network, device)
    left = 0
    for call, candidate, there in zip(network.calls, asking, near, strict=True):
        assert 0 <= there <= call.candidate.packed_bytes(call.weight_bytes)
        if candidate.asked_bytes:
            assert there == 0
            left = candidate.asked_bytes
        left -= there
        assert left >= 0
    streamed = [there for call, there in zip(network.calls, near, strict=True) if call.candidate.streams]
    # Products for the Cortex-A76 ask for nothing.
    assert sum(there > 0 for there in streamed) >= (len(streamed) / 2 if name == "sapphire-rapids" else 0)
    assert len(streamed) > 10 and any(near) == any(candidate.asked_bytes for candidate in asking)


def test_a_small_cache_keeps_less() -> None:
    network, device = lowered("sapphire-rapids"), find_device("sapphire-rapids")
    sums = [sum(ahead_bytes(network, with_l2(device, size))) for size in (1 << 18, 1 << 20, 1 << 22)]
    assert sums[0] < sums[1] < sums[2]


def test_packed_bytes_are_those_of_the_packed_weights() -> None:
    network = lowered("sapphire-rapids")
    seen = set()
    for call in network.calls:
        if len(call.nodes) != 1 or call.candidate.family not in ("gemm", "tile_gemm"):
            continue
        (node,) = call.nodes
        shapes = node.op.weights(network.graph.input_types(node))
        weights = {role: np.zeros(shape, np.float32) for role, shape in shapes.items()}
        packed, own = call.candidate.pack(weights)[0].nbytes, call.candidate.packed_bytes(call.weight_bytes)
        # Biases are counted with the weights of a layer, and columns may be padded.
        exact = call.candidate.family == "tile_gemm"
        assert own == packed if exact else own == pytest.approx(packed, rel=0.05)
        seen.add(call.candidate.family)
    assert seen == {"gemm", "tile_gemm"}


def test_a_kernel_asks_for_about_what_it_is_told_to() -> None:
    asked = 0
    for call in lowered("sapphire-rapids").calls:
        if call.candidate.asking_ahead(0) is None:
            assert call.candidate.asked_bytes == 0
            continue
        found = [each.asked_bytes for wanted in (0, 4096, 1 << 20) if (each := call.candidate.asking_ahead(wanted))]
        assert found[0] == 0 and found == sorted(found)
        # By whole tiles or lines with every step, so now and then more.
        assert found[2] <= 1.5 * (1 << 20)
        asked += found[2] > 0
    assert asked > 5


@pytest.mark.parametrize("name", DEVICES)
def test_works_are_as_records_name_them(name: str) -> None:
    network = lowered(name)
    groups = 0
    for call in network.calls:
        work = call_work(call, network.graph)
        if work is None:
            assert not call.nodes
            continue
        assert parse_work(str(work)) == work
        assert work.layer_keys() == tuple(layer_key(network.graph, node) for node in call.nodes)
        groups += isinstance(work, GroupWork)
    assert groups > 3
