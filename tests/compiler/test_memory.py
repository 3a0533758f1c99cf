"""The memory plan: properties, brute force on tiny cases, and the networks' own figures."""

import itertools
from collections.abc import Callable, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv3c.compiler.assemble import assemble
from mnv3c.compiler.build import KernelJob
from mnv3c.compiler.layout import ALIGNMENT_BYTES
from mnv3c.compiler.lower import LoweredNetwork, lower
from mnv3c.compiler.memory import Lifetime, MemoryPlan, plan_memory
from mnv3c.compiler.program import Argument, Program, Region
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.networks.tables import Variant
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device

Assembled = tuple[LoweredNetwork, Program, MemoryPlan]
DEVICES = ("skylake-avx512", "haswell", "cortex-a76", "sifive-u74")


def aligned(size_bytes: int) -> int:
    return -(-size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


@st.composite
def lifetimes(draw: st.DrawFn) -> list[Lifetime]:
    count = draw(st.integers(0, 12))
    spans = [sorted(draw(st.tuples(st.integers(0, 10), st.integers(0, 10)))) for _ in range(count)]
    sizes = [draw(st.integers(1, 900)) for _ in range(count)]
    return [
        Lifetime(f"b{i}", size, first, last) for i, (size, (first, last)) in enumerate(zip(sizes, spans, strict=True))
    ]


def assert_sound(buffers: Sequence[Lifetime], plan: MemoryPlan) -> None:
    assert set(plan.offsets) == {buffer.name for buffer in buffers}
    for buffer in buffers:
        assert plan.offsets[buffer.name] % ALIGNMENT_BYTES == 0
        assert 0 <= plan.offsets[buffer.name] <= plan.peak_bytes - buffer.bytes
    for a, b in itertools.combinations(buffers, 2):
        if max(a.first, b.first) <= min(a.last, b.last):
            (low, size), (high, _) = sorted((plan.offsets[x.name], x.bytes) for x in (a, b))
            assert low + size <= high, f"{a} and {b} overlap"


@given(lifetimes())
@settings(max_examples=150, derandomize=True, deadline=None)
def test_live_buffers_never_overlap(buffers: list[Lifetime]) -> None:
    plan = plan_memory(buffers)
    assert_sound(buffers, plan)
    # The bound by its definition: the fullest moment.
    moments = [sum(aligned(b.bytes) for b in buffers if b.first <= t <= b.last) for t in range(11)]
    assert plan.lower_bound_bytes == max(moments)
    assert plan.lower_bound_bytes <= plan.peak_bytes <= sum(aligned(b.bytes) for b in buffers)


@given(lifetimes(), st.randoms(use_true_random=False))
@settings(max_examples=50, derandomize=True, deadline=None)
def test_the_plan_does_not_depend_on_the_order(buffers: list[Lifetime], random: Random) -> None:
    shuffled = list(buffers)
    random.shuffle(shuffled)
    assert plan_memory(shuffled) == plan_memory(buffers)


def best_peak(buffers: Sequence[Lifetime]) -> int:
    """The smallest peak over all orders of placing each buffer at the lowest place that is free.

    Every optimal plan can be pushed down to one of these.
    """
    peaks = []
    for order in itertools.permutations(buffers):
        placed: list[tuple[int, int, Lifetime]] = []
        for buffer in order:
            taken = [(start, end) for start, end, other in placed if buffer.overlaps(other)]
            starts = [0, *(end for _, end in taken)]
            size = aligned(buffer.bytes)
            start = min(s for s in starts if all(s + size <= low or s >= high for low, high in taken))
            placed.append((start, start + size, buffer))
        peaks.append(max(end for _, end, _ in placed))
    return min(peaks)


def random_lifetimes(random: Random, count: int, calls: int) -> list[Lifetime]:
    spans = [sorted(random.choices(range(calls), k=2)) for _ in range(count)]
    return [Lifetime(f"b{i}", random.randrange(1, 900), first, last) for i, (first, last) in enumerate(spans)]


def test_tiny_plans_are_mostly_the_best_there_is() -> None:
    random = Random(3)
    cases = [random_lifetimes(random, random.randrange(1, 6), 5) for _ in range(100)]
    plans, best = [plan_memory(case) for case in cases], [best_peak(case) for case in cases]
    for plan, peak in zip(plans, best, strict=True):
        assert plan.lower_bound_bytes <= peak <= plan.peak_bytes <= 1.25 * peak
    assert sum(plan.peak_bytes == peak for plan, peak in zip(plans, best, strict=True)) >= 90


def test_a_chain_needs_its_two_largest_neighbours() -> None:
    sizes = [640, 6400, 64, 1280, 2560]
    chain = [Lifetime(f"t{i}", size, i, i + 1) for i, size in enumerate(sizes)]
    plan = plan_memory(chain)
    assert plan.peak_bytes == plan.lower_bound_bytes == 640 + 6400


def test_nothing_takes_nothing() -> None:
    assert plan_memory([]) == MemoryPlan({}, 0, 0)


def assembled(variant: Variant, device_name: str) -> Assembled:
    device = find_device(device_name)
    target = load_target(device.target)
    network = lower(run_passes(mobilenet_v3(variant), default_passes()), target, device)
    symbols = [KernelJob.of(call.candidate, target.llvm_target(device)).symbol for call in network.calls]
    program, _, memory = assemble(network, symbols, network.graph.outputs, target, device)
    return network, program, memory


def test_the_networks_reach_their_lower_bounds(golden: Callable[[str, str], None]) -> None:
    rows = [f"{'network':8}{'device':16}{'calls':>6}{'peak_bytes':>12}{'lower_bound_bytes':>19}{'weights_bytes':>15}"]
    variants: tuple[Variant, ...] = ("large", "small")
    for variant, device in itertools.product(variants, DEVICES):
        _, program, memory = assembled(variant, device)
        assert program.arena_bytes == memory.peak_bytes
        figures = f"{memory.peak_bytes:12,}{memory.lower_bound_bytes:19,}{program.weights_bytes:15,}"
        rows.append(f"{variant:8}{device:16}{len(program.calls):6}{figures}")
    golden("memory.txt", "\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def large() -> Assembled:
    return assembled("large", "skylake-avx512")


def test_large_is_planned_without_waste(large: Assembled) -> None:
    _, _, memory = large
    assert memory.peak_bytes == memory.lower_bound_bytes


def overlap(a: Argument, b: Argument) -> bool:
    ends = [place.offset_bytes + 4 * place.elements for place in (a, b)]
    return a.region is b.region and ends[0] > b.offset_bytes and ends[1] > a.offset_bytes


def test_no_call_overwrites_what_is_still_to_be_read(large: Assembled) -> None:
    """Walk the program: what a call writes must not touch what it or a later call reads and was written before."""
    network, program, _ = large
    places: dict[str, Argument] = {}
    scratch: list[list[Argument]] = []
    for lowered, call in zip(network.calls, program.calls, strict=True):
        *inputs, output = [a for a in call.arguments if a.region is not Region.WEIGHTS]
        count = len(lowered.inputs)
        named = [*zip(lowered.inputs, inputs[:count], strict=True), (lowered.output, output)]
        for tensor, argument in named:
            assert places.setdefault(tensor.name, argument) == argument
        scratch.append(inputs[count:])
    written: set[str] = set()
    for now, lowered in enumerate(network.calls):
        fresh = [places[lowered.output.name], *scratch[now]]
        assert not any(overlap(a, b) for a, b in itertools.combinations(fresh, 2))
        for name in {tensor.name for call in network.calls[now:] for tensor in call.inputs} & written:
            assert not any(overlap(place, places[name]) for place in fresh), f"{lowered.layer} overwrites {name}"
        written.add(lowered.output.name)
