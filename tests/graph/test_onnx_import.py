"""Each op of ONNX, imported and held against onnxruntime."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from tests.graph.onnx_models import (
    IMAGE,
    PASSES,
    assert_agrees,
    newest_opset,
    onnx_model,
    outputs_as_in_onnx,
    random,
    saved,
)
from tests.onnx_export import run_onnx

from mnv3c.graph.activation import HSWISH, Activation
from mnv3c.graph.importers.onnx import import_onnx
from mnv3c.graph.ops import Activate, ChannelAffine, Conv2d, Dense, Input, Pool2d, Resize
from mnv3c.graph.passes.pipeline import run_passes

OPSETS = (11, 13, 17, newest_opset())
F32 = np.float32

Body = tuple[list[Any], dict[str, Any]]
Case = Callable[[int], Body]


def one(op_type: str, *constants: Any, before: int = 0, **attributes: Any) -> Case:
    """One node that reads `x` and then constants (`before` of them first)."""
    names = [f"c{i}" for i in range(len(constants))]
    inputs = [*names[:before], "x", *names[before:]]
    body = [helper.make_node(op_type, inputs, ["y"], **attributes)], dict(zip(names, constants, strict=True))
    return lambda opset: body


def chain(*steps: Any) -> list[Any]:
    """Nodes that pass one tensor along, from x to y: (op type, further inputs, attributes)."""
    names = ["x", *(f"t{i}" for i in range(len(steps) - 1)), "y"]
    return [
        helper.make_node(op, [names[i], *extra], [names[i + 1]], **attributes)
        for i, (op, extra, attributes) in enumerate(steps)
    ]


def conv(**attributes: Any) -> Case:
    weight = random(6, 3 // int(attributes.get("group", 1)), 3, 3)
    return one("Conv", weight, random(6, seed=1), **attributes)


def squeezed(opset: int) -> Body:
    axes = ([], {"axes": [2, 3]}) if opset < 13 else (["axes"], {})
    return chain(("GlobalAveragePool", [], {}), ("Squeeze", *axes)), {"axes": np.array([2, 3])}


def squeezed_in_two_steps(opset: int) -> Body:
    def step(axis: int) -> Any:
        return ("Squeeze", [], {"axes": [axis]}) if opset < 13 else ("Squeeze", [f"axis{axis}"], {})

    return chain(("GlobalAveragePool", [], {}), step(3), step(-1)), {"axis3": np.array([3]), "axis-1": np.array([-1])}


def mean(keepdims: int) -> Case:
    def case(opset: int) -> Body:
        axes = ([], {"axes": [-1, 2]}) if opset < 18 else (["axes"], {})
        return [helper.make_node("ReduceMean", ["x", *axes[0]], ["y"], keepdims=keepdims, **axes[1])], {
            "axes": np.array([-1, 2])
        }

    return case


def computed_shape(opset: int) -> Body:
    """(1, C, 1, 1) reshaped to (Shape[0], C), as frameworks write `flatten`."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Shape", ["p"], ["s"]),
        helper.make_node("Cast", ["s"], ["s32"], to=onnx.TensorProto.INT32),
        helper.make_node("Slice", ["s32", "zero", "one", "zero", "one"], ["n32"]),
        helper.make_node("Cast", ["n32"], ["n"], to=onnx.TensorProto.INT64),
        helper.make_node("Gather", ["s", "one"], ["c"], axis=0),
        helper.make_node("Concat", ["n", "c"], ["to"], axis=-1),
        helper.make_node("Reshape", ["p", "to"], ["y"]),
    ]
    return nodes, {"zero": np.array([0]), "one": np.array([1])}


def reshaped_bias(opset: int) -> Body:
    nodes = [
        helper.make_node("Constant", [], ["to"], value_ints=[1, -1, 1, 1])
        if opset >= 12
        else helper.make_node("Constant", [], ["to"], value=onnx.numpy_helper.from_array(np.array([1, 3, 1, 1]))),
        helper.make_node("Reshape", ["b", "to"], ["b4"]),
        helper.make_node("Add", ["b4", "x"], ["y"]),
    ]
    return nodes, {"b": random(3)}


def gate(swapped: bool) -> Case:
    def case(opset: int) -> Body:
        inputs = ["s", "x"] if swapped else ["x", "s"]
        return [
            helper.make_node("GlobalAveragePool", ["x"], ["p"]),
            helper.make_node("Sigmoid", ["p"], ["s"]),
            helper.make_node("Mul", inputs, ["y"]),
        ], {}

    return case


def of_two(op_type: str, **attributes: Any) -> Case:
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node(op_type, ["x", "r"], ["y"], **attributes)]
    return lambda opset: (nodes, {})


def through_nhwc(opset: int) -> Body:
    return chain(
        ("Transpose", [], {"perm": [0, 2, 3, 1]}),
        ("Add", ["b"], {}),
        ("Relu", [], {}),
        ("Transpose", [], {"perm": [0, 3, 1, 2]}),
        ("Conv", ["w"], {}),
    ), {"b": random(3), "w": random(4, 3, 1, 1)}


def padded(*steps: Any, **constants: Any) -> Case:
    return lambda opset: (
        chain(("Pad", ["pads"], {}), *steps),
        {"pads": np.array([0, 0, 1, 0, 0, 0, 2, 1]), **constants},
    )


def classifier(opset: int) -> Body:
    constants = {"w": random(3, 5), "g": random(4, 5, seed=2), "b": random(4), "d": random(4, seed=3)}
    gemm = {"transB": 1, "alpha": 0.5, "beta": 2.0}
    return chain(
        ("GlobalAveragePool", [], {}),
        ("Flatten", [], {}),
        ("MatMul", ["w"], {}),
        ("Gemm", ["g", "b"], gemm),
        ("Sub", ["d"], {}),
        ("Softmax", [], {"axis": 1}),
    ), constants


def resize(scales: Any = None, sizes: Any = None, **attributes: Any) -> Case:
    def case(opset: int) -> Body:
        constants = {"empty": np.zeros(0, F32), "scales": np.array(scales or [], F32)}
        inputs = ["x", "empty" if opset < 13 else "", "scales" if scales or opset < 13 else ""]
        if sizes is not None:
            inputs.append("sizes")
            constants["sizes"] = np.array(sizes, np.int64)
        return [helper.make_node("Resize", inputs, ["y"], **attributes)], constants

    return case


def linear(coordinates: str) -> Case:
    return resize(sizes=[1, 3, 10, 5], mode="linear", coordinate_transformation_mode=coordinates)


CHANNELS = random(1, 3, 1, 1)
NORM = (random(3), random(3, seed=1), random(3, seed=2), np.abs(random(3, seed=3)) + F32(0.1))
CASES: dict[str, Case] = {
    "conv": conv(),
    "conv-pads": conv(pads=[0, 1, 2, 3], strides=[2, 1]),
    "conv-same-upper": conv(auto_pad="SAME_UPPER", strides=[2, 3]),
    "conv-same-lower": conv(auto_pad="SAME_LOWER", strides=[2, 2]),
    "conv-valid": conv(auto_pad="VALID"),
    "conv-dilated": conv(dilations=[2, 3], pads=[2, 2, 2, 2]),
    "conv-grouped": conv(group=3, kernel_shape=[3, 3]),
    "conv-transpose": one("ConvTranspose", random(3, 4, 3, 2), random(4), strides=[2, 3], pads=[1, 0, 0, 1]),
    "batch-norm": one("BatchNormalization", *NORM, epsilon=1e-3),
    "pad-conv": padded(("Conv", ["w"], {"pads": [1, 0, 0, 1]}), w=random(4, 3, 3, 3)),
    "pad-conv-same": padded(("Conv", ["w"], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}), w=random(4, 3, 3, 3)),
    "pad-mean": padded(("AveragePool", [], {"kernel_shape": [3, 3], "count_include_pad": 0})),
    "relu": one("Relu"),
    "sigmoid": one("Sigmoid"),
    "hard-sigmoid": one("HardSigmoid", alpha=0.3, beta=0.4),
    "clip": one("Clip", F32(-0.5), F32(0.7)),
    "clip-relu6": one("Clip", F32(0), F32(6)),
    "clip-low": one("Clip", F32(-0.2)),
    "clip-relu": one("Clip", F32(0)),
    "clip-nothing": one("Clip"),
    "add-scalar": one("Add", F32(3)),
    "sub-scalar": one("Sub", F32(3)),
    "scalar-sub": one("Sub", np.array([3], F32), before=1),
    "mul-scalar": one("Mul", np.full((1, 1, 1), 0.3, F32), before=1),
    "div-scalar": one("Div", F32(6)),
    "add-channels": one("Add", CHANNELS),
    "sub-channels": one("Sub", CHANNELS),
    "channels-sub": one("Sub", CHANNELS[0], before=1),
    "mul-channels": one("Mul", CHANNELS),
    "div-channels": one("Div", CHANNELS),
    "reshaped-bias": reshaped_bias,
    "add": of_two("Add"),
    "sub": of_two("Sub"),
    "mul": of_two("Mul"),
    "gate": gate(False),
    "gate-first": gate(True),
    "concat": of_two("Concat", axis=-3),
    "global-pool": one("GlobalAveragePool"),
    "mean-kept": mean(1),
    "mean-dropped": mean(0),
    "max-pool": one("MaxPool", kernel_shape=[2, 3], strides=[2, 1], pads=[0, 1, 1, 1]),
    "max-pool-same": one("MaxPool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    "max-pool-ceil-no-matter": one("MaxPool", kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1),
    "mean-pool": one("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "mean-pool-counting": one("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 0, 1], count_include_pad=1),
    "squeezed": squeezed,
    "squeezed-in-two-steps": squeezed_in_two_steps,
    "computed-shape": computed_shape,
    "classifier": classifier,
    "transposes-that-cancel": through_nhwc,
    "dropout": lambda opset: (chain(("Dropout", [], {}), ("Relu", [], {})), {}),
    "cast": one("Cast", to=onnx.TensorProto.FLOAT),
    "nearest-torch": resize([1, 1, 2, 3], coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    "nearest-half": resize(sizes=[1, 3, 5, 13]),
    "nearest-down": resize(sizes=[1, 3, 3, 5], coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    "nearest-equal-anyway": resize([1, 1, 2, 2], coordinate_transformation_mode="asymmetric"),
    "linear-half": linear("half_pixel"),
    "linear-asymmetric": linear("asymmetric"),
    "linear-corners": linear("align_corners"),
    "linear-torch": linear("pytorch_half_pixel"),
    "linear-scales": resize([1, 1, 2, 0.5], mode="linear"),
}


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("name", CASES)
def test_op_agrees_with_onnxruntime(name: str, opset: int, tmp_path: Path) -> None:
    nodes, constants = CASES[name](opset)
    path = saved(onnx_model(nodes, constants, opset=opset), tmp_path)
    assert_agrees(path, random(*IMAGE, seed=9) * 3)


@pytest.mark.parametrize("opset", [14, newest_opset()])
def test_hard_swish(opset: int, tmp_path: Path) -> None:
    model = onnx_model([helper.make_node("HardSwish", ["x"], ["y"])], opset=opset)
    graph = assert_agrees(saved(model, tmp_path), random(*IMAGE) * 4)
    assert [node.op for node in graph.nodes][1:] == [Activate(HSWISH)]


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample_and_clip_of_opset_9(mode: str, tmp_path: Path) -> None:
    nodes = chain(("Upsample", ["scales"], {"mode": mode}), ("Clip", [], {"min": -1.0, "max": 0.5}))
    model = onnx_model(nodes, {"scales": np.array([1, 1, 2, 3], F32)}, opset=9)
    graph = assert_agrees(saved(model, tmp_path), random(*IMAGE))
    resized = next(node.op for node in graph.nodes if isinstance(node.op, Resize))
    assert resized.coordinates == "asymmetric"


def test_tensors_become_nhwc_and_names_stay_readable(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["features.0/out"], name="/features/0/Conv", group=2, strides=[2, 1]),
        helper.make_node("Relu", ["features.0/out"], ["12"]),
        helper.make_node("Relu", ["12"], ["y"], name="/features.0/Conv"),
    ]
    weight = random(4, 1, 3, 2)
    graph = import_onnx(saved(onnx_model(nodes, {"w": weight}, (1, 2, 7, 8)), tmp_path, "my-net v2.onnx"))
    assert graph.name == "my_net_v2"
    assert [node.name for node in graph.nodes] == ["x", "features_0_Conv", "Relu_12", "features_0_Conv_2"]
    assert graph["x"].op == Input((1, 7, 8, 2), layout="NCHW") and graph.output_layout == "NCHW"
    assert graph.type_of("features_0_Conv").shape == (1, 3, 7, 4)
    np.testing.assert_array_equal(graph.weights["features_0_Conv.weight"], weight.transpose(2, 3, 1, 0))


def test_channels_last_borders_are_kept(tmp_path: Path) -> None:
    nodes = chain(
        ("Transpose", [], {"perm": [0, 3, 1, 2]}), ("Conv", ["w"], {}), ("Transpose", [], {"perm": [0, 2, 3, 1]})
    )
    path = saved(onnx_model(nodes, {"w": random(4, 3, 3, 3)}, (1, 7, 8, 3)), tmp_path)
    graph = assert_agrees(path, random(1, 7, 8, 3))
    assert graph.inputs[0].op == Input((1, 7, 8, 3)) and graph.output_layout == "NHWC"
    assert [node.op.kind for node in graph.nodes] == ["input", "conv2d"]


def test_constants_of_one_channel_stay_per_channel(tmp_path: Path) -> None:
    model = onnx_model([helper.make_node("Add", ["x", "b"], ["y"])], {"b": random(1, 1, 1, 1)}, (1, 1, 4, 4))
    graph = assert_agrees(saved(model, tmp_path), random(1, 1, 4, 4))
    assert graph.nodes[1].op == ChannelAffine(shift=True)


def test_float64_scalars_are_taken(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["six"], ["six32"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Clip", ["x", "", "six32"], ["y"]),
    ]
    graph = assert_agrees(saved(onnx_model(nodes, {"six": np.float64(6)}), tmp_path), random(*IMAGE) * 9)
    assert isinstance(graph.nodes[1].op, Activate) and graph.nodes[1].op.activation.high == 6.0


def test_external_data_of_the_same_folder(tmp_path: Path) -> None:
    model = onnx_model([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": random(4, 3, 3, 3)})
    path = tmp_path / "model.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "weights.bin").exists()
    assert_agrees(path, random(*IMAGE))


def test_initializers_may_be_listed_as_inputs_and_nodes_in_any_order(tmp_path: Path) -> None:
    nodes = chain(("Conv", ["w"], {}), ("Relu", [], {}))
    model = onnx_model(nodes, {"w": random(4, 3, 3, 3)})
    expected = run_onnx(saved(model, tmp_path), random(*IMAGE))["y"]
    model.graph.input.append(helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, (4, 3, 3, 3)))
    nodes[:] = model.graph.node
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    graph = import_onnx(saved(model, tmp_path))
    np.testing.assert_allclose(outputs_as_in_onnx(graph, random(*IMAGE))[0], expected, rtol=1e-5, atol=1e-5)


def test_dead_nodes_and_training_leftovers_go(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["unused"]),
        helper.make_node("Dropout", ["x"], ["d", "mask"]),
        helper.make_node("Relu", ["d"], ["y"]),
    ]
    graph = run_passes(import_onnx(saved(onnx_model(nodes), tmp_path)), PASSES)
    assert [node.op.kind for node in graph.nodes] == ["input", "activate"]


def test_several_outputs(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Identity", ["r"], ["i"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
    ]
    graph = assert_agrees(saved(onnx_model(nodes, outputs=("p", "i", "r")), tmp_path), random(*IMAGE))
    assert graph.outputs == ("p", "i", "r")


def test_ops_of_the_imported_values(tmp_path: Path) -> None:
    """What the numbers alone would not show: which op of the IR a node became."""
    nodes, constants = CASES["conv-pads"](17)
    conv_op = import_onnx(saved(onnx_model(nodes, constants), tmp_path)).nodes[1].op
    assert conv_op == Conv2d(6, (3, 3), stride=(2, 1), padding=(0, 1, 2, 3), bias=True)
    nodes, constants = CASES["classifier"](17)
    graph = import_onnx(saved(onnx_model(nodes, constants), tmp_path))
    assert [node.op for node in graph.nodes if isinstance(node.op, Dense)] == [Dense(5), Dense(4, bias=True)]
    nodes, constants = CASES["pad-mean"](17)
    pool = import_onnx(saved(onnx_model(nodes, constants), tmp_path)).nodes[1].op
    assert pool == Pool2d("average", (3, 3), (1, 1), (1, 0, 2, 1), count_padding=True)
    nodes, constants = CASES["hard-sigmoid"](17)
    gate_op = import_onnx(saved(onnx_model(nodes, constants), tmp_path)).nodes[1].op
    assert gate_op == Activate(Activation("hsigmoid", slope=float(F32(0.3)), offset=float(F32(0.4))))
