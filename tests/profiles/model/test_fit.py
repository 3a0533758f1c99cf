from dataclasses import replace

import numpy as np
import pytest
from tests.profiles.model.made_up import BLOCK_MS, COEFFICIENTS, records

from mnv3c.graph.errors import UserError
from mnv3c.profiles.model.crossval import folds, held_out, item_ms
from mnv3c.profiles.model.dataset import dataset_of
from mnv3c.profiles.model.fit import fit
from mnv3c.profiles.physics.accelerator import AcceleratorPhysics

PHYSICS = AcceleratorPhysics()


def test_exact_rows_are_explained_by_physics() -> None:
    data = dataset_of(records(200), "block")
    model = fit(data, PHYSICS)
    # Terms that go together trade places within what is believed of the residual; their sum does not.
    np.testing.assert_allclose(model.physical(data.table).unit_ms, data.latency_ms, rtol=0.08)
    np.testing.assert_allclose(model.coefficients, COEFFICIENTS, rtol=0.5)
    assert model.unit_coefficient * PHYSICS.unit_ms == pytest.approx(BLOCK_MS, rel=0.1)


def test_held_out_rows_are_predicted_as_well_as_the_noise_allows() -> None:
    data = dataset_of(records(200, noise=0.01), "block")
    errors = np.abs(held_out(data, PHYSICS) / data.latency_ms - 1)
    assert 0.004 < errors.mean() < 0.02


def test_five_rows_and_a_prior_beat_five_rows_alone() -> None:
    prior = fit(dataset_of(records(200), "block"), PHYSICS)
    few, many = (dataset_of(records(n, seed, 0.01, factor=1.7), "block") for n, seed in ((5, 5), (300, 6)))
    transferred = fit(few, PHYSICS, [prior])
    assert transferred.priors == (prior,)
    with_prior, alone = (
        float(np.abs(item_ms(model, many) / many.latency_ms - 1).mean()) for model in (transferred, fit(few, PHYSICS))
    )
    assert with_prior < 0.03 < alone


def test_priors_that_differ_leave_the_rows_more_say() -> None:
    right = fit(dataset_of(records(200), "block"), PHYSICS)
    # An array twice as fast beside the same memory.
    faster = replace(right, coefficients=right.coefficients * np.array([0.5, 0.5, 1, 1, 1, 1]))
    few, many = (dataset_of(records(n, seed, 0.01), "block") for n, seed in ((10, 7), (300, 8)))
    model = fit(few, PHYSICS, [right, faster])
    assert float(np.abs(item_ms(model, many) / many.latency_ms - 1).mean()) < 0.03


def test_a_prior_of_another_kind_is_refused() -> None:
    class Other(AcceleratorPhysics):
        name = "other"

    data = dataset_of(records(20), "block")
    prior = replace(fit(data, PHYSICS), physics=Other())
    with pytest.raises(UserError, match="a prior of the kind other says nothing about the kind accelerator"):
        fit(data, PHYSICS, [prior])


def test_folds_keep_groups_together_whatever_the_order() -> None:
    groups = [f"shape {index % 37}" for index in range(300)]
    found = folds(groups)
    assert len(set(found)) == 10
    for name in set(groups):
        assert len({fold for fold, group in zip(found, groups, strict=True) if group == name}) == 1
    np.testing.assert_array_equal(found[::-1], folds(groups[::-1]))
    assert len(set(folds(groups[:12]))) == 12


def test_a_row_held_out_does_not_know_itself() -> None:
    rows = list(records(60))
    rows[0] = rows[0].model_copy(update={"latency_ms": rows[0].latency_ms * 3})
    data = dataset_of(rows, "block")
    assert data.latency_ms[0] / held_out(data, PHYSICS)[0] > 2


def test_no_records_are_refused() -> None:
    with pytest.raises(UserError, match="no records"):
        dataset_of([], "block")
