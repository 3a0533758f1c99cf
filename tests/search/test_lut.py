"""Tables made in networks: emulated and planned as a whole; kept, resumed, mixed with measurements."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from tests.search.test_space import TINY

from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph
from mnv3c.profiles.library import find_profile
from mnv3c.profiles.lut.table import Entry, Provenance, Table
from mnv3c.search.contexts import Cost, EmulatedLayers, entries_in_context, unit_costs
from mnv3c.search.latency import ProfileLatency
from mnv3c.search.lut import Request, emulated_table, mixed_table, predicted_table, units_of_space, widest
from mnv3c.search.processes import LocalProcesses
from mnv3c.search.space import Space
from mnv3c.search.space_file import find_space, load_space
from mnv3c.search.tabulated import TableLatency
from mnv3c.targets.edgetpu.settings import find_accelerator


@pytest.fixture
def tiny(tmp_path: Path) -> Space:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return load_space(path)


class Counting:
    """A judge by which every layer takes as many milliseconds as its name has letters, and that counts networks."""

    provenance: Provenance = "emulated"
    identity = "counting"
    correlation = 1.0

    def __init__(self, breaks_at: int = -1) -> None:
        self.judged, self.breaks_at = 0, breaks_at

    def costs(self, fused: Graph) -> dict[str, Cost]:
        if self.judged == self.breaks_at:
            raise KeyboardInterrupt
        self.judged += 1
        return {node.name: Cost(len(node.name), 1.0, 90.0, node.name != "stem") for node in fused.nodes}


def test_entries_are_sums_over_layers_and_means_over_networks(tiny: Space) -> None:
    entries = entries_in_context(tiny, (32,), Counting())
    found = {entry.unit: entry for entry in entries}
    assert list(found) == list(tiny.units_of_all(32))
    stem, classifier = entries[0], next(entry for entry in entries if str(entry.unit).startswith("dense"))
    assert (stem.p50_ms, stem.in_range, stem.provenance) == (4.0, False, "emulated")
    assert (classifier.p50_ms, classifier.in_range) == (10.0, True)
    # "block1.expand", "block1.depthwise", and so on: 82 letters in a block of 7 layers.
    names = ("expand", "depthwise", "se.pool", "se.reduce", "se.expand", "se.scale", "project")
    full = next(unit for unit in found if len(unit.layer_keys()) == len(names))
    assert found[full].p50_ms == sum(len(f"block1.{name}") for name in names)


def test_a_stopped_table_goes_on_and_is_the_same(tiny: Space, tmp_path: Path) -> None:
    store, whole = tmp_path / "networks.jsonl", Counting()
    wanted = entries_in_context(tiny, (32, 64), whole)
    assert whole.judged > 4
    with pytest.raises(KeyboardInterrupt):
        entries_in_context(tiny, (32, 64), Counting(3), store)
    # As a kill leaves it: a torn line.
    store.write_bytes(store.read_bytes() + b'{"version": 1, "spa')
    rest, heard = Counting(), list[int]()
    assert entries_in_context(tiny, (32, 64), rest, store, heard.append) == wanted
    assert rest.judged == whole.judged - 3
    assert heard == list(range(1, whole.judged + 1))
    again = Counting(0)
    assert entries_in_context(tiny, (32, 64), again, store) == wanted
    # As another version may have left it: another network of this number.
    first, *others = store.read_bytes().splitlines(keepends=True)
    document = json.loads(first)
    store.write_bytes(b"".join([json.dumps(document | {"costs": document["costs"][1:]}).encode() + b"\n", *others]))
    again = Counting()
    assert entries_in_context(tiny, (32, 64), again, store) == wanted and again.judged == 1
    # Another space of the same name is not taken for it.
    other = replace(tiny, classes=11)
    with pytest.raises(KeyboardInterrupt):
        entries_in_context(other, (32, 64), Counting(0), store)


def test_a_network_that_cannot_be_judged_is_named(tiny: Space, tmp_path: Path) -> None:
    class Refusing(Counting):
        def costs(self, fused: Graph) -> dict[str, Cost]:
            if self.judged == 2:
                raise UserError("layer 'x' is unknown")
            return super().costs(fused)

    store = tmp_path / "networks.jsonl"
    with pytest.raises(UserError, match=r"^space 'tiny', network 2 at 32: layer 'x' is unknown$"):
        entries_in_context(tiny, (32,), Refusing(), store)
    assert store.read_bytes().count(b"\n") == 2


def test_what_is_no_kept_network_is_an_error(tiny: Space, tmp_path: Path) -> None:
    store = tmp_path / "networks.jsonl"
    store.write_text('{"version": 1, "space": 3}\n')
    with pytest.raises(UserError, match=r"networks.jsonl:1: is not what mnv3c lut has kept"):
        entries_in_context(tiny, (32,), Counting(), store)


def test_an_emulated_table_is_near_whole_networks() -> None:
    space, device = find_space("proxylessnas"), find_accelerator("ethos-u65-512")
    table = emulated_table(Request(space, (96,)), device)
    assert table.counts == {"measured": 0, "predicted": 0, "emulated": len(space.units_of_all(96))}
    assert table.additivity is not None and table.additivity.whole == "emulated"
    assert table.additivity.mape < 5
    assert table.identity.runtime == "mnv3c emulator" and list(table.made_by) == ["emulated"]
    judge = EmulatedLayers(device)
    subnet = space.largest()
    costs = unit_costs(fused(space, subnet, 96), space.units(subnet, 96), judge)
    assert table.latency_ms(space.units(subnet, 96)) == pytest.approx(sum(cost.p50_ms for _, cost in costs), rel=0.1)


def fused(space: Space, subnet: object, side: int) -> Graph:
    from mnv3c.graph.passes.default import default_passes
    from mnv3c.graph.passes.pipeline import run_passes

    return run_passes(space.graph(subnet, side), default_passes())  # type: ignore[arg-type]


def test_a_table_of_compiled_kernels_is_near_whole_networks(tiny: Space) -> None:
    profile = find_profile("x86_64-sapphirerapids-mnv3c")
    table = predicted_table(Request(tiny, (64,)), profile)
    assert set(units_of_space(tiny, (64,))) == {entry.unit for entry in table.entries}
    whole = ProfileLatency(profile)
    for rng in map(Random, range(5)):
        subnet = tiny.random(rng)
        graph = tiny.graph(subnet, 64)
        assert TableLatency(table)(graph) == pytest.approx(whole(graph), rel=0.03)
    assert all(entry.low_ms < entry.p50_ms < entry.high_ms for entry in table.entries)
    assert predicted_table(Request(tiny, (64,), workers=LocalProcesses(2, worth_s=0.0)), profile) == table


@pytest.fixture(scope="module")
def predicted() -> Table:
    space = find_space("ofa-mbv3-w1.0")
    return predicted_table(Request(space, (128,)), find_profile("pixel4-cpu-tflite"))


def test_the_widest_entries_are_measured_first(predicted: Table) -> None:
    chosen = widest(predicted, 7)
    assert [entry.width_ms for entry in chosen] == sorted((e.width_ms for e in predicted.entries), reverse=True)[:7]
    assert len(widest(predicted, 10_000)) == len(predicted.entries)


def test_a_mixed_table_says_what_was_measured(predicted: Table) -> None:
    chosen = widest(predicted, 3)
    measured = {e.unit: Entry(e.unit, 1.0, 0.9, 1.1, "measured", e.resolutions, n=10, p90_ms=1.2) for e in chosen}
    mixed = mixed_table(predicted, measured, "by hand")
    assert mixed.counts == {"measured": 3, "predicted": len(predicted.entries) - 3, "emulated": 0}
    assert dict(mixed.made_by) == {"measured": "by hand", **predicted.made_by}
    assert mixed.entry(chosen[0].unit).p50_ms == 1.0 and mixed.additivity is None
    assert mixed_table(predicted, {}, "by hand") == predicted
