"""Neighbouring layers run strip by strip, so that what lies between them never exists whole.

1. Chains of a product and a depthwise layer, in either order, or of product, depthwise and product; each reads the one
   before, and nothing else does. One image.
2. A strip is some rows of the last layer's output; each layer computes the rows that are new in the strip, so no row
   twice. What windows still need stays in a ring of rows. All weights stay from the first strip to the last.
3. Within a strip the layers run one after the other, each waiting for the post of the one before; loads and stores of
   neighbouring strips overlap with that. Each layer is launched once.
4. The rows tried depend on the last layer's shape alone, and more SRAM only adds to those that fit.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np

from mnv3c.targets.edgetpu.candidate import Work
from mnv3c.targets.edgetpu.fused_strips import Strips, strips_of
from mnv3c.targets.edgetpu.layer_view import ACCUMULATOR_BYTES, LayerView, Streams
from mnv3c.targets.edgetpu.machine import Machine
from mnv3c.targets.edgetpu.plan import GroupPlan, LayerPlan, Tiling
from mnv3c.targets.edgetpu.residency import reads
from mnv3c.targets.edgetpu.tile_times import tile_work
from mnv3c.targets.edgetpu.tiling import halvings
from mnv3c.targets.edgetpu.timeline import Program, Run, Step, loop, steps
from mnv3c.targets.edgetpu.work import Job

_CHAINS = (("product", "depthwise"), ("depthwise", "product"), ("product", "depthwise", "product"))


class GroupChoice(NamedTuple):
    """One way to run a group: its plan, its steps, what each layer adds up to, and the bytes of its buffers."""

    plan: GroupPlan
    program: Program
    works: tuple[Work, ...]
    buffer_bytes: int


def chains(jobs: Sequence[Job], outputs: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where groups may begin, and how many layers they have."""
    readers: dict[str, int] = {}
    for job in jobs:
        for name in reads(job):
            readers[name] = readers.get(name, 0) + 1
    for start in range(len(jobs)):
        for kinds in _CHAINS:
            group = jobs[start : start + len(kinds)]
            if tuple(job.kind for job in group) == kinds and all(map(_by_rows, group)):
                private = all(readers[job.name] == 1 and job.name not in outputs for job in group[:-1])
                if private and all(after.input == job.name for job, after in pairwise(group)):
                    yield start, len(kinds)


def _by_rows(job: Job) -> bool:
    """Whether a layer can be computed some rows at a time: one image, and one product for all channels."""
    return job.output_shape[0] == 1 and (job.kind == "depthwise" or job.groups == 1)


def group_choices(machine: Machine, jobs: Sequence[Job], streams: Sequence[Streams]) -> Iterator[GroupChoice]:
    """The strips of a group that fit, from the tallest."""
    for rows in halvings(jobs[-1].output_shape[1])[1:]:
        strips = strips_of(GroupPlan(tuple(_layer(1, place, jobs, streams) for place in range(len(jobs))), rows))
        shares = tuple(max(strip[place].size for strip in strips.rows) for place in range(len(jobs)))
        need = _buffer_bytes(jobs, streams, strips, shares)
        if machine.half_bytes is not None and need > machine.half_bytes:
            continue
        if not all(_sums_fit(machine, job, share) for job, share in zip(jobs, shares, strict=True)):
            continue
        layers = tuple(_layer(share, place, jobs, streams) for place, share in enumerate(shares))
        yield _choice(machine, GroupPlan(layers, rows), streams, strips, need)


def _layer(rows: int, place: int, jobs: Sequence[Job], streams: Sequence[Streams]) -> LayerPlan:
    job, moved, last = jobs[place], streams[place], len(jobs) - 1
    _, _, width, channels = job.output_shape
    depth = job.input_shape[3] if job.kind == "product" else channels
    return LayerPlan(
        job,
        Tiling(rows, width, channels, depth, "weights_outer"),
        input_in_sram=place > 0 or not moved.input,
        second_in_sram=job.second is not None and not moved.second,
        output_in_sram=place < last or not moved.output,
        pinned_weight_bytes=job.weight_bytes - moved.weight_bytes,
    )


def _sums_fit(machine: Machine, job: Job, rows: int) -> bool:
    limit = machine.array.accumulator_bytes
    sums = rows * job.output_shape[2] * job.output_shape[3] * ACCUMULATOR_BYTES
    return limit is None or 2 * sums <= limit


def _buffer_bytes(jobs: Sequence[Job], streams: Sequence[Streams], strips: Strips, shares: Sequence[int]) -> int:
    """Rings between the layers, all weights, and two buffers of what passes by strip by strip."""
    total = 0
    for place, (job, moved, rows) in enumerate(zip(jobs, streams, shares, strict=True)):
        view = LayerView.of(job)
        _, _, width, channels = job.output_shape
        total += moved.weight_bytes
        if place == 0 and moved.input:
            total += 2 * view.input_bytes(rows, width, channels, view.depth)
        if moved.second:
            total += 2 * view.second_bytes(rows, width, channels)
        if place < len(jobs) - 1:
            total += strips.kept_rows[job.name] * width * channels
        elif moved.output:
            total += 2 * rows * width * channels
    return total


def _choice(
    machine: Machine, plan: GroupPlan, streams: Sequence[Streams], strips: Strips, buffer_bytes: int
) -> GroupChoice:
    jobs = [layer.job for layer in plan.layers]
    tables = [
        _shares(machine, job, moved, sorted({strip[place].size for strip in strips.rows}), place, len(jobs) - 1)
        for place, (job, moved) in enumerate(zip(jobs, streams, strict=True))
    ]
    made: list[tuple[Step, ...]] = []
    sums = [[0] * 9 for _ in jobs]
    brought: set[int] = set()
    for strip in strips.rows:
        line: list[Step] = []
        for place, span in enumerate(strip):
            if not span.size:
                continue
            share = tables[place][span.size]
            fresh = place not in brought
            brought.add(place)
            stored = machine.stored_weight_bytes(streams[place].weight_bytes) if fresh else 0
            weights = machine.transfer_cycles(stored)
            line.append((weights, share.load, share.array, share.post, share.store, bool(line)))
            counts = (
                *(weights + share.load, share.array, share.post, share.store),
                *(stored + share.read, share.written, share.operands, share.array - share.unfed),
            )
            sums[place][1:] = [a + b for a, b in zip(sums[place][1:], counts, strict=True)]
        made.append(tuple(line))
    runs: list[Run] = [
        loop(len(tuple(same)), tuple(steps(1, step) for step in line)) for line, same in groupby(made) if line
    ]
    held = any(moved.second for moved in streams)
    works = tuple(Work(1, *row) for row in sums)
    return GroupChoice(plan, Program.of(tuple(runs), held=held), works, buffer_bytes)


class _Share(NamedTuple):
    """Some rows of one layer in one strip."""

    load: int
    array: int
    post: int
    store: int
    read: int
    written: int
    operands: int
    unfed: int


def _shares(
    machine: Machine, job: Job, moved: Streams, rows: Sequence[int], place: int, last: int
) -> dict[int, _Share]:
    """What each number of rows takes."""
    view = LayerView.of(job)
    _, _, width, channels = job.output_shape
    operands, unfed, array, post = tile_work(machine, view, np.array(rows, np.int64) * width)
    found: dict[int, _Share] = {}
    for index, count in enumerate(rows):
        slab = view.input_bytes(count, width, channels, view.depth) if place == 0 and moved.input else 0
        second = view.second_bytes(count, width, channels) if moved.second else 0
        written = count * width * channels if place == last and moved.output else 0
        load = machine.transfer_cycles(slab) + machine.transfer_cycles(second)
        found[count] = _Share(
            *(load, int(array[index]), int(post[index]), machine.transfer_cycles(written)),
            *(slab + second, written, int(operands[index]), int(unfed[index])),
        )
    return found
