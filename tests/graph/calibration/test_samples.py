"""Seeded samples: the same each time, smooth, and normalised as images are."""

from dataclasses import replace

import numpy as np
import pytest
from tests.graph.samples import chain

from mnv3c.graph.calibration.samples import checked_sample, in_graph_order, seeded_samples
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph, Node, Preprocessing
from mnv3c.graph.ops import Add, Dense, GlobalAveragePool, Input

IMAGE = chain((1, 48, 64, 3), ("pool", GlobalAveragePool()))


def test_samples_are_the_same_each_time_and_differ_from_each_other() -> None:
    first, again, other = (list(seeded_samples(IMAGE, 3, seed)) for seed in (5, 5, 6))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({x.tobytes() for x in [*first, *other]}) == 6


def test_more_samples_begin_with_the_fewer() -> None:
    few, many = list(seeded_samples(IMAGE, 2, 0)), list(seeded_samples(IMAGE, 5, 0))
    assert all(np.array_equal(a, b) for a, b in zip(few, many, strict=False))


def test_images_are_smooth_and_fill_the_range_of_pixels() -> None:
    for x in seeded_samples(IMAGE, 4, 0):
        assert x.shape == (1, 48, 64, 3) and x.dtype == np.float32
        assert x.min() == pytest.approx(-1.0) and x.max() == pytest.approx(1.0)
        neighbours = np.corrcoef(x[:, :, 1:].ravel(), x[:, :, :-1].ravel())[0, 1]
        assert neighbours > 0.9
        assert np.corrcoef(x[..., 0].ravel(), x[..., 1].ravel())[0, 1] > 0.4
        # The means differ over the picture, which those of white noise hardly do: 0.002 there.
        assert np.var([part.mean() for part in np.split(x, 4, axis=1)]) > 0.01


def test_images_are_normalised_by_the_graph() -> None:
    graph = replace(IMAGE, preprocessing=Preprocessing(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125)))
    plain, normal = next(seeded_samples(IMAGE, 1, 0)), next(seeded_samples(graph, 1, 0))
    pixels = plain * 0.5 + 0.5
    np.testing.assert_allclose(normal, (pixels - [0.1, 0.2, 0.3]) / [0.5, 0.25, 0.125], atol=1e-5)


def test_an_input_that_is_no_image_is_uniform() -> None:
    (x,) = seeded_samples(chain((2, 300), ("fc", Dense(2))), 1, 0)
    assert x.shape == (2, 300) and -1.0 <= x.min() < -0.9 and 0.9 < x.max() <= 1.0


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 2, 500, 4), (3, 5, 5, 2)])
def test_any_image_shape(shape: tuple[int, ...]) -> None:
    (x,) = seeded_samples(chain(shape, ("pool", GlobalAveragePool())), 1, 0)
    assert x.shape == shape and np.isfinite(x).all()


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (-1, 0), (1, -1)])
def test_bad_counts_and_seeds(count: int, seed: int) -> None:
    with pytest.raises(UserError, match=f"not {count} and {seed}"):
        list(seeded_samples(IMAGE, count, seed))


def test_several_inputs_are_refused() -> None:
    nodes = (Node("a", Input((1, 4))), Node("b", Input((1, 4))), Node("sum", Add(), ("a", "b")))
    with pytest.raises(UserError, match=r"2 inputs \(a, b\)"):
        list(seeded_samples(Graph("two", nodes, ("sum",)), 1, 0))


def test_a_caller_of_nchw_gives_nchw() -> None:
    graph = Graph("g", (Node("x", Input((1, 4, 5, 3), "NCHW")), Node("p", GlobalAveragePool(), ("x",))), ("p",))
    values = np.arange(60, dtype=np.float32).reshape(1, 3, 4, 5)
    ordered = in_graph_order(graph, values)
    assert ordered.shape == (1, 4, 5, 3) and ordered[0, 2, 1, 0] == values[0, 0, 2, 1]
    assert in_graph_order(IMAGE, values) is values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((1, 3, 48, 64), np.float32), r"sample 7 is float32 \(1, 3, 48, 64\), needs float32 \(1, 48, 64, 3\)"),
        (np.zeros((1, 48, 64, 3), np.float64), "sample 7 is float64"),
        (np.full((1, 48, 64, 3), np.nan, np.float32), "sample 7 holds values that are not finite"),
    ],
)
def test_a_sample_that_does_not_fit(values: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        checked_sample(IMAGE, 7, values)
