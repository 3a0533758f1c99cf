"""What stays in the SRAM: activations between the layer that writes them and the last that reads them, and weights.

1. Activations come in order of size, smallest first (ties: in order of execution). Each takes the lowest place beside
   those already there that live at the same time. One that ends beyond the capacity stays in DRAM, and so does every
   later one that lives at the same time as it.
2. If every activation has found its place, weights are pinned on top of them, smallest layer first; of the first one
   that does not fit, as much as does. Pinned weights were loaded before the first inference and are never loaded again.

So more capacity keeps all that less capacity kept, at the same offsets: a tensor's place depends only on earlier ones
that live beside it, and if it was placed then all of those were.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mnv3c.targets.edgetpu.work import Job, Shape


@dataclass(frozen=True)
class Tensor:
    """An activation: its size, and the steps from the one that writes it to the last that reads it."""

    name: str
    size_bytes: int
    first: int
    last: int


_Place = tuple[int, int, int, int]  # first and last step, start and end in bytes


@dataclass(frozen=True)
class Residency:
    """Offsets in bytes from the start of the SRAM, of activations by name and of pinned weights as `NAME.weight`.

    `pinned_bytes` is how much of a layer's weights is pinned, by the layer's name.
    """

    offsets: Mapping[str, int]
    pinned_bytes: Mapping[str, int]
    peak_bytes: int


def tensors(jobs: Sequence[Job], outputs: Sequence[str]) -> tuple[Tensor, ...]:
    """What may stay: every activation that a layer writes and another reads, but the network's outputs."""
    last: dict[str, int] = {}
    for step, job in enumerate(jobs):
        for name in reads(job):
            last[name] = step
    return tuple(
        Tensor(job.name, _size(job.output_shape), step, last[job.name])
        for step, job in enumerate(jobs)
        if job.name in last and job.name not in outputs
    )


def reads(job: Job) -> tuple[str, ...]:
    """The activations that a job reads, in order."""
    return (job.input, *((job.second,) if job.second is not None else ()), *(name for name, _ in job.further))


def _size(shape: Shape) -> int:
    batch, height, width, channels = shape
    return batch * height * width * channels


def residency(jobs: Sequence[Job], outputs: Sequence[str], held_bytes: int | None, *, pins_weights: bool) -> Residency:
    """Where activations and pinned weights lie in `held_bytes` of SRAM (None: as much as there is to hold)."""
    offsets: dict[str, int] = {}
    pinned: dict[str, int] = {}
    placed: list[_Place] = []
    refused: list[_Place] = []
    peak = 0
    for tensor in sorted(tensors(jobs, outputs), key=lambda tensor: (tensor.size_bytes, tensor.first)):
        start = _lowest(tensor, placed)
        end = start + tensor.size_bytes
        place = (tensor.first, tensor.last, start, end)
        if (held_bytes is not None and end > held_bytes) or (refused and _meeting(tensor, refused)):
            refused.append(place)
            continue
        offsets[tensor.name] = start
        placed.append(place)
        peak = max(peak, end)
    if pins_weights and not refused:
        for job in sorted((job for job in jobs if job.weight_bytes), key=lambda job: job.weight_bytes):
            size = job.weight_bytes if held_bytes is None else min(job.weight_bytes, held_bytes - peak)
            if size <= 0:
                break
            offsets[f"{job.name}.weight"], pinned[job.name] = peak, size
            peak += size
    return Residency(offsets, pinned, peak)


def _meeting(tensor: Tensor, places: Sequence[_Place]) -> list[tuple[int, int]]:
    """Starts and ends of the places of tensors that exist during one of this one's steps."""
    first, last = tensor.first, tensor.last
    return [(start, end) for begins, ends, start, end in places if begins <= last and first <= ends]


def _lowest(tensor: Tensor, placed: Sequence[_Place]) -> int:
    """The lowest offset at which a tensor overlaps none that lives at the same time."""
    offset = 0
    for start, end in sorted(_meeting(tensor, placed)):
        if start - offset >= tensor.size_bytes:
            break
        offset = max(offset, end)
    return offset
