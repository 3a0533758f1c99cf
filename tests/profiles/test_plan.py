"""Choosing what to measure: against brute force, on made-up pools, and on real phones."""

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv3c.graph.errors import MissingError, UserError
from mnv3c.profiles.block import Block
from mnv3c.profiles.layer_table import LayerTable
from mnv3c.profiles.model.model import Model
from mnv3c.profiles.physics.accelerator import AcceleratorPhysics
from mnv3c.profiles.physics.registry import physics_of
from mnv3c.profiles.plan import choose, fresh_features, transfer_features

from .shared_data import FOLDER, needs_shared_data

FEATURES = st.integers(0, 10**6).map(lambda seed: np.random.default_rng(seed).normal(size=(9, 3)))


def cost(features, chosen):
    """Mean over the pool of the root of the distance to the nearest chosen row."""
    return np.mean([min(np.linalg.norm(row - features[each]) ** 0.5 for each in chosen) for row in features])


def pool_of(blocks):
    return LayerTable.of_items([block.layer_keys() for block in blocks])


def block(h_in, c_expand, kernel, se=False):
    return Block(h_in, 24, 24, c_expand, kernel, 1, se=se, activation="relu", skip=True)


BLOCKS = [
    block(h_in, c_expand, kernel, se)
    for h_in, c_expand, kernel, se in itertools.product((7, 14, 28, 56), (48, 96, 144), (3, 5), (False, True))
]


@settings(deadline=None, derandomize=True)
@given(FEATURES, st.integers(1, 5))
def test_each_row_is_the_one_that_lowers_the_mean_cost_most(features, count):
    chosen = choose(features, count)
    for taken in range(count):
        costs = [cost(features, (*chosen[:taken], row)) for row in range(9) if row not in chosen[:taken]]
        assert cost(features, chosen[: taken + 1]) == pytest.approx(min(costs))


@settings(deadline=None, derandomize=True)
@given(FEATURES, st.integers(1, 4))
def test_the_greedy_choice_is_near_the_best_of_all(features, count):
    """What greedy gains over one row alone is 1 - 1/e of what the best gains, at least."""
    alone = cost(features, choose(features, 1))
    best = min(cost(features, chosen) for chosen in itertools.combinations(range(9), count))
    assert alone - cost(features, choose(features, count)) >= (1 - 1 / np.e) * (alone - best) - 1e-9


@settings(deadline=None, derandomize=True)
@given(FEATURES)
def test_a_longer_choice_begins_with_a_shorter_and_goes_on_from_what_was_measured(features):
    long = choose(features, 6)
    assert choose(features, 3) == long[:3]
    assert choose(features, 3, measured=long[:3]) == long[3:]
    assert len(set(long)) == 6


def test_one_row_of_each_cluster_is_chosen():
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    around = np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    features = (centres[:, None] + around).reshape(-1, 2)
    assert {row // 5 for row in choose(features, 3)} == {0, 1, 2}


def test_the_first_of_equal_rows_is_chosen():
    assert choose(np.ones((4, 2)), 3) == (0, 1, 2)


def test_an_unknown_known_precisely_does_not_decide():
    left, right = [[0.0, 30.0], [1.0, -30.0], [2.0, 30.0]], [[9.0, -30.0], [10.0, 30.0], [11.0, -30.0]]
    features = np.array(left + right)
    assert {row // 3 for row in choose(features, 2, np.array([1.0, 1e12]))} == {0, 1}
    assert {features[row, 1] for row in choose(features, 2)} == {30.0, -30.0}


@pytest.mark.parametrize(
    ("features", "options", "says"),
    [
        (np.ones((3, 2)), {"count": 4}, "4 rows cannot be chosen of 3"),
        (np.ones((3, 2)), {"count": 2, "measured": (0, 1)}, "2 rows cannot be chosen of 1"),
        (np.ones((3, 2)), {"count": 1, "measured": (3,)}, "no row 3 in a pool of 3"),
        (np.full((3, 2), np.nan), {"count": 1}, "finite"),
        (np.ones(3), {"count": 1}, "table"),
        (np.ones((3, 2)), {"count": 1, "prior_precision": 0.0}, "positive"),
        (np.ones((3, 2)), {"count": 1, "prior_precision": np.ones(3)}, "one positive number, or 2"),
    ],
)
def test_what_cannot_be_planned_is_refused(features, options, says):
    with pytest.raises(UserError, match=says):
        choose(features, **options)


def test_nothing_is_chosen_where_nothing_is_asked():
    assert choose(np.ones((2, 2)), 0) == ()
    assert choose(np.zeros((0, 2)), 0) == ()


def test_features_tell_units_apart_by_what_is_not_known_of_them():
    physics = AcceleratorPhysics()
    features = fresh_features(physics, pool_of([*BLOCKS, BLOCKS[0]]))
    assert len(features) == len(BLOCKS) + 1
    assert np.allclose(features[0], features[-1])
    distance = np.linalg.norm(features[:, None] - features[None], axis=2)
    like, unlike = BLOCKS.index(block(14, 96, 5)), BLOCKS.index(block(56, 144, 3, True))
    assert 0 < distance[BLOCKS.index(block(14, 96, 3)), like] < distance[like, unlike]


def test_a_plan_spreads_over_the_shapes():
    chosen = [BLOCKS[row] for row in choose(fresh_features(AcceleratorPhysics(), pool_of(BLOCKS)), 8)]
    assert {each.h_in for each in chosen} >= {7, 14, 28}
    assert {each.kernel for each in chosen} == {3, 5}
    assert {each.se for each in chosen} == {False, True}


def test_a_term_that_the_prior_does_without_does_not_tell_units_apart():
    physics = AcceleratorPhysics()
    only = np.array([1.0 if name == "depthwise" else 0.0 for name in physics.term_names])
    both = transfer_features(Model(physics, np.ones(len(only)), 1.0, ()), pool_of(BLOCKS))
    depthwise = transfer_features(Model(physics, only, 0.0, ()), pool_of(BLOCKS))
    groups = len(dict.fromkeys(physics.groups)) + 1
    shares = slice(0, groups + len(only) + 1)
    assert np.ptp(depthwise[:, shares], axis=0).max() == pytest.approx(0, abs=1e-9)
    assert np.ptp(both[:, shares], axis=0).max() > 0.01
    assert np.allclose(both[:, shares.stop :], depthwise[:, shares.stop :])


@pytest.fixture(scope="module")
def plan_curve():
    """The benchmark, which is a script: it imports what lies beside it."""
    folder = Path(__file__).parents[2] / "benchmarks"
    spec = importlib.util.spec_from_file_location("plan_curve", folder / "plan_curve.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        spec.loader.exec_module(module)
    return module


@needs_shared_data
def test_ten_planned_blocks_beat_ten_random_ones_both_ways(plan_curve, tmp_path):
    from mnv3c.profiles.model.fit import fit

    blocks = {
        phone: plan_curve.blocks_of(FOLDER / f"blocks_{phone}_cpu_tflite_fp32.csv") for phone in plan_curve.PHONES
    }
    points = []
    for prior, device in (plan_curve.PHONES, plan_curve.PHONES[::-1]):
        model = fit(blocks[prior], physics_of("cpu"))
        points += plan_curve.curve(prior, device, model, blocks[device], (10,), seeds=20)
    for point in points:
        assert len(point.random_mape) == 20
        assert point.planned_mape < point.random_median
    plan_curve.draw(points, tmp_path / "plan.svg")
    assert (tmp_path / "plan.svg").read_text().startswith("<?xml")


def test_absent_tables_are_named(plan_curve, tmp_path):
    with pytest.raises(MissingError, match=r"blocks_pixel4_cpu_tflite_fp32\.csv: the public measurements are absent"):
        plan_curve.plan_curve(output=tmp_path / "plan.svg", data=tmp_path)
    with pytest.raises(UserError, match="--rows: numbers above 0"):
        plan_curve.plan_curve(rows="3,x", output=tmp_path / "plan.svg", data=tmp_path)
