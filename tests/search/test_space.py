"""Spaces: what their networks are, and that every unit and layer of them is enumerated, exactly."""

from itertools import product
from pathlib import Path
from random import Random

import pytest
import yaml

from mnv3c.graph.errors import UserError
from mnv3c.graph.layer import layer_key, layers
from mnv3c.graph.networks import mobilenet_v3
from mnv3c.graph.networks.tables import Variant
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.search.cover import covering
from mnv3c.search.space import BlockChoice, Space, StageChoice, Subnet
from mnv3c.search.space_file import find_space, load_space, shipped_spaces

TINY = """
name: tiny
title: "two stages"
source: "made up"
resolutions: [32, 64]
stem: {channels: 8, activation: hswish}
stages:
  - {channels: [8, 16], depth: [1, 2], kernel: [3, 5], expansion: [16, 24], stride: 2, se: true, activation: relu}
  - channels: {from: 8, to: 24, step: 8}
    stride: 1
    se: false
    activation: hswish
    blocks:
      - {kernel: 3, expand: [1, 2.5]}
      - {kernel: 7, expansion: 40}
before_pool: [{name: last, channels: 32, activation: hswish}]
after_pool: [{name: head, channels: 64, activation: hswish}]
classes: 10
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Space:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return load_space(path)


def all_networks(space: Space) -> set[Subnet]:
    """Every network, by brute force."""
    found = {(space.stem_channels, Subnet(()))}
    for stage in space.stages:
        longer = set()
        for (c_in, subnet), channels, depth in product(found, stage.channels, stage.depths):
            widths = [c_in, *[channels] * (depth - 1)]
            choices = [
                [BlockChoice(kernel, width) for kernel in block.kernels for width in block.expansions(before)]
                for block, before in zip(stage.blocks, widths, strict=False)
            ]
            for blocks in product(*choices):
                longer.add((channels, Subnet((*subnet.stages, StageChoice(channels, blocks)))))
        found = longer
    return {subnet for _, subnet in found}


def test_size_units_and_layers_are_those_of_all_networks(tiny: Space) -> None:
    networks = all_networks(tiny)
    assert tiny.size == len(networks)
    for side in tiny.resolutions:
        units = tiny.units_of_all(side)
        assert len(set(units)) == len(units)
        assert set(units) == {unit for subnet in networks for unit in tiny.units(subnet, side)}
    keys = tiny.layers()
    assert len(set(keys)) == len(keys)
    both = {key for subnet in networks for side in tiny.resolutions for key in tiny.layer_keys(subnet, side)}
    assert set(keys) == both


def test_random_networks_are_of_the_space(tiny: Space) -> None:
    networks = all_networks(tiny)
    drawn = {tiny.random(rng) for rng in map(Random, range(400))}
    assert drawn <= networks and len(drawn) > 60
    assert tiny.random(Random(3)) == tiny.random(Random(3))
    assert tiny.largest() in networks and tiny.smallest() in networks


@pytest.mark.parametrize("name", sorted(shipped_spaces()))
def test_units_are_the_layers_of_the_graph(name: str) -> None:
    space, rng = find_space(name), Random(1)
    for _ in range(2):
        subnet, side = space.random(rng), rng.choice(space.resolutions)
        fused = run_passes(space.graph(subnet, side), default_passes())
        assert tuple(layer_key(fused, node) for node in layers(fused)) == space.layer_keys(subnet, side)


@pytest.mark.parametrize("variant", ["large", "small"])
def test_the_netadapt_space_begins_with_the_papers_network(variant: Variant) -> None:
    space = find_space(f"netadapt-v3-{variant}")
    ours, paper = space.graph(space.largest(), 224), mobilenet_v3(variant, seed=None)
    assert ours.nodes == paper.nodes and ours.outputs == paper.outputs


def test_the_space_of_once_for_all_is_as_large_as_published() -> None:
    # "more than 10^19": ((3 x 3)^2 + (3 x 3)^3 + (3 x 3)^4)^5, section 3.2 of the paper.
    space = find_space("ofa-mbv3-w1.0")
    assert space.size == (9**2 + 9**3 + 9**4) ** 5
    assert space.resolutions == tuple(range(128, 225, 4))
    widths = [stage.channels[0] for stage in find_space("ofa-mbv3-w1.2").stages]
    assert widths == [24, 32, 48, 96, 136, 192]


@pytest.mark.parametrize("name", ["ofa-mbv3-w1.0", "proxylessnas"])
def test_a_cover_has_every_block_in_few_networks(name: str) -> None:
    space = find_space(name)
    side = space.resolutions[-1]
    networks = list(covering(space, side))
    assert networks == list(covering(space, side))
    for subnet in networks:
        space.require(subnet)
    assert {unit for subnet in networks for unit in space.units(subnet, side)} == set(space.units_of_all(side))
    # A stage's second to fourth blocks are alike, so the 9 choices of the first decide.
    assert len(networks) <= 12


def test_a_cover_of_widths_that_depend_on_each_other(tiny: Space) -> None:
    networks = list(covering(tiny, 64))
    assert {unit for subnet in networks for unit in tiny.units(subnet, 64)} == set(tiny.units_of_all(64))


def test_networks_of_other_spaces_are_refused(tiny: Space) -> None:
    one = tiny.largest()
    stage = one.stages[0]
    wrong = Subnet((StageChoice(stage.channels, (BlockChoice(7, 24), *stage.blocks[1:])), *one.stages[1:]))
    with pytest.raises(UserError, match="space 'tiny', stage 1, block 1: kernel is one of 3, 5, not 7"):
        tiny.graph(wrong, 64)
    with pytest.raises(UserError, match="has 2 stages, not 1"):
        tiny.require(Subnet(one.stages[:1]))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("classes", 0, "classes: should be greater than or equal to 1, not '0'"),
        ("colour", 1, "colour: unknown key; allowed: name, title"),
        ("resolutions", {"from": 128, "to": 224, "step": 5}, "resolutions: a range is"),
        ("resolutions", [64, 32], "resolutions: choices are written in ascending order"),
        ("stages", [], "stages: "),
        ("name", "Two Words", "name: "),
    ],
)
def test_files_that_are_no_space(tmp_path: Path, key: str, value: object, message: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(TINY) | {key: value}))
    with pytest.raises(UserError) as caught:
        load_space(path)
    assert f"{path}: {message}" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": [4]}, "stages.0.kernel: a kernel is odd, not '4'"),
        ({"expand": [3]}, "stages.0: a stage has either expand"),
        ({"stride": 3}, "stages.0.stride: "),
        ({"blocks": [{"kernel": 3, "expand": 3}]}, "stages.0: a stage has either blocks"),
        ({"depth": None}, "stages.0: a stage without blocks has depth"),
        ({"activation": "gelu"}, "stages.0.activation: "),
    ],
)
def test_stages_that_are_none(tmp_path: Path, change: dict[str, object], message: str) -> None:
    document = yaml.safe_load(TINY)
    document["stages"][0] |= change
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(UserError) as caught:
        load_space(path)
    assert str(caught.value).startswith(f"{path}: {message}"), str(caught.value)


def test_unknown_spaces_name_those_there_are() -> None:
    with pytest.raises(UserError, match=r"unknown space 'ofa': a space is a .yaml file or one of netadapt-v3-large"):
        find_space("ofa")
