"""The pictures of predictions: what is drawn where, named how, written whole."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from mnv3c.graph.errors import UserError
from mnv3c.profiles.metrics import Predictions
from mnv3c.profiles.scatter import ScatterRows, write_scatter

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def rows():
    draws = np.random.default_rng(7)
    measured = np.exp(draws.normal(0, 1.5, 40))
    predicted = measured * np.exp(draws.normal(0, 0.05, 40))
    kinds = ["depthwise" if row % 3 else "pointwise" for row in range(40)]
    return ScatterRows(Predictions(measured, predicted), kinds, [f"row_{row}$a_b$" for row in range(40)])


def svg_of(path, rows, **options):
    write_scatter(path, rows, "pixel_4 & <others>", **options)
    return path.read_text()


def points(text, axes):
    """(n, 2) places of the points in one of the plots, downwards as in the picture; those of the legend left out."""
    plot = next(group for group in ElementTree.fromstring(text).iter(f"{SVG}g") if group.get("id") == axes)
    clouds = [group for group in plot.findall(f"{SVG}g") if group.get("id", "").startswith("PathCollection")]
    uses = [use for cloud in clouds for use in cloud.iter(f"{SVG}use")]
    return np.array([[float(use.get("x")), float(use.get("y"))] for use in uses])


def words(text):
    """What is written in the picture: letters are drawn as paths, each text with a comment that says it."""
    return re.findall(r"<!-- (.*?) -->", text)


def by_kind(rows, values):
    order = [row for kind in sorted(set(rows.kinds)) for row, each in enumerate(rows.kinds) if each == kind]
    return values[order]


def test_points_lie_at_the_logarithms_of_their_latencies(rows, tmp_path):
    text = svg_of(tmp_path / "plot.svg", rows)
    x, y = points(text, "axes_1").T
    measured, predicted = (by_kind(rows, np.log(v)) for v in (rows.predictions.measured, rows.predictions.predicted))
    assert np.corrcoef(x, measured)[0, 1] == pytest.approx(1)
    assert np.corrcoef(y, predicted)[0, 1] == pytest.approx(-1)
    assert len(x) == 40


def test_the_lower_plot_shows_relative_errors(rows, tmp_path):
    x, y = points(svg_of(tmp_path / "plot.svg", rows), "axes_2").T
    assert np.corrcoef(x, by_kind(rows, np.log(rows.predictions.measured)))[0, 1] == pytest.approx(1)
    assert np.corrcoef(y, by_kind(rows, rows.predictions.errors))[0, 1] == pytest.approx(-1)


def test_the_picture_says_its_title_units_metrics_and_kinds(rows, tmp_path):
    written = words(svg_of(tmp_path / "plot.svg", rows))
    assert "pixel_4 &amp; &lt;others&gt;" in written
    assert {"measured latency (ms)", "predicted latency (ms)", "error (%)", "within 10 %"} <= set(written)
    assert any(re.fullmatch(r"n 40, MAPE \d\.\d\d %.*", each) for each in written)
    for kind, count in (("depthwise", 26), ("pointwise", 14)):
        assert any(re.fullmatch(rf"{kind}: {count} rows, MAPE \d\.\d\d %", each) for each in written)


def test_the_worst_rows_are_numbered_in_both_plots_and_named(rows, tmp_path):
    written = words(svg_of(tmp_path / "plot.svg", rows, worst=4))
    worst = np.argsort(-np.abs(np.log(rows.predictions.predicted / rows.predictions.measured)))[:4]
    named = [each.split()[-1] for each in written if "$a_b$" in each]
    assert named == [f"row_{row}$a_b$" for row in worst]
    for number in "1234":
        assert written.count(number) >= 2
    assert not [each for each in words(svg_of(tmp_path / "none.svg", rows, worst=0)) if "$a_b$" in each]


def test_one_cloud_of_equal_rows_still_numbers_each(tmp_path):
    rows = ScatterRows(Predictions(np.full(12, 3.0), np.full(12, 3.3)), ["conv"] * 12, ["x" * 300] * 12)
    written = words(svg_of(tmp_path / "plot.svg", rows, worst=12))
    assert all(str(number) in written for number in range(1, 13))
    assert sum("xx...xx" in each for each in written) == 12


def test_equal_rows_give_equal_bytes(rows, tmp_path):
    for ending in ("svg", "png"):
        first, second = tmp_path / f"a.{ending}", tmp_path / f"b.{ending}"
        write_scatter(first, rows, "title")
        write_scatter(second, rows, "title")
        assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.svg", "b.png", "b.svg"]


def test_png_is_a_picture_of_the_stated_size(rows, tmp_path):
    write_scatter(tmp_path / "plot.PNG", rows, "title", worst=2)
    with Image.open(tmp_path / "plot.PNG") as image:
        assert image.format == "PNG"
        assert image.size[0] == 1200
        assert image.size[1] > image.size[0]


def test_other_endings_and_empty_rows_are_refused(rows, tmp_path):
    with pytest.raises(UserError, match=r"plot\.jpg: a plot is written as \.png or \.svg"):
        write_scatter(tmp_path / "plot.jpg", rows, "title")
    with pytest.raises(UserError, match="no rows"):
        ScatterRows(Predictions(np.array([]), np.array([])), [], [])
    with pytest.raises(UserError, match="1 kinds and 2 names for 2 rows"):
        ScatterRows(Predictions(np.ones(2), np.ones(2)), ["a"], ["a", "b"])


def test_a_folder_that_is_not_there_is_named(rows, tmp_path):
    with pytest.raises(UserError, match=r"plot\.svg: there is no folder '.*missing'"):
        write_scatter(tmp_path / "missing" / "plot.svg", rows, "title")
