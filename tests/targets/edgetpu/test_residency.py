"""What stays in the SRAM, and where."""

import random
from itertools import combinations

from tests.targets.edgetpu.random_machines import random_network

from mnv3c.targets.edgetpu.residency import Residency, residency, tensors
from mnv3c.targets.edgetpu.work import Job


def overlaps(jobs: tuple[Job, ...], outputs: tuple[str, ...], held: Residency) -> list[tuple[str, str]]:
    """Pairs that exist at the same time in the same bytes; pinned weights always exist."""
    places = [
        (t.name, t.first, t.last, held.offsets[t.name], t.size_bytes)
        for t in tensors(jobs, outputs)
        if t.name in held.offsets
    ]
    places += [(name, 0, len(jobs), held.offsets[f"{name}.weight"], size) for name, size in held.pinned_bytes.items()]
    return [
        (a[0], b[0])
        for a, b in combinations(places, 2)
        if a[1] <= b[2] and b[1] <= a[2] and a[3] < b[3] + b[4] and b[3] < a[3] + a[4]
    ]


def test_nothing_overlaps_and_more_capacity_keeps_all_at_its_place() -> None:
    kept = 0
    for seed in range(300):
        jobs, outputs = random_network(seed)
        capacities = sorted(random.Random(seed).randrange(20_000) for _ in range(4))
        before: Residency | None = None
        for capacity in (*capacities, None):
            held = residency(jobs, outputs, capacity, pins_weights=True)
            assert overlaps(jobs, outputs, held) == [], seed
            assert capacity is None or held.peak_bytes <= capacity, seed
            assert all(name not in held.offsets for name in (*outputs, "input")), seed
            if before is not None:
                activations = {name: at for name, at in before.offsets.items() if not name.endswith(".weight")}
                assert activations.items() <= held.offsets.items(), seed
                assert all(held.pinned_bytes.get(name, 0) >= size for name, size in before.pinned_bytes.items()), seed
            before = held
            kept += len(held.offsets)
        assert before is not None
        assert set(before.pinned_bytes) == {job.name for job in jobs if job.weight_bytes}, seed
    assert kept > 1000


def test_weights_are_pinned_only_where_allowed_and_after_all_activations() -> None:
    jobs, outputs = next(
        found for found in map(random_network, range(50)) if len(found[0]) > 4 and found[0][-1].weight_bytes
    )
    all_of = residency(jobs, outputs, None, pins_weights=False)
    assert not all_of.pinned_bytes
    some = residency(jobs, outputs, all_of.peak_bytes + 5, pins_weights=True)
    assert sum(some.pinned_bytes.values()) == 5
    assert not residency(jobs, outputs, all_of.peak_bytes - 1, pins_weights=True).pinned_bytes
