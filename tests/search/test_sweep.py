"""Sweeps by several workers give the points of one."""

from mnv3c.graph.networks import mobilenet_v3
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.search.processes import LocalProcesses
from mnv3c.search.sweep import places_of, sweep
from mnv3c.targets.edgetpu.settings import find_accelerator
from mnv3c.targets.edgetpu.sweep import Workload, evaluate, grid


def test_processes_give_the_points_of_one_process() -> None:
    networks = [mobilenet_v3("small", width=width, resolution=96, seed=None) for width in (0.35, 0.5)]
    workloads = [Workload.of(run_passes(network, default_passes())) for network in networks]
    device = find_accelerator("gemmini-16")
    places = places_of(workloads, grid({"rows": ("4", "8", "16"), "cols": ("4", "8", "16")}))
    assert len(set(places)) == 18
    alone = list(sweep(workloads, device, places))
    assert alone == [(place, evaluate(workloads[place.workload], device, place.settings)) for place in places]
    assert dict(sweep(workloads, device, places, LocalProcesses(2, worth_s=0.0))) == dict(alone)
