"""What holds of every physics: non-negative terms, layers that do not disturb each other, tables that fit together."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.graph.test_layer import keys
from tests.profiles.networks import fused, networks
from tests.profiles.physics.layers_of_all_kinds import LAYERS, layer_of

from mnv3c.graph.layer import LayerKey
from mnv3c.profiles.layer_table import KINDS, LayerTable
from mnv3c.profiles.model.dataset import network_table
from mnv3c.profiles.physics.base import UNIT_GROUP, Physics
from mnv3c.profiles.physics.registry import make_physics, physics_kinds

ALL = [make_physics(kind, {}) for kind in physics_kinds()]
every_physics: Any = pytest.mark.parametrize("physics", ALL, ids=physics_kinds())


@every_physics
@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.lists(LAYERS | keys(), min_size=1, max_size=3), min_size=1, max_size=6))
def test_terms_are_finite_and_not_negative_and_layers_are_independent(
    physics: Physics, items: list[list[LayerKey]]
) -> None:
    if physics.unit == "layer":
        items = [[key] for keys_of_item in items for key in keys_of_item]
    table = LayerTable.of_items(items)
    terms, family, descriptors = physics.terms(table), physics.family(table), physics.descriptors(table)
    assert terms.shape == (len(table), len(physics.term_names))
    assert np.isfinite(terms).all() and (terms >= 0).all()
    assert np.isfinite(descriptors).all()
    assert ((family >= -1) & (family < len(physics.families))).all()
    alone = [LayerTable.of_items([item]) for item in items]
    np.testing.assert_array_equal(terms, np.concatenate([physics.terms(each) for each in alone]))
    np.testing.assert_array_equal(family, np.concatenate([physics.family(each) for each in alone]))
    np.testing.assert_array_equal(descriptors, np.concatenate([physics.descriptors(each) for each in alone]))


@every_physics
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_layer_costs_something(physics: Physics, kind: str) -> None:
    for size in (1, 7, 32):
        key = layer_of(kind, (size, size), 31, 33, (3, 3), (1, 1))
        assert physics.terms(LayerTable.of_items([[key]])).sum() > 0, str(key)


@every_physics
@pytest.mark.parametrize("name", ["large", "small", "minimalistic"])
def test_every_layer_of_a_network_costs_something(physics: Physics, name: str) -> None:
    _, found = fused(networks()[name])
    assert (physics.terms(network_table(found, physics.unit)).sum(1) > 0).all()


@every_physics
def test_what_is_said_of_terms_and_families_fits_together(physics: Physics) -> None:
    table = LayerTable.of_items([[layer_of("pointwise", (7, 7), 8, 8, (1, 1), (1, 1))]])
    assert len(set(physics.term_names)) == len(physics.term_names) == len(physics.groups) == len(physics.bounds)
    assert set(physics.group_deviations) == {*physics.groups, UNIT_GROUP}
    assert all(deviation > 0 for deviation in physics.group_deviations.values())
    for beliefs in (physics.beliefs, physics.ratio_beliefs):
        assert len(beliefs) == len(physics.families)
        assert all(len(belief.length) == physics.descriptors(table).shape[1] for belief in beliefs)
