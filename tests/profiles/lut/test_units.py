"""Networks as blocks and layers, and a unit as a network of its own."""

from random import Random

import pytest

from mnv3c.graph.layer import LayerKey, layer_key, layers
from mnv3c.graph.networks import mobilenet_v3
from mnv3c.graph.networks.tables import TABLES, Variant
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.profiles.block import Block
from mnv3c.profiles.lut.units import unit_graph, units_of_graph, units_of_layers
from mnv3c.search.space_file import find_space, shipped_spaces


@pytest.mark.parametrize("variant", ["large", "small"])
def test_the_papers_networks_are_their_tables_blocks(variant: Variant) -> None:
    graph = mobilenet_v3(variant, seed=None)
    units = units_of_graph(graph)
    blocks = [unit for unit in units if isinstance(unit, Block)]
    rows = TABLES[variant].blocks
    assert [(b.kernel, b.c_expand, b.c_out, b.se, b.activation, b.stride) for b in blocks] == [
        (row.kernel, row.expansion, row.out, row.se, row.activation.kind, row.stride) for row in rows
    ]
    fused = run_passes(graph, default_passes())
    assert [key for unit in units for key in unit.layer_keys()] == [layer_key(fused, node) for node in layers(fused)]
    # Stem, last, pool, head, classifier.
    assert len(units) == len(blocks) + 5


@pytest.mark.parametrize("name", sorted(shipped_spaces()))
def test_units_of_layers_finds_what_the_space_put_together(name: str) -> None:
    space, rng = find_space(name), Random(2)
    for _ in range(3):
        subnet, side = space.random(rng), rng.choice(space.resolutions)
        assert units_of_layers(space.layer_keys(subnet, side)) == space.units(subnet, side)


def test_what_is_no_block_stays_layers() -> None:
    keys = mobilenet_v3_keys()
    # A block without its projection: an expansion and a depthwise convolution.
    stem, *_ = keys
    cut = keys[3:5]
    assert [unit.kind for unit in units_of_layers([stem, *cut])] == ["layer"] * 3


def mobilenet_v3_keys() -> list[LayerKey]:
    fused = run_passes(mobilenet_v3("large", seed=None), default_passes())
    return [layer_key(fused, node) for node in layers(fused)]


@pytest.mark.parametrize("name", ["ofa-mbv3-w1.0", "netadapt-v3-small", "proxylessnas"])
def test_a_unit_as_a_network_has_its_layers(name: str) -> None:
    space = find_space(name)
    for unit in space.units(space.random(Random(5)), space.resolutions[0]):
        graph = unit_graph(unit)
        assert tuple(layer_key(graph, node) for node in layers(graph)) == unit.layer_keys()
        assert len(graph.outputs) == 1
