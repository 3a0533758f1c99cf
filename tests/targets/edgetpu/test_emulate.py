"""Whole networks on the shipped devices."""

from functools import cache
from typing import get_args

import pytest

from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.ops import Conv2d, Input
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.targets.edgetpu.array import Dataflow, Gemm, gemm_cycles
from mnv3c.targets.edgetpu.device import AcceleratorDevice
from mnv3c.targets.edgetpu.emulate import emulate, emulate_with_timeline
from mnv3c.targets.edgetpu.emulation import Emulation
from mnv3c.targets.edgetpu.lower_work import jobs_of, outputs_of
from mnv3c.targets.edgetpu.plan import GroupPlan
from mnv3c.targets.edgetpu.planner import plan
from mnv3c.targets.edgetpu.settings import find_accelerator
from mnv3c.targets.edgetpu.work import Job
from mnv3c.targets.registry import device_names

SYSTOLIC = ("edgetpu-like", "eyeriss-v2-like", "gemmini-16", "scalesim-32", "scalesim-64", "tiny-8x8")


@cache
def network(variant: str) -> tuple[tuple[Job, ...], tuple[str, ...]]:
    graph = run_passes(mobilenet_v3("small" if variant == "small" else "large"), default_passes())
    return jobs_of(graph), outputs_of(graph)


def emulated(variant: str, device: AcceleratorDevice) -> Emulation:
    return emulate(variant, *network(variant), device)


@pytest.mark.parametrize("device", SYSTOLIC)
def test_layers_sum_up_to_the_timeline(device: str) -> None:
    accelerator = find_accelerator(device)
    result, found = emulate_with_timeline("small", *network("small"), accelerator)
    assert result.total_cycles == max(event.end_cycle for event in found)
    sram_bytes = accelerator.memory.sram_bytes
    assert sram_bytes is None or result.peak_sram_bytes <= sram_bytes
    for layer in result.layers:
        assert layer.cycles >= 0 and 0 <= layer.utilization <= 1, layer.name
        assert layer.movement.dma_sram_bytes == layer.dram_bytes
        assert layer.total_energy_pj > 0
    assert sum(layer.movement.macs for layer in result.layers) == sum(job.macs for job in network("small")[0])


def test_shipped_systolic_devices_are_the_ones_tested_here() -> None:
    found = [find_accelerator(name) for name in device_names("edgetpu")]
    assert {device.name for device in found if device.array.kind == "systolic"} == set(SYSTOLIC)


@pytest.mark.parametrize("dataflow", get_args(Dataflow))
@pytest.mark.parametrize("size", [32, 64])
def test_ideal_memory_gives_the_sum_of_the_closed_forms(dataflow: Dataflow, size: int) -> None:
    device = find_accelerator(f"scalesim-{size}").with_settings({"dataflow": dataflow})
    result = emulated("large", device)
    expected = 0
    for job, layer in zip(network("large")[0], result.layers, strict=True):
        cycles = 0
        if job.kind == "product":
            cycles = gemm_cycles(dataflow, size, size, Gemm(job.m, job.k, job.n))
        elif job.kind == "depthwise":
            cycles = job.output_shape[3] * gemm_cycles(dataflow, size, size, Gemm(job.m, job.k, 1))
        assert layer.cycles == cycles, job.name
        expected += cycles
    assert result.total_cycles == expected


def test_squeeze_excite_is_a_barrier() -> None:
    stalls = {layer.name: layer.stall for layer in emulated("large", find_accelerator("edgetpu-like")).layers}
    assert stalls["block4.se.pool"] == "barrier"


def test_slow_dram_shows_as_stalls_for_weights_and_activations() -> None:
    device = find_accelerator("gemmini-16").with_settings({"dram_bytes_per_s": "200 MB/s"})
    stalls = {layer.name: layer.stall for layer in emulated("large", device).layers}
    assert stalls["classifier"] == stalls["head"] == "weights"
    assert stalls["block2.expand"] == "activations"
    launch = find_accelerator("scalesim-32").with_settings({"launch_cycles": 10**6})
    assert {layer.stall for layer in emulated("large", launch).layers} == {"launch"}


def test_fusing_saves_dram_bytes_and_is_never_slower() -> None:
    """An expansion and its depthwise layer, with little SRAM and slow DRAM: the map between stays on the chip."""
    depthwise = Conv2d(128, (3, 3), padding=(1, 1, 1, 1), groups=128)
    nodes = (
        Node("input", Input((1, 56, 56, 16))),
        Node("expand", Conv2d(128), ("input",)),
        Node("depthwise", depthwise, ("expand",)),
        Node("project", Conv2d(16), ("depthwise",)),
    )
    graph = Graph("block", nodes, ("project",))
    settings = {"dram_bytes_per_s": "200 MB/s", "accumulator_bytes": None}
    apart = find_accelerator("gemmini-16").with_settings(settings)
    fused = apart.with_settings({"fuses_layers": True})
    jobs, outputs = jobs_of(graph), outputs_of(graph)
    (group,) = plan(jobs, outputs, fused).steps
    assert isinstance(group, GroupPlan) and len(group.layers) == 3
    one, two = emulate("block", jobs, outputs, apart), emulate("block", jobs, outputs, fused)
    assert two.total_cycles < one.total_cycles
    moved = sum(layer.dram_bytes for layer in two.layers)
    assert moved == 2 * 56 * 56 * 16 + sum(job.weight_bytes for job in jobs)
    assert moved < sum(layer.dram_bytes for layer in one.layers)
    assert sum(layer.cycles for layer in two.layers) == two.total_cycles
    assert two.peak_sram_bytes <= 256 * 1024
