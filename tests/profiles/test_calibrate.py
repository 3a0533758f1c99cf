import numpy as np
import pytest
from tests.profiles.model.made_up import records

from mnv3c.graph.errors import UserError
from mnv3c.profiles.calibrate import Request, calibrate
from mnv3c.profiles.model.intervals import ALL
from mnv3c.profiles.profile import Profile
from mnv3c.profiles.record import Record
from mnv3c.profiles.validate import validate
from mnv3c.profiles.work import NetworkWork, NodeWork


@pytest.fixture(scope="module")
def profile() -> Profile:
    return calibrate(records(150, noise=0.02), Request("made-up"))


def test_cross_validation_tells_the_error_on_new_rows(profile: Profile) -> None:
    assert profile.cross_validation is not None
    new = validate(profile, records(300, 8, 0.02)).metrics
    assert new.mape == pytest.approx(profile.cross_validation.mape, rel=0.35)
    assert new.coverage_90 == pytest.approx(90, abs=6)


def test_rows_that_were_fitted_are_held_out(profile: Profile) -> None:
    found = validate(profile, records(150, noise=0.02))
    assert found.seen.all()
    assert profile.cross_validation is not None
    assert found.metrics.mape == pytest.approx(profile.cross_validation.mape, rel=1e-6)
    mixed = validate(profile, (*records(150, noise=0.02), *records(20, 8, 0.02)))
    assert int(mixed.seen.sum()) == len(found.records)


def test_a_row_is_known_again_by_what_was_measured_not_by_its_file(profile: Profile) -> None:
    rows = records(150, noise=0.02)
    renamed = [row.model_copy(update={"device": "unknown", "source": "elsewhere.csv"}) for row in rows]
    slower = [row.model_copy(update={"latency_ms": row.latency_ms * 1.01}) for row in rows]
    assert validate(profile, renamed).seen.all()
    assert not validate(profile, slower).seen.any()
    with pytest.raises(UserError, match="was fitted to 1 of these rows, and they are too few"):
        validate(profile, [rows[0], slower[1]])
    # One of many that agrees to the last digit is a coincidence.
    assert not validate(profile, [rows[0], *slower[1:]]).seen.any()


def test_a_transferred_profile_is_cross_validated_with_its_prior(profile: Profile) -> None:
    few = records(12, 3, 0.01, factor=1.5)
    other = calibrate(few, Request("other", priors=(profile,)))
    found = validate(other, few)
    assert found.seen.all()
    assert other.cross_validation is not None
    assert found.metrics.mape == pytest.approx(other.cross_validation.mape, rel=1e-6)


def test_what_a_prior_has_seen_counts_as_seen(profile: Profile) -> None:
    few = records(4, 3)
    other = calibrate(few, Request("other", priors=(profile,)))
    alone = calibrate(few, Request("alone"))
    seen, known = other.ranges["block"], profile.ranges["block"]
    assert seen.joined(known) == seen
    assert seen.joined(alone.ranges["block"]) == seen
    assert alone.ranges["block"] != seen


def test_the_order_of_rows_changes_nothing() -> None:
    rows = records(40, noise=0.02)
    one, other = (calibrate(each, Request("x")) for each in (rows, rows[::-1]))
    assert one.intervals.ratios[ALL] == pytest.approx(other.intervals.ratios[ALL])
    new = records(50, 4)
    predicted = [validate(each, new).predictions.predicted for each in (one, other)]
    np.testing.assert_allclose(predicted[0], predicted[1], rtol=1e-6)


def changed(**values: object) -> tuple[Record, ...]:
    first, *rest = records(10)
    return (first.model_copy(update=values), *rest)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (records(2), "2 records are too few to fit anything to: at least 3"),
        (changed(device="another"), "the records are of 2 devices or runtimes .*another.*: choose one by --where"),
        (changed(threads=2), "the records are of 2 devices"),
        (tuple(row.model_copy(update={"processor": "abacus"}) for row in records(5)), "processor 'abacus': known are"),
        (records(1) * 5, "all 5 rows are of one shape"),
        (changed(work=NetworkWork("net")), "network 'net': nobody says its layers"),
        (changed(work=NodeWork("conv", "x")), "nobody says the shapes"),
    ],
)
def test_rows_that_cannot_be_fitted(rows: tuple[Record, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        calibrate(rows, Request("x"))
