"""Sweeps: the grid, its points, and the front that nobody beats."""

import itertools
import random
from dataclasses import replace

import pytest

from mnv3c.graph.errors import UserError
from mnv3c.graph.networks import mobilenet_v3
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.targets.edgetpu.emulate import emulate
from mnv3c.targets.edgetpu.settings import find_accelerator
from mnv3c.targets.edgetpu.sweep import Point, Workload, evaluate, grid, pareto, parse_axis


@pytest.fixture(scope="module")
def small() -> Workload:
    graph = mobilenet_v3("small", width=0.35, resolution=96, seed=None)
    return Workload.of(run_passes(graph, default_passes()))


def test_axes_and_their_grid() -> None:
    assert parse_axis("rows=8, 16,32") == ("rows", ("8", "16", "32"))
    assert grid({"rows": ("8", "16"), "dataflow": ("ws", "os")}) == (
        (("rows", "8"), ("dataflow", "ws")),
        (("rows", "8"), ("dataflow", "os")),
        (("rows", "16"), ("dataflow", "ws")),
        (("rows", "16"), ("dataflow", "os")),
    )


@pytest.mark.parametrize("text", ["rows", "rows=", "=8", "rows=8,,16", "rows=8,8"])
def test_bad_axes_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--sweep"):
        parse_axis(text)


def test_too_large_a_grid_is_refused() -> None:
    axis = tuple(map(str, range(1001)))
    with pytest.raises(UserError, match="1002001 configurations"):
        grid({"rows": axis, "cols": axis})


def test_a_point_is_what_emulate_says(small: Workload) -> None:
    device = find_accelerator("gemmini-16")
    point = evaluate(small, device, (("rows", "8"), ("sram_bytes", "128K")))
    result = emulate(small.name, small.jobs, small.outputs, device.with_settings({"rows": "8", "sram_bytes": "128K"}))
    assert (point.total_cycles, point.energy_uj) == (result.total_cycles, result.energy_uj)
    assert point.peak_sram_bytes == result.peak_sram_bytes <= 128 * 1024
    assert point.dram_bytes == sum(layer.dram_bytes for layer in result.layers)


def test_what_does_not_run_says_why(small: Workload) -> None:
    device = find_accelerator("gemmini-16").with_settings({"tile_fraction": "0.01"})
    settings = grid({"sram_bytes": ("1K", "256K"), "rows": ("0", "8")})
    points = [evaluate(small, device, each) for each in settings]
    assert [bool(point.problem) for point in points] == [True, True, True, False]
    assert "memory.sram_bytes" in points[1].problem
    assert "array.rows" in points[2].problem


def test_the_front_is_what_nobody_beats() -> None:
    random.seed(5)
    points = [
        Point(network, (("i", str(index)),), total_ms=random.randint(1, 6), energy_uj=random.randint(1, 6),
              area_mm2=random.randint(1, 6))
        for index, network in enumerate(["a", "b"] * 60)
    ]  # fmt: skip
    points.append(Point("a", (), problem="does not run"))
    front = pareto(points)
    for point in points:
        rivals = [other for other in points if other.network == point.network and not other.problem]
        beaten = any(
            other.costs != point.costs and all(a <= b for a, b in zip(other.costs, point.costs, strict=True))
            for other in rivals
        )
        stands = any(other.costs == point.costs and other.network == point.network for other in front)
        assert stands == (not beaten and not point.problem)
    for one, other in itertools.combinations(front, 2):
        assert (one.network, one.costs) != (other.network, other.costs)


def test_the_digest_follows_the_work(small: Workload) -> None:
    assert replace(small, name="another").digest == small.digest
    assert replace(small, jobs=small.jobs[:-1]).digest != small.digest
