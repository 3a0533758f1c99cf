"""The planner against trying everything; what it refuses."""

from dataclasses import replace
from itertools import product

import pytest
from tests.targets.edgetpu.random_machines import random_machine, random_network

from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import Conv2d, Input
from mnv3c.targets.edgetpu.candidate import LayerCandidates
from mnv3c.targets.edgetpu.layer_view import LayerView, Streams
from mnv3c.targets.edgetpu.lower_work import jobs_of
from mnv3c.targets.edgetpu.machine import Machine
from mnv3c.targets.edgetpu.planner import network_end, planned_on, streams_of
from mnv3c.targets.edgetpu.program import program
from mnv3c.targets.edgetpu.residency import residency
from mnv3c.targets.edgetpu.tile_search import holds
from mnv3c.targets.edgetpu.tile_times import layer_candidates
from mnv3c.targets.edgetpu.timeline import Entry, Program, layer_end
from mnv3c.targets.edgetpu.work import Job


def _program(choices: LayerCandidates, place: int, view: LayerView, moved: Streams) -> Program:
    job = view.job
    return program(choices.candidate(place), view.repeats, reads_whole=job.reads_whole, held=holds(job, moved))


def best_of_all(machine: Machine, jobs: tuple[Job, ...], outputs: tuple[str, ...]) -> int | None:
    """The least end over all combinations of candidates; None where there are too many to try."""
    held = residency(jobs, outputs, machine.held_bytes, pins_weights=machine.pins_weights)
    streams = [streams_of(job, held) for job in jobs]
    views = [LayerView.of(job) for job in jobs]
    found = layer_candidates(machine, list(zip(views, streams, strict=True)))
    counts = [len(choices.bounds) for choices in found]
    combinations = 1
    for count in counts:
        combinations *= count
    if not 0 < combinations <= 300:
        return None
    programs = [
        [_program(choices, int(bound[1]), view, moved) for bound in choices.bounds]
        for choices, view, moved in zip(found, views, streams, strict=True)
    ]
    ends = []
    for chosen in product(*programs):
        entry = Entry(0, 0, 0)
        for runs in chosen:
            entry = layer_end(entry, runs, machine.launch_cycles)
        ends.append(network_end(entry))
    return min(ends)


def test_no_combination_of_tilings_is_faster() -> None:
    """Every combination is timed, without bounds and without dropping any state; layers of a few candidates each."""
    tried = 0
    for seed in range(200):
        (jobs, outputs), machine = random_network(seed), random_machine(seed)
        jobs = jobs[:3]
        outputs = (jobs[-1].name,)
        least = best_of_all(replace(machine, fuses_layers=False), jobs, outputs)
        if least is not None:
            tried += 1
            timed = planned_on(replace(machine, fuses_layers=False), jobs, outputs)
            assert network_end(timed.steps[-1].exit) == least, seed
    assert tried > 30


def test_bounds_hold_for_every_candidate() -> None:
    """The least end that a candidate's bound promises is never later than its run."""
    for seed in range(60):
        (jobs, outputs), machine = random_network(seed), random_machine(seed)
        held = residency(jobs, outputs, machine.held_bytes, pins_weights=machine.pins_weights)
        views, streams = [LayerView.of(job) for job in jobs], [streams_of(job, held) for job in jobs]
        for choices, view, moved in zip(
            layer_candidates(machine, list(zip(views, streams, strict=True))), views, streams, strict=True
        ):
            for bound in choices.bounds.tolist():
                left = layer_end(Entry(0, 0, 0), _program(choices, bound[1], view, moved), machine.launch_cycles)
                assert bound[0] <= left.done and left.pending == bound[7], (seed, view.job.name)
                assert machine.launch_cycles + bound[4] <= left.done, (seed, view.job.name)


def test_a_layer_that_does_not_fit_is_named_with_what_it_needs() -> None:
    graph = Graph("big", (Node("x", Input((1, 9, 9, 5000))), Node("wide", Conv2d(8, (9, 9)), ("x",))), ("wide",))
    machine = replace(random_machine(0), sram_bytes=1024, tile_fraction=0.1)
    with pytest.raises(UserError, match=r"'random': memory.sram_bytes of 1024 .* layer 'wide' needs \d+ bytes"):
        planned_on(machine, jobs_of(graph), ("wide",))
    array = machine.array.model_copy(update={"accumulator_bytes": 2})
    with pytest.raises(UserError, match=r"array.accumulator_bytes of 2 .* layer 'wide' needs"):
        planned_on(replace(machine, sram_bytes=None, array=array), jobs_of(graph), ("wide",))
