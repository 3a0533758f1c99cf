"""The Chrome trace: valid events, no two at once in a lane, and the emulator's own cycles."""

from itertools import pairwise
from typing import Any

from mnv3c.graph.networks import mobilenet_v3
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.targets.edgetpu.emulate import emulate_with_timeline
from mnv3c.targets.edgetpu.settings import find_accelerator
from mnv3c.targets.edgetpu.sweep import Workload
from mnv3c.targets.edgetpu.trace import chrome_trace


def test_lanes_hold_one_event_at_a_time_and_end_with_the_network() -> None:
    work = Workload.of(run_passes(mobilenet_v3("small", resolution=96, seed=None), default_passes()))
    device = find_accelerator("gemmini-16")
    result, intervals = emulate_with_timeline(work.name, work.jobs, work.outputs, device)
    document: dict[str, Any] = chrome_trace(result.network, result.device, result.clock_hz, intervals)
    events = [event for event in document["traceEvents"] if event["ph"] == "X"]
    names = {event["args"]["name"] for event in document["traceEvents"] if event["name"] == "thread_name"}
    assert names == {"dma", "array", "vector", "launch", "layers"}
    for lane in {event["tid"] for event in events}:
        mine = sorted((event["args"] for event in events if event["tid"] == lane), key=lambda a: a["start_cycle"])
        assert all(one["end_cycle"] <= other["start_cycle"] for one, other in pairwise(mine))
    assert max(event["args"]["end_cycle"] for event in events) == result.total_cycles
    longest = max(events, key=lambda event: event["args"]["end_cycle"])
    assert longest["ts"] + longest["dur"] == round(result.total_ms * 1e3, 6) or abs(
        longest["ts"] + longest["dur"] - result.total_ms * 1e3
    ) < 1e-3  # fmt: skip
    assert {event["name"] for event in events if event["cat"] == "layer"} == {layer.name for layer in result.layers}
