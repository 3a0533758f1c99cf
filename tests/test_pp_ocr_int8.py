"""The main job in 8 bits: PaddleOCR's direction classifier, quantised, tells upright text from turned as before."""

from collections.abc import Iterator
from itertools import chain, islice

import numpy as np
import numpy.typing as npt
import pytest
from tests.test_pp_ocr import CLASSIFIER, all_fonts, model
from tests.text_images import classifier_input, page, text_images

from mnv3c.graph.calibration.ranges import CALIBRATION_METHODS, CalibrationMethod
from mnv3c.graph.calibration.samples import in_graph_order
from mnv3c.graph.importers.onnx import import_onnx
from mnv3c.graph.integer.reference import run as run_integers
from mnv3c.graph.ir import Graph
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.passes.quantize import Quantize
from mnv3c.graph.reference import run

Array = npt.NDArray[np.float32]

__all__ = ["all_fonts"]

CALIBRATION_IMAGES, TEST_IMAGES = 32, 200
LEAST_AGREEMENT = 0.98


def lines_of_pages(graph: Graph, first_seed: int) -> Iterator[Array]:
    """Every line of text on rendered pages, upright and turned: other sizes and fonts than those of `text_images`."""
    margin = 5
    for seed in range(first_seed, first_seed + 100):
        shown = page(320, 320, seed)
        for left, top, right, bottom in shown.boxes:
            line = shown.image.crop((left - margin, top - margin, right + margin, bottom + margin))
            yield in_graph_order(graph, classifier_input(line))
            yield in_graph_order(graph, classifier_input(line.rotate(180)))


def unseen(graph: Graph, seen: list[Array]) -> list[Array]:
    """Images that differ from those calibrated with and from each other."""
    known = {x.tobytes() for x in seen}
    found: list[Array] = []
    named = (in_graph_order(graph, classifier_input(text.image)) for text in text_images())
    for x in chain(named, lines_of_pages(graph, first_seed=0)):
        if x.tobytes() not in known:
            known.add(x.tobytes())
            found.append(x)
        if len(found) == TEST_IMAGES:
            break
    return found


@pytest.fixture(scope="module")
def classifier() -> Graph:
    return run_passes(import_onnx(model(CLASSIFIER), {"x": (1, 3, 48, 192)}), default_passes())


@pytest.fixture(scope="module")
def calibration(classifier: Graph) -> list[Array]:
    return list(islice(lines_of_pages(classifier, first_seed=1000), CALIBRATION_IMAGES))


@pytest.fixture(scope="module")
def classified(classifier: Graph, calibration: list[Array]) -> list[tuple[Array, int]]:
    """Unseen images, each with the class that the float32 network gives it."""
    (output,) = classifier.outputs
    return [(x, int(run(classifier, x)[output].argmax())) for x in unseen(classifier, calibration)]


@pytest.mark.usefixtures("all_fonts")
@pytest.mark.parametrize("method", CALIBRATION_METHODS)
def test_upright_and_turned_text_are_told_apart_in_8_bits(
    classifier: Graph, calibration: list[Array], classified: list[tuple[Array, int]], method: CalibrationMethod
) -> None:
    network = Quantize(method).run(classifier, calibration)
    (output,) = network.graph.outputs
    agree = [
        run_integers(network, network.inputs["x"].quantize(x))[output].argmax() == wanted for x, wanted in classified
    ]
    assert len(agree) == TEST_IMAGES
    assert 0.3 < np.mean([wanted for _, wanted in classified]) < 0.7
    assert np.mean(agree) >= LEAST_AGREEMENT
