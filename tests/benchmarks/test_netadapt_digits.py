"""benchmarks/netadapt_digits.py: which uniform networks it compares with, and that both sides train as long."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from mnv3c.graph.errors import UserError
from mnv3c.graph.initialise import initialise
from mnv3c.graph.ir import Graph
from mnv3c.search.latency import ProfileLatency

ROOT = Path(__file__).parents[2]


class MacLatency(ProfileLatency):
    """A millisecond for a million multiply-accumulates."""

    def __init__(self) -> None:
        pass

    def __call__(self, graph: Graph) -> float:
        return graph.total_macs / 1e6


@pytest.fixture
def digits(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return import_module("netadapt_digits")


def test_uniform_networks_near_by_prediction_are_measured(digits: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    start = digits._variant(0.75, 32)
    found_ms = 0.6 * start.graph().total_macs / 1e6
    monkeypatch.setattr(digits, "_measured", lambda graphs: [graph.total_macs / 5e5 for graph in graphs])
    measured_ms, rows = digits._compared(start.graph(), found_ms, start, MacLatency(), True)

    assert measured_ms == start.graph().total_macs / 5e5
    assert len(rows) == 10 and rows == sorted(rows, key=lambda row: row.width)
    assert all(row.measured_ms == 2 * row.predicted_ms for row in rows)
    assert rows[0].predicted_ms < found_ms < rows[-1].predicted_ms


def test_the_rivals_are_next_to_the_found_network(digits: ModuleType) -> None:
    rows = [
        digits.Uniform(width, digits._variant(width, 32), 1.0, measured_ms)
        for width, measured_ms in ((0.3, 0.8), (0.4, 1.3), (0.5, 1.2), (0.6, 1.6))
    ]

    def widths(found_ms: float) -> list[float]:
        return [rival.width for rival in digits._rivals(found_ms, rows)]

    assert widths(0.7) == [0.3] and widths(1.0) == [0.3, 0.5]
    assert widths(1.25) == [0.5, 0.4] and widths(1.3) == [0.5, 0.4]
    with pytest.raises(UserError, match=r"of 4 uniform networks none is as slow as the found one's 2\.0000 ms"):
        digits._rivals(2.0, rows)


def test_uniform_accuracy_is_interpolated_at_the_same_latency(digits: ModuleType) -> None:
    rivals = [digits.Uniform(width, digits._variant(width, 32), 1.0, ms) for width, ms in ((0.3, 1.0), (0.5, 2.0))]
    means = {
        "uniform 0.3, inherited": 0.5,
        "uniform 0.3, from scratch": 0.6,
        "uniform 0.5, inherited": 0.8,
        "uniform 0.5, from scratch": 0.7,
    }
    assert digits._interpolated(1.25, rivals, means) == pytest.approx(0.65)
    assert digits._interpolated(0.9, rivals[1:], means) == 0.8


def test_both_sides_train_on_as_many_batches(digits: ModuleType) -> None:
    pytest.importorskip("torch", reason="training needs PyTorch (extra train)")
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn (extra train)")
    trainer = digits._trainer((100, 7, 30))
    start = initialise(digits._variant(0.5, 32).graph(), 0)
    rival = digits.Uniform(0.35, digits._variant(0.35, 32), 1.0)

    ours, inherited, scratch = digits._runs(trainer, start, start, [rival], steps=3, seed=1)
    assert (ours.schedule.steps, inherited.schedule.steps, scratch.schedule.steps) == (30, 3 * 7 + 30, 100 + 3 * 7 + 30)
    assert ours.schedule.learning_rate == inherited.schedule.learning_rate
    assert [len(part) for part in (trainer.data.train, trainer.data.validation, trainer.data.test)] == [809, 269, 719]
