"""The figures against their definitions, written out over pairs of rows."""

import itertools
import json
import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv3c.graph.errors import UserError
from mnv3c.profiles.metrics import Metrics, Predictions, metrics_by_group, worst_rows

# Few different values, so that ties are common.
LATENCIES = st.one_of(st.sampled_from([1.0, 1.1, 2.0, 3.0]), st.floats(1e-3, 1e3))
PAIRS = st.lists(st.tuples(LATENCIES, LATENCIES), min_size=1, max_size=12)


def predictions(pairs, width=None):
    measured, predicted = (np.array(column, float) for column in zip(*pairs, strict=True))
    if width is None:
        return Predictions(measured, predicted)
    return Predictions(measured, predicted, predicted / width, predicted * width)


def ranks(values):
    """Average ranks: as many as are smaller, and half of those that are equal."""
    return [sum(b < a for b in values) + sum(b == a for b in values) / 2 for a in values]


def pearson(a, b):
    mean_a, mean_b = math.fsum(a) / len(a), math.fsum(b) / len(b)
    covariance = math.fsum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    return covariance / math.sqrt(math.fsum((x - mean_a) ** 2 for x in a) * math.fsum((y - mean_b) ** 2 for y in b))


def tau_b(a, b):
    signs = [(np.sign(a[i] - a[j]), np.sign(b[i] - b[j])) for i, j in itertools.combinations(range(len(a)), 2)]
    untied = sum(x != 0 for x, _ in signs) * sum(y != 0 for _, y in signs)
    return sum(x * y for x, y in signs) / math.sqrt(untied)


@settings(deadline=None, derandomize=True)
@given(PAIRS)
def test_the_errors_are_what_their_names_say(pairs):
    metrics = Metrics.of(predictions(pairs))
    errors = [predicted / measured - 1 for measured, predicted in pairs]
    assert metrics.n == len(pairs)
    assert metrics.mape == pytest.approx(100 * sum(map(abs, errors)) / len(errors))
    assert metrics.rmspe == pytest.approx(100 * math.sqrt(sum(e * e for e in errors) / len(errors)))
    assert metrics.bias == pytest.approx(100 * sum(errors) / len(errors), abs=1e-9)
    assert metrics.within_5 == pytest.approx(100 * sum(round(abs(e), 9) <= 0.05 for e in errors) / len(errors))
    assert metrics.within_10 == pytest.approx(100 * sum(round(abs(e), 9) <= 0.10 for e in errors) / len(errors))


@settings(deadline=None, derandomize=True)
@given(PAIRS)
def test_the_correlations_count_pairs_and_ties(pairs):
    metrics = Metrics.of(predictions(pairs))
    measured, predicted = zip(*pairs, strict=True)
    if len(set(measured)) == 1 or len(set(predicted)) == 1:
        assert (metrics.spearman, metrics.kendall) == (None, None)
        return
    assert metrics.spearman == pytest.approx(pearson(ranks(measured), ranks(predicted)))
    assert metrics.kendall == pytest.approx(tau_b(measured, predicted))


def test_ten_percent_of_decimal_numbers_is_within_ten_percent():
    metrics = Metrics.of(predictions([(1.0, 1.1), (1.0, 0.95), (1.0, 1.1001)]))
    assert (metrics.within_5, metrics.within_10) == (pytest.approx(100 / 3), pytest.approx(200 / 3))


def test_coverage_counts_measurements_inside_their_own_interval():
    pairs = [(1.0, 1.0), (1.2, 1.0), (1.21, 1.0), (0.5, 1.0)]
    assert Metrics.of(predictions(pairs, width=1.2)).coverage_90 == 50
    assert Metrics.of(predictions(pairs)).coverage_90 is None


@pytest.mark.parametrize("count", [0, 1])
def test_undefined_figures_are_null_and_never_nan(count):
    metrics = Metrics.of(Predictions(np.ones(count), np.full(count, 2.0)))
    text = json.dumps(metrics.as_json(), allow_nan=False)
    assert json.loads(text)["spearman"] is None
    assert (metrics.mape is None) == (count == 0)
    assert list(json.loads(text)) == [field.name for field in fields(Metrics)]
    assert "None" not in str(metrics)


def test_json_carries_the_names_that_other_tools_rely_on():
    names = ["n", "mape", "rmspe", "within_5", "within_10", "spearman", "kendall", "bias", "coverage_90"]
    assert list(Metrics.of(predictions([(1.0, 2.0), (2.0, 3.0)])).as_json()) == names


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(LATENCIES, LATENCIES, st.sampled_from(["pointwise", "depthwise", "se"])), min_size=1))
def test_groups_part_the_rows(rows):
    groups = [group for *_, group in rows]
    split = metrics_by_group(groups, predictions([row[:2] for row in rows], width=1.3))
    assert list(split) == sorted(set(groups))
    for name, metrics in split.items():
        assert metrics == Metrics.of(predictions([row[:2] for row in rows if row[2] == name], width=1.3))


@settings(deadline=None, derandomize=True)
@given(PAIRS, st.integers(0, 15))
def test_the_worst_rows_are_off_by_the_largest_factor(pairs, count):
    rows = worst_rows(predictions(pairs), count)
    factor = [abs(math.log(predicted / measured)) for measured, predicted in pairs]
    assert len(rows) == min(count, len(pairs))
    assert [factor[row] for row in rows] == pytest.approx(sorted(factor, reverse=True)[:count])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (([1.0, 2.0], [1.0]), r"predicted has shape \(1,\), measured \(2,\)"),
        (([1.0, 0.0], [1.0, 1.0]), "measured must be positive and finite, row 1 is 0"),
        (([1.0], [math.nan]), "predicted must be positive and finite, row 0 is nan"),
        (([1.0], [1.0], [0.5]), "needs both low and high"),
        (([1.0], [1.0], [0.5], [1.0, 2.0]), r"high has shape \(2,\)"),
    ],
)
def test_wrong_predictions_are_refused_by_name(arguments, says):
    with pytest.raises(UserError, match=says):
        Predictions(*map(np.array, arguments))


def test_groups_must_match_the_rows():
    with pytest.raises(UserError, match="1 groups for 2 predictions"):
        metrics_by_group(["a"], predictions([(1.0, 1.0), (2.0, 2.0)]))
