"""Layers and groups of layers as the tuner sees them: their names in records, their tensors, their parts."""

import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from mnv3c import targets
from mnv3c.compiler.cache import content_key, source_fingerprint
from mnv3c.compiler.tune.record import choice_text
from mnv3c.graph.layer import LayerKey
from mnv3c.graph.ops import Conv2d
from mnv3c.graph.tensor import TensorType
from mnv3c.targets.target import BorderWork, Candidate, GroupWork, LayerWork, Storage

HASH_DIGITS = 16
Work = LayerWork | GroupWork
# A layer or group in records: the text of its key, and how each of its inputs is stored.
WorkKey = tuple[str, tuple[Storage, ...]]


@dataclass(frozen=True)
class Given:
    """A tensor that comes from outside, and how it is stored."""

    type: TensorType
    storage: Storage


def work_key(work: Work) -> WorkKey:
    """How records name a layer or a group.

    A layer has the text of its `graph.layer.LayerKey`, and ` weights=fp16` where its weight is stored so. A group has
    those of its parts, joined by ` | `, and where a part does not simply read the one before it, `from=` with the
    sources of every part (see `GroupWork`), as `from=-1/0/1,-1`.
    """
    storage = tuple(given.storage for given in given_tensors(work))
    if isinstance(work, LayerWork):
        return _layer_text(work), storage
    text = " | ".join(map(_layer_text, work.parts))
    if work.sources != ((-1,), *((part - 1,) for part in range(1, len(work.parts)))):
        text += " from=" + "/".join(",".join(map(str, sources)) for sources in work.sources)
    return text, storage


def parts_of(work: Work) -> tuple[LayerWork, ...]:
    """The layers, in order."""
    return work.parts if isinstance(work, GroupWork) else (work,)


def sources_of(work: Work) -> tuple[tuple[int, ...], ...]:
    """For each part where its inputs come from, as in `GroupWork`."""
    return work.sources if isinstance(work, GroupWork) else (tuple(-1 - n for n in range(len(work.inputs))),)


def given_tensors(work: Work) -> tuple[Given, ...]:
    """The tensors from outside, in the kernel's order."""
    found: dict[int, Given] = {}
    for part, sources in zip(parts_of(work), sources_of(work), strict=True):
        for tensor, storage, source in zip(part.inputs, part.storage, sources, strict=True):
            if source < 0:
                found.setdefault(-1 - source, Given(tensor, storage))
    return tuple(found[index] for index in sorted(found))


def output_of(work: Work) -> TensorType:
    """The output's type."""
    return parts_of(work)[-1].output


def border_works(work: Work) -> tuple[BorderWork | None, ...]:
    """Conversions from NHWC of each input that the target stores, None for the others, and back of the output."""
    inputs = (
        BorderWork(given.type, "NHWC", "in") if given.storage == "target" else None for given in given_tensors(work)
    )
    return (*inputs, BorderWork(output_of(work), "NHWC", "out"))


def macs_of(work: Work) -> int:
    """Multiply-accumulates of one call."""
    return sum(part.op.macs(part.inputs) for part in parts_of(work))


def splits(work: Work) -> Iterator[tuple[Work, Work]]:
    """The ways to compute a group as two kernels, each of one layer or a smaller group."""
    if isinstance(work, GroupWork):
        for at in range(1, len(work.parts)):
            yield _section(work, 0, at), _section(work, at, len(work.parts))


def candidate_name(candidate: Candidate) -> str:
    """A candidate in records: its family and parameters."""
    return choice_text(candidate.family, dict(candidate.parameters))


@lru_cache
def kernels_fingerprint() -> str:
    """Fingerprint of the sources that generate kernels, of all targets: a layer may have candidates from several."""
    folders = (name for _, name, package in pkgutil.iter_modules(targets.__path__, f"{targets.__name__}.") if package)
    return content_key(*(source_fingerprint(name) for name in sorted(folders)))[:HASH_DIGITS]


def _layer_text(work: LayerWork) -> str:
    op = work.op
    # As in `graph.layer.layer_key`: without an activation both orders are the same work.
    if isinstance(op, Conv2d) and op.residual and op.activation is None:
        op = replace(op, residual="before_activation")
    text = str(LayerKey(op, work.inputs))
    return text if work.weights == "fp32" else f"{text} weights={work.weights}"


def _section(work: GroupWork, first: int, end: int) -> Work:
    """The parts `first` to `end` - 1 as a work of their own; what they read from the rest comes from outside."""
    if end - first == 1:
        return work.parts[first]
    outside: dict[int, int] = {}

    def source(number: int) -> int:
        return number - first if first <= number else -1 - outside.setdefault(number, len(outside))

    sources = tuple(tuple(map(source, each)) for each in work.sources[first:end])
    return GroupWork(work.parts[first:end], sources)
