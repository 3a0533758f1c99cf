"""The timeline of whole random networks: its bounds, its jumps, and that nothing better makes anything worse."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from tests.targets.edgetpu.random_machines import random_machine, random_network

from mnv3c.graph.errors import UserError
from mnv3c.targets.edgetpu.emulation import Interval
from mnv3c.targets.edgetpu.events import intervals
from mnv3c.targets.edgetpu.machine import Machine
from mnv3c.targets.edgetpu.planner import TimedPlan, network_end, planned_on
from mnv3c.targets.edgetpu.work import Job

RESOURCES = ("dma", "array", "vector")


def planned(machine: Machine, jobs: tuple[Job, ...], outputs: tuple[str, ...]) -> TimedPlan | None:
    """The plan, or None where the device is too small."""
    try:
        return planned_on(machine, jobs, outputs)
    except UserError:
        return None


def total(timed: TimedPlan) -> int:
    return network_end(timed.steps[-1].exit)


@pytest.mark.parametrize("hundred", range(5))
def test_timeline_keeps_its_bounds_and_equals_the_plain_one(hundred: int) -> None:
    """On 500 networks: each step at its place, no resource used twice at once, between the longest and the sum."""
    timed_networks = 0
    for seed in range(100 * hundred, 100 * hundred + 100):
        (jobs, outputs), machine = random_network(seed), random_machine(seed)
        timed = planned(machine, jobs, outputs)
        if timed is None:
            continue
        timed_networks += 1
        found = list(intervals(timed))
        works = [work for step in timed.steps for work in step.works]
        launches = machine.launch_cycles * len(jobs)
        busy = {resource: _busy(found, resource) for resource in RESOURCES}
        assert max(*(event.end_cycle for event in found), launches) == total(timed), seed
        assert max(busy.values()) <= total(timed) <= sum(busy.values()) + launches, seed
        array_jobs = [j for j in jobs if j.kind == "product" or (j.kind == "depthwise" and busy_on_array(machine))]
        assert total(timed) * machine.array.macs_per_cycle >= sum(job.macs for job in array_jobs), seed
        assert busy["array"] == sum(work.array_cycles for work in works), seed
        assert busy["vector"] == sum(work.post_cycles for work in works), seed
        moved = sum(work.load_cycles + work.store_cycles for work in works)
        assert busy["dma"] == moved, seed
    assert timed_networks > 60


def busy_on_array(machine: Machine) -> bool:
    """Whether depthwise work is bound by the array's MACs."""
    return machine.array.depthwise in ("per_channel", "diagonal_ws")


def _busy(found: list[Interval], resource: str) -> int:
    """Cycles of a resource, whose events must not overlap."""
    events = sorted((e.start_cycle, e.end_cycle) for e in found if e.resource == resource)
    assert all(a[1] <= b[0] for a, b in pairwise(events))
    return sum(end - start for start, end in events)


BETTER: dict[str, Callable[[Machine], Machine]] = {
    "dram": lambda m: replace(m, dram_bytes_per_s=m.dram_bytes_per_s and m.dram_bytes_per_s * 3 // 2),
    "no dram": lambda m: replace(m, dram_bytes_per_s=None),
    "latency": lambda m: replace(m, dram_latency_cycles=m.dram_latency_cycles // 2),
    "lanes": lambda m: replace(m, lanes=m.lanes and m.lanes + 1),
    "output lanes": lambda m: replace(m, output_lanes=m.output_lanes and m.output_lanes + 1),
    "sram": lambda m: replace(m, sram_bytes=m.sram_bytes and m.sram_bytes * 5 // 4),
    "much sram": lambda m: replace(m, sram_bytes=m.sram_bytes and m.sram_bytes * 7),
    "no sram limit": lambda m: replace(m, sram_bytes=None),
    "sram bandwidth": lambda m: replace(m, sram_bytes_per_cycle=m.sram_bytes_per_cycle and m.sram_bytes_per_cycle * 2),
    "launch": lambda m: replace(m, launch_cycles=m.launch_cycles // 2),
    "accumulators": lambda m: replace(
        m, array=m.array.model_copy(update={"accumulator_bytes": (m.array.accumulator_bytes or 0) * 2 or None})
    ),
}


@pytest.mark.parametrize("better", BETTER)
def test_nothing_better_makes_a_network_slower(better: str) -> None:
    """Each on 50 networks of its own."""
    changed = 0
    start = 1000 + 1000 * list(BETTER).index(better)
    for seed in range(start, start + 50):
        (jobs, outputs), machine = random_network(seed), random_machine(seed)
        timed, other = planned(machine, jobs, outputs), planned(BETTER[better](machine), jobs, outputs)
        if timed is not None:
            assert other is not None, seed
            assert total(other) <= total(timed), seed
            changed += total(other) < total(timed)
    assert changed


def test_a_faster_clock_takes_no_more_milliseconds() -> None:
    """Twice the clock against the same DRAM: cycles at most double."""
    for seed in range(500, 600):
        (jobs, outputs), machine = random_network(seed), random_machine(seed)
        timed = planned(machine, jobs, outputs)
        faster = planned(replace(machine, clock_hz=2 * machine.clock_hz), jobs, outputs)
        if timed is not None and faster is not None:
            assert total(timed) <= total(faster) <= 2 * total(timed), seed
