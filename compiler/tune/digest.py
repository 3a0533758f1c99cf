"""The few records that choosing needs, for a file that is shipped with the package."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from mnv3c.compiler.tune.choice import close_in_cycles, close_in_time, estimates, scores, within_doubt
from mnv3c.compiler.tune.record import Record
from mnv3c.compiler.tune.store import merge_records

_DECIMALS = 6  # of a microsecond: a thousand times what a record has, so that no choice changes


def best_records(records: Iterable[Record]) -> tuple[Record, ...]:
    """Of each layer what a choice by all of its records would come from, sorted by key.

    1. Of each layer, device, number of threads and basis only the records by one state of the kernels' sources count,
       those of the newest record.
    2. Measured candidates that noise cannot tell from the fastest stay: which of them is chosen, the family's order
       decides. So does the candidate that they took turns with.
    3. Estimated candidates that tie with the least cycles stay.
    4. Failed candidates stay: they are never to be taken.

    Times that stay are brought to the scale that `choice.scores` gives all of the layer's records, which otherwise
    would be lost with the records that go: layers and groups compare as before.
    """
    layers: dict[tuple[object, ...], list[Record]] = defaultdict(list)
    for record in merge_records([records]):
        layers[_question(record)].append(record)
    kept = [record for group in layers.values() for record in _of_layer(_newest_sources(group))]
    return merge_records([kept])


def _question(record: Record) -> tuple[object, ...]:
    """What a record helps to answer; records of one question compete."""
    here = (record.target, record.device_class, record.device_fingerprint, record.threads)
    return (record.layer, record.storage, *here, record.basis, record.model)


def _newest_sources(group: Sequence[Record]) -> list[Record]:
    newest = max(group, key=lambda record: (record.when, record.kernels))
    return [record for record in group if record.kernels == newest.kernels]


def _of_layer(group: Sequence[Record]) -> list[Record]:
    failed = [record for record in group if record.status != "ok"]
    known = scores(group)
    # Any of those within doubt is chosen where it is a device's first guess.
    names = set(close_in_time(known) | within_doubt(known) | close_in_cycles(estimates(group)))
    names |= {record.baseline for record in group if record.candidate in names}
    good = [record for record in group if record.status == "ok" and record.candidate in names]
    kept = (_scaled(record, known[record.candidate].latency_us) if record.ratio else record for record in good)
    return [*failed, *kept]


def _scaled(record: Record, latency_us: float) -> Record:
    """The record as if the machine had been as fast as it mostly was."""
    assert record.median_us is not None and record.min_us is not None and record.ratio is not None
    drift = latency_us / record.median_us
    times = {"median_us": latency_us, "min_us": drift * record.min_us, "baseline_us": latency_us / record.ratio}
    rounded = {name: round(value, _DECIMALS) for name, value in times.items()}
    return record.model_copy(update=rounded)
