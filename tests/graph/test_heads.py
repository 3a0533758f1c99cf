from typing import Any, Literal

import numpy as np
import pytest

from mnv3c.graph.activation import SIGMOID
from mnv3c.graph.ir import Graph
from mnv3c.graph.networks import mobilenet_v3
from mnv3c.graph.ops import Conv2d, GlobalAveragePool, Pool2d, Resize, activation_of
from mnv3c.graph.reference import run
from mnv3c.graph.verify import verify

Variant = Literal["large", "small"]


def build(variant: Variant, **options: Any) -> Graph:
    return verify(mobilenet_v3(variant, seed=None, **options))


def shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    return {name: graph.type_of(name).shape for name in graph.outputs}


def depthwise(graph: Graph, block: int) -> Conv2d:
    op = graph[f"block{block}.depthwise"].op
    assert isinstance(op, Conv2d)
    return op


def test_classifier_holds_1280_without_batch_norm_and_1000_classes() -> None:
    graph = build("large")
    assert shapes(graph) == {"classifier": (1, 1000)}
    assert "head.bn" not in graph
    assert graph.params(graph["head"]) == 960 * 1280 + 1280
    assert graph.params(graph["classifier"]) == 1280 * 1000 + 1000


def test_no_head_leaves_the_last_feature_map() -> None:
    assert shapes(build("large", head="none")) == {"last.act": (1, 7, 7, 960)}
    assert shapes(build("small", head="none", output_stride=8)) == {"last.act": (1, 28, 28, 576)}


@pytest.mark.parametrize(
    ("variant", "reduce_tail", "expected"),
    [
        ("large", False, {"block13.expand.act": (1, 20, 20, 672), "last.act": (1, 10, 10, 960)}),
        ("large", True, {"block13.expand.act": (1, 20, 20, 672), "last.act": (1, 10, 10, 480)}),
        ("small", False, {"block9.expand.act": (1, 20, 20, 288), "last.act": (1, 10, 10, 576)}),
        ("small", True, {"block9.expand.act": (1, 20, 20, 288), "last.act": (1, 10, 10, 288)}),
    ],
)
def test_ssdlite_taps(variant: Variant, reduce_tail: bool, expected: dict[str, tuple[int, ...]]) -> None:
    graph = build(variant, head="ssdlite", resolution=320, reduce_tail=reduce_tail)
    assert shapes(graph) == expected


def test_reduced_tail_halves_the_channels_between_the_taps() -> None:
    graph = build("large", head="ssdlite", resolution=320, reduce_tail=True)
    assert [graph.type_of(f"block{n}.project").channels for n in (12, 13, 14, 15)] == [112, 80, 80, 80]
    assert [graph.type_of(f"block{n}.expand").channels for n in (12, 13, 14, 15)] == [672, 672, 480, 480]


@pytest.mark.parametrize(
    ("variant", "output_stride", "dilations"),
    [
        ("large", 16, {12: 1, 13: 2, 15: 2}),
        ("large", 8, {6: 1, 7: 2, 12: 2, 13: 4, 15: 4}),
        ("small", 16, {8: 1, 9: 2}),
    ],
)
def test_output_stride_is_kept_by_dilation(variant: Variant, output_stride: int, dilations: dict[int, int]) -> None:
    graph = build(variant, head="lraspp", resolution=256, output_stride=output_stride)
    assert graph.type_of("last").spatial == (256 // output_stride, 256 // output_stride)
    assert {block: depthwise(graph, block).dilation[0] for block in dilations} == dilations


def test_lraspp_on_cityscapes() -> None:
    graph = build("large", head="lraspp", resolution=(1024, 2048))
    assert shapes(graph) == {"head.sum": (1, 128, 256, 19)}
    assert graph["head.pool"].op == Pool2d("average", (49, 49), (16, 20))
    assert graph.type_of("head.pool").spatial == (1, 4)
    assert graph["head.gate.upsample"].op == Resize((64, 128))
    assert graph["head.upsample"].op == Resize((128, 256))
    assert activation_of(graph["head.gate.act"].op) == SIGMOID
    assert graph.type_of("head.project").channels == 128


@pytest.mark.parametrize(("variant", "low"), [("large", "block6.add"), ("small", "block3.add")])
def test_lraspp_adds_the_stride_8_feature(variant: Variant, low: str) -> None:
    graph = build(variant, head="lraspp", resolution=256, classes=5)
    assert graph["head.classify_low"].inputs == (low,)
    assert graph.type_of(low).spatial == (32, 32)
    assert shapes(graph) == {"head.sum": (1, 32, 32, 5)}


def test_lraspp_of_a_small_input_pools_everything() -> None:
    graph = build("large", head="lraspp", resolution=512, output_stride=16)
    assert graph["head.pool"].op == GlobalAveragePool()
    assert "head.gate.upsample" not in graph


def test_lraspp_at_stride_8_needs_no_upsampling() -> None:
    graph = build("small", head="lraspp", resolution=64, output_stride=8)
    assert "head.upsample" not in graph
    assert shapes(graph) == {"head.sum": (1, 8, 8, 19)}


def test_lraspp_runs() -> None:
    graph = mobilenet_v3("small", head="lraspp", resolution=(64, 96), width=0.35, seed=3)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 64, 96, 3)).astype(np.float32)
    (logits,) = run(graph, x).values()
    assert logits.shape == (1, 8, 12, 19)
    assert 0.05 < logits.std() < 20
