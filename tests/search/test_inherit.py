"""Weights taken over from a parent: which channels are kept, and that the function is, where nothing was cut."""

from dataclasses import replace

import numpy as np
import pytest

from mnv3c.graph.initialise import initialise
from mnv3c.graph.ir import Array, Graph
from mnv3c.graph.networks.options import NetworkOptions
from mnv3c.graph.reference import run
from mnv3c.search.architecture import Architecture
from mnv3c.search.proposals import Knob, knobs, with_width
from mnv3c.search.train.inherit import inherit

START = Architecture.of(NetworkOptions(variant="small", width=0.5, resolution=32, classes=10))
PARENT = initialise(START.graph(), 5)
# Block 5 expands 24 to 144 and has a squeeze-excite gate.
EXPANSION = Knob("expansion", (4,))


def shrunk(knob: Knob, width: int) -> Graph:
    return START.with_table(with_width(START.table, knob, width)).graph()


def outputs(graph: Graph) -> Array:
    image = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)
    return run(graph, image)["classifier"]


def with_values(graph: Graph, **changed: Array) -> Graph:
    return graph.rebuilt(graph.nodes, weights=dict(graph.weights) | changed)


def test_where_nothing_was_cut_all_weights_are_the_parents() -> None:
    child = inherit(START.graph(), PARENT, seed=9)
    assert child.weights.keys() == PARENT.weights.keys()
    for name, value in PARENT.weights.items():
        np.testing.assert_array_equal(child.weights[name], value)


def test_the_largest_channels_are_kept_in_order_by_all_who_share_them() -> None:
    name = "block5.expand"
    magnitudes = np.zeros(144)
    for part in ("expand", "depthwise"):
        norm = {role: PARENT.weights[f"block5.{part}.bn.{role}"] for role in ("gamma", "variance")}
        scale = norm["gamma"] / np.sqrt(norm["variance"] + 1e-3)
        magnitudes += np.square(PARENT.weights[f"block5.{part}.weight"] * scale).sum((0, 1, 2))
    kept = np.sort(np.argsort(-magnitudes)[:64])

    child = inherit(shrunk(EXPANSION, 64), PARENT, seed=9)

    old = PARENT.weights
    np.testing.assert_array_equal(child.weights[f"{name}.weight"], old[f"{name}.weight"][..., kept])
    np.testing.assert_array_equal(child.weights[f"{name}.bn.mean"], old[f"{name}.bn.mean"][kept])
    np.testing.assert_array_equal(child.weights["block5.depthwise.weight"], old["block5.depthwise.weight"][..., kept])
    np.testing.assert_array_equal(child.weights["block5.project.weight"], old["block5.project.weight"][:, :, kept])
    gate = child.weights["block5.se.expand.weight"]
    squeezed = gate.shape[2]
    assert squeezed < old["block5.se.expand.weight"].shape[2]
    columns = old["block5.se.expand.weight"][..., kept]
    assert all(any(np.array_equal(row, full) for full in columns[0, 0]) for row in gate[0, 0])


@pytest.mark.parametrize("knob", knobs(START.table), ids=lambda knob: knob.name)
def test_every_knob_gives_a_whole_network(knob: Knob) -> None:
    child = inherit(shrunk(knob, 8), PARENT, seed=1)
    assert np.isfinite(outputs(child)).all()
    for node in child.nodes:
        child.weights_of(node)


def test_cutting_channels_that_do_nothing_changes_nothing() -> None:
    """A block without a gate, so that no other width follows: channels of zeros go first, and nobody misses them."""
    plain = Architecture.of(NetworkOptions(variant="small", minimalistic=True, resolution=32, classes=10))
    parent = initialise(plain.graph(), 2)
    dead = np.arange(0, 240, 3)
    changed = {}
    for name in ("block5.expand.weight", "block5.depthwise.weight"):
        changed[name] = parent.weights[name].copy()
        changed[name][..., dead] = 0.0
    name = "block5.project.weight"
    changed[name] = parent.weights[name].copy()
    changed[name][:, :, dead] = 0.0
    parent = with_values(parent, **changed)
    smaller = plain.with_table(with_width(plain.table, Knob("expansion", (4,)), 160)).graph()

    np.testing.assert_allclose(outputs(inherit(smaller, parent, seed=3)), outputs(parent), rtol=1e-5, atol=1e-5)


def test_further_channels_and_other_kernels_are_initialised() -> None:
    blocks = list(START.table.blocks)
    blocks[4] = replace(blocks[4], expansion=160, kernel=3)
    wider = START.with_table(replace(START.table, blocks=tuple(blocks))).graph()
    fresh, child = initialise(wider, 7), inherit(wider, PARENT, seed=7)

    weight = child.weights["block5.expand.weight"]
    np.testing.assert_array_equal(weight[..., :144], PARENT.weights["block5.expand.weight"])
    np.testing.assert_array_equal(weight[..., 144:], fresh.weights["block5.expand.weight"][..., 144:])
    np.testing.assert_array_equal(child.weights["block5.depthwise.weight"], fresh.weights["block5.depthwise.weight"])
