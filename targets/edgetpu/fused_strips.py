"""Which rows the layers of a fused group compute, strip by strip, and how many rows between them must be kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mnv3c.graph.errors import UserError
from mnv3c.targets.edgetpu.plan import GroupPlan
from mnv3c.targets.edgetpu.regions import Span, has_gate, reads_own_position
from mnv3c.targets.edgetpu.work import Job


@dataclass(frozen=True)
class Strips:
    """`rows[s][i]` are the output rows that layer i computes in strip s, perhaps none.

    `kept_rows` says of each tensor between the layers how many rows exist at once, by name.
    """

    rows: tuple[tuple[Span, ...], ...]
    kept_rows: Mapping[str, int]


def strips_of(group: GroupPlan) -> Strips:
    """Strips of `group.rows` rows of the last output; every row of every tensor is computed once, as late as possible.

    Raises UserError for several images, and for layers that read their input whole.
    """
    jobs = [layer.job for layer in group.layers]
    for job in jobs:
        if job.reads_whole or job.output_shape[0] != 1:
            why = "reads its input whole" if job.reads_whole else f"has {job.output_shape[0]} images"
            raise UserError(f"layer '{job.name}' {why} and cannot be fused by strips")
    last = jobs[-1].output_shape[1]
    done, rows = [0] * len(jobs), list[tuple[Span, ...]]()
    kept = dict.fromkeys((job.name for job in jobs[:-1]), 0)
    for stop in [*range(group.rows, last, group.rows), last]:
        ends = _ends(jobs, stop)
        for index, name in enumerate(kept):
            # A window that strides over rows wants later ones than those that are computed next.
            kept[name] = max(kept[name], ends[index] - min(done[index], _first_read(jobs, index, done)))
        rows.append(tuple(Span(start, max(0, end - start)) for start, end in zip(done, ends, strict=True)))
        done = [max(start, end) for start, end in zip(done, ends, strict=True)]
    return Strips(tuple(rows), kept)


def _ends(jobs: Sequence[Job], stop: int) -> list[int]:
    """Up to which row each layer must have come, so that the last one can come to `stop`."""
    ends = [0] * len(jobs)
    ends[-1] = stop
    for index in reversed(range(len(jobs) - 1)):
        for reader, job in enumerate(jobs[index + 1 :], start=index + 1):
            if ends[reader] and jobs[index].name in (job.input, job.second):
                ends[index] = max(ends[index], _read_end(job, jobs[index].name, ends[reader]))
    return ends


def _read_end(job: Job, name: str, end: int) -> int:
    """The row behind the last that a job reads of a tensor for its output rows before `end`."""
    wanted = [1 if has_gate(job) else end] if name == job.second else []
    if name == job.input:
        window = job.window
        reach = (end - 1) * window.stride[0] - window.padding[0] + (window.kernel[0] - 1) * window.dilation[0] + 1
        wanted.append(end if reads_own_position(job) else min(job.input_shape[1], max(0, reach)))
    return max(wanted)


def _first_read(jobs: Sequence[Job], index: int, done: Sequence[int]) -> int:
    """The first row of a layer's output that is still wanted when each layer has come to its row `done`."""
    wanted: list[int] = []
    for reader, job in enumerate(jobs[index + 1 :], start=index + 1):
        if jobs[index].name == job.second:
            wanted.append(0 if has_gate(job) else done[reader])
        if jobs[index].name == job.input:
            start = done[reader] * job.window.stride[0] - job.window.padding[0]
            wanted.append(done[reader] if reads_own_position(job) else max(0, start))
    return min(wanted)
