"""Tables as latencies for searches, and what NetAdapt needs of one."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from math import inf
from random import Random

import pytest

from mnv3c.graph.errors import UserError
from mnv3c.graph.networks.options import NetworkOptions
from mnv3c.graph.networks.tables import Table as NetworkTable
from mnv3c.graph.networks.tables import Variant
from mnv3c.profiles.library import find_profile
from mnv3c.profiles.lut.table import Table
from mnv3c.profiles.lut.units import units_of_graph
from mnv3c.search.architecture import Architecture
from mnv3c.search.lut import Request, predicted_table
from mnv3c.search.proposals import knobs, proposals, width_of
from mnv3c.search.space_file import find_space
from mnv3c.search.tabulated import TableLatency, netadapt_units


@pytest.fixture(scope="module")
def predicted() -> Table:
    space = find_space("ofa-mbv3-w1.0")
    return predicted_table(Request(space, (128,)), find_profile("pixel4-cpu-tflite"))


def test_a_table_is_a_latency_for_searches(predicted: Table) -> None:
    space = find_space("ofa-mbv3-w1.0")
    latency, subnet = TableLatency(predicted), space.random(Random(9))
    graph = space.graph(subnet, 128)
    assert latency(graph) == predicted.latency_ms(space.units(subnet, 128))
    assert latency.latency(graph).counts["predicted"] == len(space.units(subnet, 128))
    assert "ofa-mbv3-w1.0" in latency.identity and "pixel4" in latency.identity
    other = space.graph(subnet, 132)
    with pytest.raises(UserError, match="has no entry for"):
        latency(other)
    assert TableLatency(predicted, beyond_ms=inf)(other) == inf


def test_another_number_is_another_identity(predicted: Table) -> None:
    first, *others = predicted.entries
    changed = replace(predicted, entries=(replace(first, p50_ms=first.p50_ms * 1.01, high_ms=1e3), *others))
    assert TableLatency(changed).identity != TableLatency(predicted).identity
    assert TableLatency(replace(predicted)).identity == TableLatency(predicted).identity


@pytest.mark.parametrize(
    ("options", "divisor"),
    [
        (NetworkOptions(variant="small", width=0.35, resolution=32, classes=10), 8),
        (NetworkOptions(variant="large", width=0.5, resolution=64), 16),
        (NetworkOptions(variant="large", width=0.35, resolution=32, last_stage="original", stem_filters=32), 8),
    ],
    ids=["small", "large", "original"],
)
def test_every_network_of_a_search_has_the_units_that_netadapt_needs(options: NetworkOptions, divisor: int) -> None:
    start = Architecture.of(options)
    known = set(netadapt_units(start, divisor))
    for seed in range(4):
        for table in _walk(start.table, divisor, Random(seed)):
            assert known >= set(units_of_graph(start.with_table(table).graph()))


@pytest.mark.parametrize(("variant", "stems"), [("small", 0), ("large", 1)])
def test_a_table_of_a_shipped_space_lacks_no_more_than_other_stems(variant: Variant, stems: int) -> None:
    units = tuple(netadapt_units(Architecture.of(NetworkOptions(variant=variant)), 8))
    known = set(find_space(f"netadapt-v3-{variant}").units_of_all(224))
    missing = [str(unit) for unit in units if unit not in known]
    assert sum(text.startswith("conv2d") for text in missing) == stems
    assert all("c_in=8 " in text or text.startswith("conv2d 1x224x224x3->") for text in missing)


def test_units_of_a_small_divisor_are_not_all_made_at_once() -> None:
    units = netadapt_units(Architecture.of(NetworkOptions(variant="small", resolution=32)), 1)
    assert len(set(islice(units, 500))) == 500


def test_images_that_are_not_square_leave_the_networks_own_units() -> None:
    start = Architecture.of(NetworkOptions(variant="small", resolution=(32, 64)))
    assert tuple(netadapt_units(start, 8)) == tuple(dict.fromkeys(units_of_graph(start.graph())))


def _walk(table: NetworkTable, divisor: int, rng: Random) -> Iterator[NetworkTable]:
    """Proposals of one step after the other, each cut of which may be of any size."""
    for _ in range(12):
        least = rng.uniform(0.0, 0.3)
        found = list(proposals(table, _width, least * _width(table), divisor))
        if not found:
            return
        table = rng.choice(found).table
        yield table


def _width(table: NetworkTable) -> float:
    """The sum of all widths that can shrink, each by itself worth as much as the others."""
    return sum(width_of(table, knob) ** 0.5 for knob in knobs(table))
