"""Training in PyTorch: the same function as the reference's, repeatable, and five steps of NetAdapt with it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs PyTorch (extra train)")
pytest.importorskip("sklearn", reason="the digits come with scikit-learn (extra train)")

import torch
from tests.search.made_up import MacLatency

from mnv3c.graph.errors import UserError
from mnv3c.graph.initialise import initialise
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.networks import mobilenet_v3
from mnv3c.graph.networks.options import NetworkOptions
from mnv3c.graph.ops import Input, Softmax
from mnv3c.graph.reference import run
from mnv3c.graph.yaml_io import load_graph
from mnv3c.search.accuracy import Candidate
from mnv3c.search.architecture import Architecture
from mnv3c.search.folder import SearchFolder
from mnv3c.search.netadapt import NetAdapt, NetAdaptSettings
from mnv3c.search.train.data import ImageData, Part, load_data
from mnv3c.search.train.model import TorchNetwork
from mnv3c.search.train.trainer import Schedule, TrainedAccuracy, Training

START = Architecture.of(NetworkOptions(variant="small", width=0.35, resolution=32, classes=10))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine take many times as long, and sums in another order differ."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "graph",
    [
        mobilenet_v3("small", resolution=64, classes=10),
        mobilenet_v3("large", resolution=32, width=0.35, last_stage="original", stem_filters=32),
        mobilenet_v3("small", resolution=(32, 96), minimalistic=True, batch_norm=False),
    ],
    ids=["small", "original", "no_bn"],
)
def test_it_computes_what_the_reference_does_and_gives_the_weights_back(graph: Graph) -> None:
    shape = graph.type_of("input").shape
    image = np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)
    network = TorchNetwork(graph)
    with torch.no_grad():
        found = network(torch.tensor(image.transpose(0, 3, 1, 2))).numpy()
    expected = run(graph, image)["classifier"]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())

    back = network.trained_graph()
    assert back.nodes == graph.nodes
    for name, value in graph.weights.items():
        np.testing.assert_array_equal(back.weights[name], value)


def test_an_op_that_cannot_be_trained_is_refused() -> None:
    graph = Graph("odd", (Node("x", Input((1, 4))), Node("y", Softmax(), ("x",))), ("y",))
    with pytest.raises(UserError, match=r"node 'y' \(softmax\) cannot be trained"):
        TorchNetwork(graph)


def test_labels_must_fit_the_classes() -> None:
    network = Architecture.of(NetworkOptions(variant="small", resolution=32, classes=9)).graph()
    with pytest.raises(UserError, match="has 9 classes, data 'digits' has labels up to 9"):
        TrainedAccuracy(load_data("digits")).trained(initialise(network, 0), Schedule(1, 1e-3), seed=0)


def test_training_learns_and_repeats_itself() -> None:
    trainer = TrainedAccuracy(_easy())
    graph = initialise(START.graph(), 0)
    once, again = (trainer.trained(graph, Schedule(20, 4e-3), seed=1) for _ in range(2))
    for name, value in once.weights.items():
        np.testing.assert_array_equal(again.weights[name], value)
    assert trainer.accuracy(once, "test") >= 0.8
    assert trainer.accuracy(graph, "test") <= 0.7


def test_the_expected_accuracy_is_the_mean_probability_of_the_labels() -> None:
    trainer, judging = (
        TrainedAccuracy(_easy(), Training(Schedule(5, 4e-3), expected=given)) for given in (False, True)
    )
    candidate = Candidate(START.widths, START.graph(), None, "start", seed=1)
    share, expected = trainer.judge(candidate), judging.judge(candidate)
    images, labels = trainer._fixed("validation", (32, 32))
    with torch.no_grad():
        chances = TorchNetwork(expected.graph)(images).softmax(1).numpy()
    picked = chances[np.arange(len(labels)), labels.numpy()]

    assert expected.accuracy == pytest.approx(picked.mean(), rel=1e-3)
    assert share.accuracy == np.mean(chances.argmax(1) == labels.numpy())
    assert judging.identity != trainer.identity


def test_the_digits_are_in_three_parts_that_share_no_image() -> None:
    data = load_data("digits")
    parts = (data.train, data.validation, data.test)
    assert [len(part) for part in parts] == [1078, 360, 359]
    assert all(part.images.min() >= -1 and part.images.max() == 1 for part in parts)
    assert all(set(part.labels) == set(range(10)) for part in parts)
    with pytest.raises(UserError, match="unknown data 'letters'"):
        load_data("letters")


def test_five_steps_of_netadapt_on_digits(tmp_path: Path) -> None:
    latency = MacLatency()
    start_ms = latency(START.graph())
    training = Training(Schedule(50, 4e-3), Schedule(1, 5e-4), Schedule(5, 1e-3))
    trainer = TrainedAccuracy(load_data("digits"), training)
    search = NetAdapt(START, trainer, latency, NetAdaptSettings(0.5 * start_ms, 0.03), SearchFolder(tmp_path))
    steps = []
    for step in search.steps():
        steps.append(step)
        if step.number == 5:
            break
    found = search.finish()

    assert [step.number for step in steps] == [0, 1, 2, 3, 4, 5]
    assert all(len(step.tried) >= 3 for step in steps[1:])
    assert found.latency_ms <= 0.85 * start_ms
    # Ten classes: chance is 0.1.
    assert steps[0].accuracy > 0.3 and found.accuracy > 0.3
    assert trainer.accuracy(load_graph(tmp_path / "best.yaml"), "validation") == found.accuracy


def _easy() -> ImageData:
    """Bright left halves and bright right halves, in noise."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    images = rng.uniform(-1, 0, (200, 8, 8)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        image[:, 4 * label : 4 * label + 4] += 1.0
    cut = [Part(images[a:b], labels[a:b]) for a, b in ((0, 120), (120, 160), (160, 200))]
    return ImageData("halves", *cut)
