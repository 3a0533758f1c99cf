"""NetAdapt's proposals: what can shrink, by how much, and what stays."""

import pytest

from mnv3c.graph.networks import mobilenet_v3
from mnv3c.graph.networks.options import NetworkOptions
from mnv3c.graph.networks.tables import LARGE, SMALL, Table, Variant
from mnv3c.search.architecture import Architecture
from mnv3c.search.proposals import Knob, knobs, proposals, width_of, with_width


def architecture(variant: Variant, resolution: int = 224) -> Architecture:
    return Architecture.of(NetworkOptions(variant=variant, resolution=resolution))


def macs(variant: Variant, table: Table) -> float:
    return architecture(variant).with_table(table).graph().total_macs / 1e6


@pytest.mark.parametrize("variant", ["large", "small"])
def test_the_table_makes_the_network_that_its_name_makes(variant: Variant) -> None:
    ours, built = architecture(variant).graph(), mobilenet_v3(variant, seed=None)
    assert (ours.nodes, ours.outputs, ours.name) == (built.nodes, built.outputs, built.name)


def test_knobs_of_small_by_hand() -> None:
    """Table 2: the first block does not expand, and residuals join blocks 2-3, 4-6, 7-8 and 9-11."""
    names = [knob.name for knob in knobs(SMALL)]
    assert names[:10] == [f"expansion of block {number}" for number in range(2, 12)]
    assert names[10:] == [
        "bottleneck of block 1",
        "bottleneck of blocks 2-3",
        "bottleneck of blocks 4-6",
        "bottleneck of blocks 7-8",
        "bottleneck of blocks 9-11",
    ]


def test_the_residual_of_larges_first_block_ties_the_stem() -> None:
    knob = next(knob for knob in knobs(LARGE) if knob.stem)
    assert (knob.kind, knob.blocks) == ("bottleneck", (0,))
    smaller = with_width(LARGE, knob, 8)
    assert (smaller.stem, smaller.blocks[0].expansion, smaller.blocks[0].out) == (8, 8, 8)


@pytest.mark.parametrize("variant", ["large", "small"])
def test_every_proposal_cuts_enough_and_keeps_every_layer(variant: Variant) -> None:
    table = architecture(variant).table
    before = macs(variant, table)
    names = {node.name for node in architecture(variant).graph().nodes}
    found = list(proposals(table, lambda each: macs(variant, each), 0.01 * before))

    assert {proposal.knob.kind for proposal in found} == {"expansion", "bottleneck"}
    for proposal in found:
        graph = architecture(variant).with_table(proposal.table).graph()
        assert proposal.latency_ms == graph.total_macs / 1e6 <= 0.99 * before
        # Residuals are nodes, and so are expansion convolutions.
        assert {node.name for node in graph.nodes} == names


def test_a_proposal_is_the_widest_that_cuts_enough() -> None:
    before = macs("large", LARGE)
    for proposal in proposals(LARGE, lambda each: macs("large", each), 0.01 * before):
        if proposal.width + 8 < width_of(LARGE, proposal.knob):
            wider = with_width(LARGE, proposal.knob, proposal.width + 8)
            assert before - macs("large", wider) < 0.01 * before


def test_a_bottleneck_shrinks_in_all_blocks_that_share_it() -> None:
    smaller = with_width(LARGE, Knob("bottleneck", (6, 7, 8, 9)), 72)
    assert [block.out for block in smaller.blocks[5:11]] == [40, 72, 72, 72, 72, 112]
    assert [block.expansion for block in smaller.blocks] == [block.expansion for block in LARGE.blocks]


def test_a_width_that_would_add_a_residual_is_passed_over() -> None:
    """112 of blocks 11-12 may not become the 80 of the blocks before, whose first has stride 1."""
    knob = Knob("bottleneck", (10, 11))
    assert with_width(LARGE, knob, 80) not in [
        proposal.table for proposal in proposals(LARGE, lambda table: float(table.blocks[10].out), 32.0)
    ]
    (proposal,) = proposals(LARGE, lambda table: float(table.blocks[10].out), 32.0)
    assert proposal.width == 72


def test_nothing_is_proposed_where_nothing_cuts_enough() -> None:
    assert list(proposals(SMALL, lambda table: 1.0, 0.01)) == []
