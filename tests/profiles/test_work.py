"""Works: their texts, and the layers that they are made of."""

import pytest
from hypothesis import given
from tests.profiles.works import WORKS, blocks

from mnv3c.graph.errors import UserError
from mnv3c.graph.layer import layer_key, layers
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.networks.rewrites import make_divisible
from mnv3c.graph.networks.tables import TABLES, Variant
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.profiles.block import Block, block_activation
from mnv3c.profiles.layer_keys import convolution_key
from mnv3c.profiles.work import GroupWork, KernelWork, LayerWork, NetworkWork, NodeWork, Work, parse_work

POINTWISE = convolution_key(14, 8, 16)
DEPTHWISE = convolution_key(14, 16, 16, kernel=3, groups=16)
LAYER, OTHER = LayerWork(POINTWISE), LayerWork(DEPTHWISE)


@given(WORKS)
def test_works_survive_their_text(work: Work) -> None:
    assert parse_work(str(work)) == work


@given(WORKS, WORKS)
def test_text_is_equal_exactly_where_works_are(one: Work, other: Work) -> None:
    assert (str(one) == str(other)) == (one == other)


def test_texts_are_stable() -> None:
    block = Block(56, 24, 40, 72, 5, 2, se=True, activation="relu", skip=False)
    text = "block h_in=56 c_in=24 c_out=40 c_expand=72 kernel=5 stride=2 se=yes activation=relu skip=no"
    assert str(block) == text
    assert str(KernelWork(POINTWISE, "gemm+relu")) == f"kernel gemm+relu {POINTWISE}"
    assert str(LayerWork(POINTWISE, "fp16")) == "conv2d 1x14x14x8->1x14x14x16 bias=yes weights=fp16"
    assert str(GroupWork((LAYER, OTHER))) == f"{POINTWISE} | {DEPTHWISE}"
    assert str(GroupWork((LAYER, OTHER), ((-1,), (-2,)))) == f"{POINTWISE} | {DEPTHWISE} from=-1/-2"
    assert str(NodeWork("CONV_2D", "features/0 [x]:3")) == "node CONV_2D features/0 [x]:3"
    assert str(NetworkWork("v3", (POINTWISE, DEPTHWISE))) == f"network v3 {POINTWISE}; {DEPTHWISE}"


def test_a_chain_has_one_form() -> None:
    assert GroupWork((LAYER, OTHER), ((-1,), (0,))) == GroupWork((LAYER, OTHER))


@pytest.mark.parametrize("variant", ["large", "small"])
def test_blocks_are_the_layers_of_a_network(variant: Variant) -> None:
    """Every block of MobileNetV3, written as numbers, has the keys that the graph has after the passes."""
    graph = run_passes(mobilenet_v3(variant, seed=None), default_passes())
    nodes = layers(graph)
    size, c_in = 112, 16
    for number, row in enumerate(TABLES[variant].blocks, start=1):
        assert row.activation.kind in ("relu", "hswish")
        block = Block(
            size,
            c_in,
            row.out,
            row.expansion,
            row.kernel,
            row.stride,
            se=row.se,
            activation=block_activation(row.activation.kind),
            skip=Block.may_skip(c_in, row.out, row.stride),
        )
        keys = tuple(layer_key(graph, node) for node in nodes if node.name.startswith(f"block{number}."))
        assert block.layer_keys() == keys
        size, c_in = block.h_out, row.out
    assert (size, c_in) == (7, TABLES[variant].blocks[-1].out)


@given(blocks())
def test_the_layers_of_a_block_fit_together(block: Block) -> None:
    keys = block.layer_keys()
    assert keys[0].input_shapes[0] == (1, block.h_in, block.h_in, block.c_in)
    assert keys[-1].output_shape == (1, block.h_out, block.h_out, block.c_out)
    assert len(keys) == 2 + (block.c_expand != block.c_in) + 4 * block.se
    assert (keys[-1].residual != "") == block.skip
    if block.se:
        assert make_divisible(block.c_expand / 4) in [key.output_shape[-1] for key in keys]
    macs = block.h_in**2 * block.c_in * block.c_expand * (block.c_expand != block.c_in)
    macs += block.h_out**2 * block.c_expand * (block.kernel**2 + block.c_out)
    macs += 2 * block.c_expand * make_divisible(block.c_expand / 4) * block.se
    assert sum(key.macs for key in keys) == macs


def test_what_layers_each_work_has() -> None:
    assert LAYER.layer_keys() == KernelWork(POINTWISE, "gemm").layer_keys() == (POINTWISE,)
    assert GroupWork((LAYER, OTHER)).layer_keys() == NetworkWork("n", (POINTWISE, DEPTHWISE)).layer_keys()
    assert NodeWork("CONV_2D", "x").layer_keys() == NetworkWork("n").layer_keys() == ()


def test_a_variant_is_a_family_and_what_is_linked() -> None:
    kernel = KernelWork(POINTWISE, "convolution_2d+add+relu")
    assert (kernel.family, kernel.linked) == ("convolution_2d", ("add", "relu"))
    assert KernelWork(POINTWISE, "gemm").linked == ()


BLOCK = "block h_in=8 c_in=8 c_out=8 c_expand=8 kernel=3 stride=1 se=no activation=relu skip=yes"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "unknown op 'nothing'"),
        ("", "unknown op ''"),
        (BLOCK.replace("stride=1", "stride=2"), "skip needs stride 1"),
        (BLOCK.replace("se=no", "se=0"), "se is 'yes' or 'no', not '0'"),
        (BLOCK.replace("relu", "tanh"), "activation is one of relu, relu6, hswish, not 'tanh'"),
        (BLOCK.replace("h_in=8", "h_in=0"), "h_in must be positive, not 0"),
        (BLOCK.replace("h_in=8", "h_in=08"), "must be written 'block h_in=8 "),
        (BLOCK.replace("h_in=8 c_in=8", "c_in=8 h_in=8"), "a block has the fields h_in, c_in, "),
        ("kernel gemm", "unknown op ''"),
        (f"network a{chr(7)} {POINTWISE}", "name must be one word"),
        (f"network a  {POINTWISE}", "layer key"),
        (f"{POINTWISE} | {DEPTHWISE} from=-1", "name each input of each part"),
        (f"{POINTWISE} | {DEPTHWISE} from=-1/1", "reads earlier parts only"),
        (f"{POINTWISE} | {DEPTHWISE} from=-1/0", "must be written"),
        (f"{POINTWISE} weights=int4", "weights"),
        ("node CONV ", "name must be printable"),
        ("network", "name must be one word"),
    ],
)
def test_bad_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=r"^work '") as error:
        parse_work(text)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_group_has_parts() -> None:
    with pytest.raises(ValueError, match="at least two parts"):
        GroupWork((LAYER,))
