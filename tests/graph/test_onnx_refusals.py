"""What the importer refuses: one line that names the file, the node and what is wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.graph.onnx_models import onnx_model, random, saved

from mnv3c.graph.errors import UserError
from mnv3c.graph.importers.onnx import import_onnx

F32 = np.float32
PADS = {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])}
TWICE = {"c": np.array([1, 1, 2, 2], F32)}


def node(op_type: str, *inputs: str, **attributes: Any) -> Any:
    return helper.make_node(op_type, inputs or ["x"], ["y"], name="n", **attributes)


REFUSED: dict[str, tuple[list[Any], dict[str, Any], str]] = {
    "op": ([node("Celu")], {}, r"node 'n' \(Celu\): this operator is not supported"),
    "domain": ([node("Relu", domain="com.example")], {}, "operator domain 'com.example'"),
    "attribute": ([node("Relu", leak=0.1)], {}, "attribute 'leak' is not supported"),
    "attribute type": ([node("Conv", "x", "c", group=1.0)], {"c": random(2, 3, 1, 1)}, "'group' must be of type INT"),
    "float16": ([node("Conv", "x", "c")], {"c": random(2, 3, 1, 1).astype(np.float16)}, "'c' is float16; only float32"),
    "float64": ([node("Conv", "x", "c")], {"c": random(2, 3, 1, 1).astype(np.float64)}, "'c' is float64; only float32"),
    "int8": ([node("Conv", "x", "c")], {"c": np.ones((2, 3, 1, 1), np.int8)}, "'c' is int8; only float32"),
    "float64 channels": ([node("Add", "x", "c")], {"c": np.ones((3, 1, 1))}, "'c' is float64; only float32"),
    "not finite": ([node("Conv", "x", "c")], {"c": np.full((2, 3, 1, 1), np.nan, F32)}, "'c' is not finite"),
    "weight of rank 3": ([node("Conv", "x", "c")], {"c": random(2, 3, 1)}, r"shape \(2, 3, 1\); only rank 4"),
    "channels": (
        [node("Conv", "x", "c")],
        {"c": random(2, 4, 1, 1)},
        r"has shape \(1, 1, 4, 2\), needs",
    ),
    "groups": ([node("Conv", "x", "c", group=2)], {"c": random(2, 3, 1, 1)}, "groups 2 does not divide 3"),
    "kernel": ([node("Conv", "x", "c", kernel_shape=[3, 3])], {"c": random(2, 3, 1, 1)}, r"'kernel_shape' is \(3, 3\)"),
    "auto_pad": (
        [node("Conv", "x", "c", auto_pad="ALL")],
        {"c": random(2, 3, 1, 1)},
        "'auto_pad' is 'ALL'; supported: NOT",
    ),
    "absurd pads": (
        [node("Conv", "x", "c", pads=[2**40] * 4, strides=[2**41] * 2)],
        {"c": random(2, 3, 1, 1)},
        "is larger than 65536",
    ),
    "extra input": ([node("Relu", "x", "x")], {}, "input 1 is not supported"),
    "computed weight": ([node("Conv", "x", "x")], {}, "input 'x' must be a constant"),
    "output_padding": (
        [node("ConvTranspose", "x", "c", strides=[2, 2], output_padding=[1, 1])],
        {"c": random(3, 2, 2, 2)},
        r"attribute 'output_padding' is \(1, 1\); only \(0, 0\)",
    ),
    "transposed groups": (
        [node("ConvTranspose", "x", "c", group=3)],
        {"c": random(3, 1, 2, 2)},
        "'group' is 3; only 1",
    ),
    "output_shape": (
        [node("ConvTranspose", "x", "c", output_shape=[9, 9])],
        {"c": random(3, 1, 2, 2)},
        "attribute 'output_shape' is not supported",
    ),
    "training": (
        [node("BatchNormalization", "x", "c", "c", "c", "c", training_mode=1)],
        {"c": np.ones(3, F32)},
        "attribute 'training_mode' is 1; only 0",
    ),
    "variance": ([node("BatchNormalization", "x", *"cccc")], {"c": np.full(3, -1, F32)}, "variance plus epsilon"),
    "map constant": ([node("Add", "x", "c")], {"c": random(1, 3, 7, 8)}, "neither scalar nor one value per channel"),
    "row constant": ([node("Mul", "x", "c")], {"c": random(8)}, r"constant of shape \(8,\) is neither"),
    "higher rank": ([node("Mul", "x", "c")], {"c": random(1, 1, 1, 1, 1)}, "higher rank"),
    "division by zero": ([node("Div", "x", "c")], {"c": F32(0)}, "divides by zero"),
    "constant over x": ([node("Div", "c", "x")], {"c": F32(1)}, "division of a constant"),
    "x over x": ([node("Div", "x", "x")], {}, "division of two computed"),
    "integer scalar": ([node("Add", "x", "c")], {"c": np.int64(3)}, "'c' must be one number, float32 or float64"),
    "mean of one axis": ([node("ReduceMean", "x", axes=[2])], {}, r"mean over axes \[2\]"),
    "mean of all": ([node("ReduceMean", "x")], {}, r"mean over axes \[\]"),
    "ceil_mode": ([node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)], {}, "'ceil_mode' changes"),
    "indices": (
        [helper.make_node("MaxPool", ["x"], ["p", "i"], kernel_shape=[2, 2]), node("Relu", "i")],
        {},
        "reads 'i', a second output that is not supported",
    ),
    "reshape": ([node("Reshape", "x", "c")], {"c": np.array([1, -1])}, r"from \(1, 3, 7, 8\) to \(1, 168\); only 1x1"),
    "reshape that does not fit": ([node("Reshape", "x", "c")], {"c": np.array([5, -1])}, "does not fit"),
    "flatten": ([node("Flatten")], {}, r"from \(1, 3, 7, 8\) to \(1, 168\)"),
    "transpose": ([node("Transpose", "x", perm=[0, 1, 3, 2])], {}, r"perm \[0, 1, 3, 2\].*cannot be removed"),
    "transpose that stays": (
        [helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 3, 1]), node("Conv", "t", "c")],
        {"c": random(2, 7, 1, 1)},
        r"\(Conv\): reads the result of a Transpose that cannot be removed",
    ),
    "concat axis": ([node("Concat", "x", "x", axis=2)], {}, "'axis' is 2; only the channel axis"),
    "concat constant": ([node("Concat", "x", "c", axis=1)], {"c": random(1, 3, 7, 8)}, "'c' is a constant"),
    "softmax": ([node("Softmax")], {}, "only the last axis of"),
    "cast": ([node("Cast", "x", to=TensorProto.FLOAT16)], {}, "cast to float16"),
    "pad value": ([node("Pad", "x", "pads", "v")], {**PADS, "v": F32(1)}, "pads with 1; only 0"),
    "pad mode": ([node("Pad", "x", "pads", mode="reflect")], PADS, "'mode' is 'reflect'; supported: constant"),
    "pad channels": ([node("Pad", "x", "c")], {"c": np.array([0, 1, 0, 0, 0, 0, 0, 0])}, "only height and width"),
    "pad before relu": ([helper.make_node("Pad", ["x", "pads"], ["p"]), node("Relu", "p")], PADS, "result of a Pad"),
    "pad before maximum": (
        [helper.make_node("Pad", ["x", "pads"], ["p"]), node("MaxPool", "p", kernel_shape=[3, 3])],
        PADS,
        "result of a Pad",
    ),
    "cubic": ([node("Resize", "x", "", "c", mode="cubic")], TWICE, "'mode' is 'cubic'; supported: nearest, linear"),
    "nearest ceil": ([node("Resize", "x", "", "c", nearest_mode="ceil")], TWICE, "'nearest_mode' is 'ceil'"),
    "nearest other pixels": ([node("Resize", "x", "", "c", nearest_mode="floor")], TWICE, "reads other pixels than"),
    "antialias": ([node("Resize", "x", "", "c", mode="linear", antialias=1)], TWICE, "'antialias' is 1"),
    "fractional": (
        [node("Resize", "x", "", "c")],
        {"c": np.array([1, 1, 1.5, 1], F32)},
        "scale 1.5 of an extent of 7 is not a whole number",
    ),
    "resized channels": ([node("Resize", "x", "", "c")], {"c": np.array([1, 2, 1, 1], F32)}, "only height and width"),
    "absurd size": (
        [node("Resize", "x", "", "", "c")],
        {"c": np.array([1, 3, 2**50, 2**50])},
        "resized extent 1125899906842624 is not supported",
    ),
    "absurd constant": (
        [helper.make_node("ConstantOfShape", ["c"], ["big"]), node("Add", "x", "big")],
        {"c": np.array([2**40, 2**20])},
        "would compute a constant of shape",
    ),
    "constant output": (
        [helper.make_node("Relu", ["x"], ["r"]), node("Identity", "c")],
        {"c": F32(1)},
        "'y' is a constant",
    ),
    "rank 3 output": (
        [helper.make_node("GlobalAveragePool", ["x"], ["p"]), node("Squeeze", "p", "c")],
        {"c": np.array([2])},
        r"output 'y' of shape \(1, 3, 1\) is not supported",
    ),
    "cycle": (
        [node("Add", "x", "r"), helper.make_node("Relu", ["y"], ["r"])],
        {},
        r"'n' \(Add\): waits for its own",
    ),
    "dangling": ([node("Add", "x", "gone")], {}, r"node 'n' \(Add\): reads 'gone', which nothing computes"),
    "computed twice": ([node("Relu"), node("Relu")], {}, "'y' is computed twice"),
    "unused input": (
        [helper.make_node("Shape", ["x"], ["s"]), node("Relu", "s")],
        {},
        "is a constant; only a computed",
    ),
}


def refusal(path: Path, **shapes: tuple[int, ...]) -> str:
    """The one-line message that names the file."""
    with pytest.raises(UserError) as caught:
        import_onnx(path, shapes)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and message.isprintable()
    return message


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, tmp_path: Path) -> None:
    nodes, constants, pattern = REFUSED[name]
    with pytest.raises(UserError, match=pattern):
        import_onnx(saved(onnx_model(nodes, constants), tmp_path))
    refusal(tmp_path / "model.onnx")


def relu(shape: Any, tmp_path: Path, opset: int = 17) -> Path:
    return saved(onnx_model([node("Relu")], shape=shape, opset=opset), tmp_path)


@pytest.mark.parametrize("shape", [(None, 3, "h", "w"), ("n", 3, 8, 8), (1, 3, -1, 8), (1, 3, 0, 8)])
def test_open_shapes_must_be_pinned(shape: Any, tmp_path: Path) -> None:
    path = relu(shape, tmp_path)
    assert "input 'x': its shape is open; pin it, as in --shape x:1,3," in refusal(path)
    assert import_onnx(path, {"x": (1, 3, 8, 8)}).inputs[0].op.infer(()).shape == (1, 8, 8, 3)


def test_the_batch_is_one_unless_pinned(tmp_path: Path) -> None:
    path = relu((4, 3, 8, 8), tmp_path)
    assert "its batch is 4; only 1 is supported unless pinned, as in --shape x:4,3,8,8" in refusal(path)
    assert import_onnx(path, {"x": (4, 3, 8, 8)}).type_of("x").shape == (4, 8, 8, 3)


@pytest.mark.parametrize("pinned", [(1, 4, 8, 8), (1, 3, 8), (1, 3, 8, 0), (1, 3, 8, -1)])
def test_pins_must_fit(pinned: tuple[int, ...], tmp_path: Path) -> None:
    assert "input 'x': cannot have shape" in refusal(relu((1, 3, "h", "w"), tmp_path), x=pinned)


def test_pins_name_inputs(tmp_path: Path) -> None:
    assert "has no input 'z' to pin; its inputs: 'x'" in refusal(relu((1, 3, 8, 8), tmp_path), z=(1, 3, 8, 8))


@pytest.mark.parametrize(("shape", "rank"), [((1, 3, 8), 3), ((1, 3, 8, 8, 8), 5), ((), 0)])
def test_other_ranks_are_refused(shape: Any, rank: int, tmp_path: Path) -> None:
    assert f"has rank {rank}; only 4 and 2" in refusal(relu(shape, tmp_path))


def test_absurd_activations_are_refused(tmp_path: Path) -> None:
    assert "more than 2^31 - 1 elements" in refusal(relu((1, 3, 2**40, 2**40), tmp_path))


@pytest.mark.parametrize("opset", [8, 1000])
def test_other_opsets_are_refused(opset: int, tmp_path: Path) -> None:
    assert f"opset {opset} is not supported; use 9 to " in refusal(relu((1, 3, 8, 8), tmp_path, opset))


def test_other_input_types_are_refused(tmp_path: Path) -> None:
    model = onnx_model([node("Relu")])
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    assert "input 'x': is uint8; only float32" in refusal(saved(model, tmp_path))


@pytest.mark.parametrize("content", [b"", b"hello, world", b"\x7fELF" + bytes(100), b"TFL3" * 20])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert "not an ONNX file" in refusal(path)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / "none.onnx")
    assert "cannot be read" in refusal(tmp_path)


def external(tmp_path: Path, **entries: str) -> Path:
    model = onnx_model([node("Conv", "x", "w")], {"w": random(2, 3, 1, 1)})
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    folder = tmp_path / "models"
    folder.mkdir()
    (tmp_path / "outside.bin").write_bytes(bytes(24))
    (folder / "w.bin").write_bytes(bytes(24))
    (folder / "link.bin").symlink_to(tmp_path / "outside.bin")
    return saved(model, folder)


@pytest.mark.parametrize("location", ["../outside.bin", "/etc/passwd", "", "..", ".", "sub/w.bin", "..\\w.bin", "a\0b"])
def test_external_data_elsewhere_is_refused(location: str, tmp_path: Path) -> None:
    assert "in the model's own folder" in refusal(external(tmp_path, location=location))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"location": "link.bin"}, "is a link out of the model's folder"),
        ({"location": "none.bin"}, "'none.bin': No such file"),
        ({"location": "w.bin", "offset": "8"}, "is too short"),
        ({"location": "w.bin", "offset": "-8"}, "at offset -8"),
        ({"location": "w.bin", "length": "7"}, "claims 7"),
        ({"location": "w.bin", "offset": "one"}, "must be integers"),
    ],
)
def test_external_data_that_does_not_fit_is_refused(entries: dict[str, str], message: str, tmp_path: Path) -> None:
    assert message in refusal(external(tmp_path, **entries))


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ((2**40, 2**40), "needs 4835703278458516698824704 bytes, the file has 24"),
        ((-2, -3), "negative extent"),
        ((7,), "needs 28 bytes, the file has 24"),
    ],
)
def test_sizes_are_held_against_the_data(dims: tuple[int, ...], message: str, tmp_path: Path) -> None:
    model = onnx_model([node("Conv", "x", "w")], {"w": random(2, 3, 1, 1)})
    model.graph.initializer[0].dims[:] = dims
    assert message in refusal(saved(model, tmp_path))


def test_listed_values_are_held_against_the_shape(tmp_path: Path) -> None:
    model = onnx_model([node("Conv", "x", "w")])
    model.graph.initializer.append(TensorProto(name="w", dims=(2, 3, 1, 1), data_type=1, float_data=[1.0] * 5))
    assert "does not hold its 5 values" in refusal(saved(model, tmp_path))


def test_strings_and_sparse_weights_are_refused(tmp_path: Path) -> None:
    model = onnx_model([node("Relu")])
    model.graph.initializer.append(helper.make_tensor("s", TensorProto.STRING, (1,), [b"text"]))
    assert "tensor 's': dtype string is not supported" in refusal(saved(model, tmp_path))
    del model.graph.initializer[:]
    model.graph.sparse_initializer.add()
    assert "sparse initializers" in refusal(saved(model, tmp_path))


@pytest.mark.parametrize("name", ["Relu", "tensor", "weight", "first", "alpha"])
def test_names_that_are_not_utf8_are_refused(name: str, tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["tensor"], name="first"), node("Elu", "tensor", alpha=1.0)]
    data = onnx_model(nodes, {"weight": F32(1)}).SerializeToString()
    path = tmp_path / "model.onnx"
    path.write_bytes(data.replace(name.encode(), b"\xff\xfe" + name.encode()[2:]))
    assert "damaged: a name in it is not UTF-8" in refusal(path)


def test_names_with_control_characters_stay_on_one_line(tmp_path: Path) -> None:
    model = onnx_model([helper.make_node("Celu", ["x"], ["y"], name="a\nb\x1b" + "c" * 500)])
    message = refusal(saved(model, tmp_path))
    assert "node 'a\\nb\\x1bccc" in message and len(message) < len(str(tmp_path)) + 200


def test_a_model_without_opset_is_refused(tmp_path: Path) -> None:
    model = onnx_model([node("Relu")])
    del model.opset_import[:]
    assert "names no version" in refusal(saved(model, tmp_path))
    assert onnx.load(str(tmp_path / "model.onnx")).graph.node
