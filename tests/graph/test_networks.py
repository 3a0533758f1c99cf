import math
import re
from collections.abc import Callable
from typing import Any

import pytest

from mnv3c.graph.activation import HSIGMOID, HSWISH, RELU
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph, Preprocessing
from mnv3c.graph.networks import mobilenet_v3
from mnv3c.graph.networks.builder import same_padding
from mnv3c.graph.networks.rewrites import make_divisible
from mnv3c.graph.ops import Activate, Add, BatchNorm, Conv2d, Multiply, activation_of
from mnv3c.graph.verify import verify

WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.25)


def build(variant: str = "large", **options: Any) -> Graph:
    return verify(mobilenet_v3(variant, seed=None, **options))  # type: ignore[arg-type]


def folded_params(graph: Graph) -> int:
    """Folding turns gamma and beta of a channel into one bias."""
    return graph.total_params - sum(
        graph.type_of(node.name).channels for node in graph.nodes if isinstance(node.op, BatchNorm)
    )


def row(graph: Graph) -> str:
    outputs = ", ".join(f"{name} {graph.type_of(name)}" for name in graph.outputs)
    counts = f"{len(graph.weight_layers):3} {graph.total_macs:14,} {graph.total_params:11,} {folded_params(graph):11,}"
    return f"{graph.name:58} {counts}  {outputs}\n"


def test_networks_match_the_golden_table(golden: Callable[[str, str], None]) -> None:
    variants: list[dict[str, Any]] = [{"width": width} for width in WIDTHS]
    variants += [{"width": width, "minimalistic": True} for width in WIDTHS]
    variants += [{"resolution": 96}, {"resolution": 160}, {"resolution": 256}, {"classes": 10}]
    variants += [{"last_stage": "original"}, {"stem_filters": 32}, {"se": False}, {"batch_norm": False}]
    variants += [{"hswish": hswish} for hswish in ("all", "none", 16, 40, 80, 112)]
    variants += [{"head": "none"}, {"head": "none", "output_stride": 8}]
    variants += [{"head": "ssdlite", "resolution": 320, "reduce_tail": tail} for tail in (False, True)]
    variants += [
        {"head": "lraspp", "resolution": (1024, 2048), "output_stride": stride, "reduce_tail": tail}
        for stride in (16, 8)
        for tail in (False, True)
    ]
    header = f"{'network':58} {'w':>3} {'MACs':>14} {'params':>11} {'folded':>11}  outputs\n"
    golden("networks.txt", header + "".join(row(build(v, **kw)) for v in ("large", "small") for kw in variants))


@pytest.mark.parametrize(
    ("variant", "layers", "macs", "params", "folded"),
    [("large", 64, 216_589_760, 5_483_032, 5_470_832), ("small", 54, 56_510_400, 2_542_856, 2_536_800)],
)
def test_figures_of_the_released_models(variant: str, layers: int, macs: int, params: int, folded: int) -> None:
    graph = build(variant)
    assert (len(graph.weight_layers), graph.total_macs, graph.total_params) == (layers, macs, params)
    assert folded_params(graph) == folded == build(variant, batch_norm=False).total_params


@pytest.mark.parametrize(
    ("variant", "width", "mmacs"),
    [("large", 1.25, 356), ("large", 0.75, 155), ("large", 0.5, 69), ("small", 1.25, 91), ("small", 0.5, 21)],
)
def test_width_multiplier_gives_the_papers_macs(variant: str, width: float, mmacs: int) -> None:
    assert round(build(variant, width=width).total_macs / 1e6) == mmacs


def test_ablations_cost_what_the_paper_says() -> None:
    base = build().total_macs
    # Section 5.1: 10 M MACs for the wide stem; section 5.1: 30 M for the original last stage, here with its 3x3.
    assert 10e6 < build(stem_filters=32).total_macs - base < 11e6
    assert 30e6 < build(last_stage="original").total_macs - base < 36e6
    assert build(hswish="none").total_macs == base


def test_large_has_the_layers_of_table_1() -> None:
    graph = build()
    convs = [node for node in graph.weight_layers if isinstance(node.op, Conv2d)]
    depthwise = [node for node in convs if node.op.groups > 1]  # type: ignore[attr-defined]
    squeezes = [node for node in convs if ".se." in node.name]
    assert (len(depthwise), len(squeezes), len(graph.weight_layers) - len(convs)) == (15, 16, 1)
    kernels = "".join(str(node.op.kernel[0]) for node in depthwise)  # type: ignore[attr-defined]
    assert kernels == "333555333333555"
    residuals = [node.name for node in graph.nodes if isinstance(node.op, Add)]
    assert residuals == [f"block{n}.add" for n in (1, 3, 5, 6, 8, 9, 10, 12, 14, 15)]


def test_block_order_is_expand_depthwise_squeeze_excite_project() -> None:
    graph = build()
    names = [node.name for node in graph.nodes if node.name.startswith("block4.")]
    parts = ["expand", "depthwise", "se.pool", "se.reduce", "se.expand", "se.scale", "project"]
    order = [names.index(f"block4.{part}") for part in parts]
    assert order == sorted(order)
    assert graph["block4.project"].inputs == ("block4.se.scale",)
    assert graph["block4.se.scale"].inputs == ("block4.depthwise.act", "block4.se.expand.act")
    assert activation_of(graph["block4.se.expand.act"].op) == HSIGMOID
    assert "block1.expand" not in graph


def test_minimalistic_has_no_squeeze_excite_no_hswish_no_5x5() -> None:
    graph = build(minimalistic=True)
    assert not any(isinstance(node.op, Multiply) for node in graph.nodes)
    assert {activation_of(node.op) for node in graph.nodes} == {None, RELU}
    assert max(node.op.kernel for node in graph.nodes if isinstance(node.op, Conv2d)) == (3, 3)


@pytest.mark.parametrize(
    ("hswish", "expected"), [("none", 0), (112, 5), (80, 9), (40, 12), (16, 15), ("all", 15), ("paper", 9)]
)
def test_hswish_starts_at_the_given_channels(hswish: str | int, expected: int) -> None:
    graph = build(hswish=hswish)
    activated = (node for node in graph.nodes if node.name.endswith("depthwise.act"))
    assert sum(activation_of(node.op) == HSWISH for node in activated) == expected


def test_stem_of_32_filters_has_relu() -> None:
    graph = build(stem_filters=32)
    assert graph.type_of("stem").channels == 32
    assert graph["stem.act"].op == Activate(RELU)
    assert graph.type_of("block1.depthwise").channels == 32


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [(224, 3, 2, (0, 1)), (225, 3, 2, (1, 1)), (56, 5, 2, (1, 2)), (14, 5, 1, (2, 2)), (7, 1, 1, (0, 0))],
)
def test_same_padding_is_tensorflows(size: int, kernel: int, stride: int, expected: tuple[int, int]) -> None:
    top, left, bottom, right = same_padding((size, size), kernel, stride, 1)
    assert (top, bottom) == (left, right) == expected


@pytest.mark.parametrize("value", [0.1, 4, 11.9, 12, 12.1, 18, 23.9, 100, 1200])
def test_make_divisible(value: float) -> None:
    result = make_divisible(value)
    assert result % 8 == 0
    assert result >= max(8, 0.9 * value)
    assert result == 8 or abs(result - value) <= 4 or math.isclose(result, value, rel_tol=0.35)
    assert make_divisible(12) == 16
    assert make_divisible(18) == 24  # 16 would be below 0.9 * 18


def test_names_carry_the_options_and_make_c_identifiers() -> None:
    assert build().name == "mobilenet_v3_large"
    graph = build("small", minimalistic=True, width=0.5, resolution=160)
    assert graph.name == "mobilenet_v3_small_minimalistic_w0.5_r160"
    odd = build(
        head="lraspp", resolution=(64, 96), classes=3, last_stage="original", hswish=80, se=False, output_stride=8
    )
    assert odd.name == "mobilenet_v3_large_r64x96_lraspp_c3_original_hswish_80_no_se_os8"
    assert re.fullmatch(r"[a-z][a-z0-9_]*", odd.name.replace(".", "_"))
    assert graph.preprocessing == Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "medium"}, "variant must be one of large, small, not 'medium'"),
        ({"width": 0}, "width must be a positive number"),
        ({"width": -1.0}, "width"),
        ({"width": math.nan}, "width"),
        ({"width": math.inf}, "width"),
        ({"width": True}, "width"),
        ({"width": "1"}, "width"),
        ({"resolution": 100}, "resolution must be a multiple of 32 from 32 to 8192"),
        ({"resolution": 0}, "resolution"),
        ({"resolution": -32}, "resolution"),
        ({"resolution": 224.0}, "resolution"),
        ({"resolution": (224, 100)}, "resolution"),
        ({"resolution": (224, 224, 224)}, "resolution"),
        ({"resolution": 2**20}, "resolution"),
        ({"classes": 0}, "classes must be an integer from 1"),
        ({"classes": 1.5}, "classes"),
        ({"classes": True}, "classes"),
        ({"head": "ssd"}, "head must be one of classifier, none, lraspp, ssdlite, not 'ssd'"),
        ({"head": "none", "classes": 10}, "classes is for the heads"),
        ({"last_stage": "new"}, "last_stage must be one of efficient, original"),
        ({"stem_filters": 24}, "stem_filters must be one of 16, 32, not 24"),
        ({"hswish": 0}, "hswish must be paper, all, none or a number"),
        ({"hswish": "some"}, "hswish"),
        ({"hswish": True}, "hswish"),
        ({"hswish": "all", "minimalistic": True}, "hswish must be none in a minimalistic network"),
        ({"output_stride": 16}, "output_stride must be 32 for head 'classifier', not 16"),
        ({"output_stride": 32, "head": "lraspp"}, "output_stride must be 16 or 8 for head 'lraspp'"),
        ({"reduce_tail": True}, "reduce_tail is for the heads none, lraspp and ssdlite"),
        ({"minimalistic": 1}, "minimalistic must be one of True, False, not 1"),
        ({"seed": -1}, "seed must be an integer from 0"),
        ({"seed": True}, "seed"),
    ],
)
def test_options_out_of_range_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        mobilenet_v3(**options)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
