"""Every distinct layer of both networks, and the conversions at the border, against the NumPy reference."""

from collections.abc import Sequence

import numpy as np
import pytest
from tests.compiler.kernel_runner import SHAPES, KernelRunner, host_variant, random_tensor, stored_rows

from mnv3c.graph.layer import LayerKey, layer_key, layers
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.networks.tables import Variant
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.tensor import Layout
from mnv3c.targets.registry import find_device
from mnv3c.targets.target import Candidate, Storage

TOLERANCE = 1e-5
MOST_CANDIDATES = 6


def distinct_layers(variant: Variant) -> list[LayerKey]:
    graph = run_passes(mobilenet_v3(variant, batch_norm=False, seed=None), default_passes())
    return list(dict.fromkeys(layer_key(graph, node) for node in layers(graph)))


LARGE = distinct_layers("large")
SMALL = [key for key in distinct_layers("small") if key not in LARGE]
# One of each kind of work: pointwise with and without residual, squeeze-excite, depthwise, dense, the stem.
SAMPLE = [
    "conv2d 1x14x14x112->1x14x14x672 bias=yes activation=hswish",
    "conv2d 1x7x7x960,1x7x7x160->1x7x7x160 bias=yes residual=before_activation",
    "conv2d 1x56x56x64->1x56x56x24 bias=yes",
    "conv2d 1x1x1x480->1x1x1x120 bias=yes activation=relu",
    "conv2d 1x112x112x64->1x56x56x64 kernel=3x3 stride=2x2 padding=0x0x1x1 groups=64 bias=yes activation=relu",
    "conv2d 1x7x7x960->1x7x7x960 kernel=5x5 padding=2x2x2x2 groups=960 bias=yes activation=hswish",
    "conv2d 1x224x224x3->1x112x112x16 kernel=3x3 stride=2x2 padding=0x0x1x1 bias=yes activation=hswish",
    "dense 1x1280->1x1000 bias=yes",
]


@pytest.fixture(scope="module", params=SHAPES, ids=lambda shape: f"{shape[0]}bit")
def runner(request: pytest.FixtureRequest) -> KernelRunner:
    return KernelRunner(host_variant(*request.param))


@pytest.fixture(scope="module", params=["host", "128bit"])
def full_runner(request: pytest.FixtureRequest) -> KernelRunner:
    """This machine as it is, and with the vectors of arm64: the sizes that take every layer."""
    return KernelRunner(find_device("host") if request.param == "host" else host_variant(128, 32))


def even_choice(candidates: Sequence[Candidate], most: int) -> list[Candidate]:
    """At most `most` candidates from first to last."""
    indices = np.linspace(0, len(candidates) - 1, min(most, len(candidates)))
    return [candidates[int(index)] for index in indices]


@pytest.mark.parametrize("key", [*LARGE, *SMALL], ids=str)
def test_a_layer_of_the_networks(full_runner: KernelRunner, key: LayerKey) -> None:
    work = full_runner.work(key.op, key.inputs)
    assert full_runner.error(full_runner.candidates(work)[0], work) <= TOLERANCE


@pytest.mark.parametrize("text", SAMPLE)
def test_every_candidate_of_a_layer(runner: KernelRunner, text: str) -> None:
    key = LayerKey.parse(text)
    assert key in LARGE
    work = runner.work(key.op, key.inputs)
    candidates = runner.candidates(work)
    assert len(set(candidates)) == len(candidates) >= 1
    for candidate in even_choice(candidates, MOST_CANDIDATES):
        assert runner.error(candidate, work) <= TOLERANCE, candidate


@pytest.mark.parametrize("storage", ["NHWC", "NCHW"])
def test_the_stem_reads_the_callers_tensor(runner: KernelRunner, storage: Storage) -> None:
    key = next(key for key in map(LayerKey.parse, SAMPLE) if key.inputs[0].channels == 3)
    work = runner.work(key.op, key.inputs, (storage,))
    for candidate in even_choice(runner.candidates(work), MOST_CANDIDATES):
        assert candidate.family == "direct"
        assert runner.error(candidate, work) <= TOLERANCE, candidate


@pytest.mark.parametrize(
    "shape", [(1, 5, 7, 3), (1, 1, 1, 33), (1, 6, 4, 16), (1, 3, 3, 1), (1, 2, 3, 24), (1, 19)], ids=str
)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_borders_convert_both_ways(runner: KernelRunner, layout: Layout, shape: tuple[int, ...]) -> None:
    x = random_tensor(np.random.default_rng(2), shape)
    dense = (x.transpose(0, 3, 1, 2) if layout == "NCHW" and x.ndim == 4 else x).ravel()
    np.testing.assert_array_equal(runner.convert(x, layout, "in"), stored_rows(x, runner.lanes).ravel())
    np.testing.assert_array_equal(runner.convert(x, layout, "out"), dense)
