"""What the importer refuses: one line that names the file, the operator or tensor, and what is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tflite
from tests.graph.importers.tflite_models import (
    SHAPE,
    Model,
    Op,
    X,
    Y,
    graph_of,
    int8,
    pointwise,
    poke,
    poke_vector,
    saved,
)

from mnv3c.graph.errors import UserError
from mnv3c.graph.exporters import tflite_options as options
from mnv3c.graph.exporters.tflite_model import Quantization
from mnv3c.graph.importers.tflite import import_tflite

CONV = options.convolution(True, (1, 1), (1, 1), "none")
WHOLE = pointwise().bytes("y")
NO_PADS = np.zeros((4, 2), np.int32)


def model_table(data: bytes) -> Any:
    return tflite.Model.GetRootAs(data)


def code(data: bytes) -> Any:
    return model_table(data).OperatorCodes(0)


def operator(data: bytes) -> Any:
    return graph_of(data).Operators(0)


def tensor(data: bytes, name: str) -> Any:
    graph = graph_of(data)
    return next(t for j in range(graph.TensorsLength()) if (t := graph.Tensors(j)).Name().decode() == name)


def tensor_index(data: bytes, name: str) -> int:
    graph = graph_of(data)
    return next(j for j in range(graph.TensorsLength()) if graph.Tensors(j).Name().decode() == name)


def reads(name: str) -> bytes:
    """The pointwise convolution, reading another tensor than its input."""
    return poke_vector(WHOLE, operator(WHOLE), 1, "<i", 0, tensor_index(WHOLE, name))


def scaled(name: str, value: float) -> bytes:
    return poke_vector(WHOLE, tensor(WHOLE, name).Quantization(), 2, "<f", 0, value)


def shaped(name: str, axis: int, extent: int) -> bytes:
    return poke_vector(WHOLE, tensor(WHOLE, name), 0, "<i", axis, extent)


def single(op: int, attributes: Any = None, shape: tuple[int, ...] = SHAPE, output: tuple[int, ...] = SHAPE) -> bytes:
    """One operator that reads x and writes y."""
    return Model(shape).tensor("y", output, X).operator(op, ("x",), "y", attributes).bytes("y")


def padded(op: int, amounts: Any, inputs: tuple[str, ...] = ("x", "p"), reader: int | None = None) -> bytes:
    """A PAD, and what reads it: ADD, or a maximum."""
    model = Model().constant("p", amounts).constant("v", int8(3), X).tensor("q", (1, 8, 7, 4), X)
    model.tensor("y", (1, 8, 7, 4)).operator(op, inputs, "q")
    if reader == Op.ADD:
        model.operator(Op.ADD, ("q", "q"), "y", options.add("none"))
    elif reader == Op.MAX_POOL_2D:
        model.operator(reader, ("q",), "y", options.pool(False, (3, 3), (2, 1)))
    return model.bytes("q" if reader is None else "y")


def elementwise(op: int, *inputs: str, attributes: Any) -> bytes:
    model = Model().constant("c", int8(9), Y).constant("axes", np.array([1], np.int32)).tensor("y", SHAPE)
    return model.operator(op, inputs, "y", attributes).bytes("y")


def convolved(
    weights: Any, bias: Any, quantization: Quantization | None = None, shape: tuple[int, ...] = SHAPE
) -> bytes:
    model = Model(shape)
    model.index["w"] = model.builder.constant("w", weights, quantization or Quantization.of(Y))
    model.constant("b", bias).tensor("y", (1, 5, 6, 3))
    return model.operator(Op.CONV_2D, ("x", "w", "b"), "y", CONV, 3).bytes("y")


def dense(shape: tuple[int, ...], width: int, attributes: Any = None) -> bytes:
    model = Model(shape).random("w", 3, width).constant("b", np.zeros(3, np.int32)).tensor("y", (1, 3))
    return model.operator(
        Op.FULLY_CONNECTED, ("x", "w", "b"), "y", attributes or options.fully_connected("none")
    ).bytes("y")


def averaged(axes: Any, keep: bool = True) -> bytes:
    attributes = options.mean() if keep else options.table("Reducer", KeepDims=False)
    model = Model().constant("axes", np.asarray(axes, np.int32)).tensor("y", (1, 1, 1, 4))
    return model.operator(Op.MEAN, ("x", "axes"), "y", attributes).bytes("y")


def twice_written() -> bytes:
    model = pointwise()
    return model.operator(Op.CONV_2D, ("x", "w", "b"), "y", CONV, 3).bytes("y")


def same_names() -> bytes:
    """Three tensors of which two are called `x`."""
    data = Model().tensor("a", SHAPE).tensor("y", SHAPE).operator(Op.HARD_SWISH, ("x",), "a")
    return data.operator(Op.HARD_SWISH, ("a",), "y").bytes("y").replace(b"\1\0\0\0a\0", b"\1\0\0\0x\0")


def dead_branch() -> bytes:
    return pointwise().tensor("z", SHAPE).operator(Op.HARD_SWISH, ("x",), "z").bytes("y")


def unread_pad() -> bytes:
    model = pointwise().constant("p", NO_PADS).tensor("q", SHAPE, X)
    return model.operator(Op.PAD, ("x", "p"), "q").bytes("y")


def weights_of(zero_points: int, count: int, axis: int) -> Quantization:
    return Quantization(np.full(count, 0.5, np.float32), np.full(count, zero_points, np.int64), axis)


W = np.ones((3, 1, 1, 4), np.int8)
B = np.zeros(3, np.int32)
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "not a TFLite file: it lacks the identifier 'TFL3'"),
    "identifier": (lambda: WHOLE[:4] + b"TFL2" + WHOLE[8:], "lacks the identifier"),
    "half": (lambda: WHOLE[: len(WHOLE) // 2], "damaged or cut short"),
    "root": (lambda: b"\xff\xff\xff\x7f" + WHOLE[4:], "damaged or cut short"),
    "version": (lambda: poke(WHOLE, model_table(WHOLE), 0, "<I", 4), "version 4 of the schema is not supported"),
    "subgraphs": (lambda: poke_vector(WHOLE, model_table(WHOLE), 2, "", -1, 2), "it holds 2 subgraphs"),
    "no subgraph": (lambda: poke_vector(WHOLE, model_table(WHOLE), 2, "", -1, 0), "it holds 0 subgraphs"),
    "many tensors": (lambda: poke_vector(WHOLE, graph_of(WHOLE), 0, "", -1, 2**31), "it claims 2147483648 tensors"),
    "operator": (lambda: poke(WHOLE, code(WHOLE), 0, "<b", Op.GATHER), r"operator 0 \(GATHER\): this operator is not"),
    "new operator": (lambda: poke(WHOLE, code(WHOLE), 3, "<i", 9999), r"operator 0 \(operator code 9999\)"),
    "custom": (lambda: poke(WHOLE, code(WHOLE), 0, "<b", Op.CUSTOM), r"operator 0 \(CUSTOM ''\)"),
    "attributes": (
        lambda: poke(WHOLE, code(WHOLE), 0, "<b", Op.DEPTHWISE_CONV_2D),
        r"operator 0 \(DEPTHWISE_CONV_2D\): its attributes .* \(Conv2DOptions\)",
    ),
    "operator code": (
        lambda: poke_vector(WHOLE, model_table(WHOLE), 1, "", -1, 0),
        "there is no operator code 0",
    ),
    "float": (
        lambda: poke(WHOLE, tensor(WHOLE, "x"), 1, "<b", 0),
        "tensor 'x' is float32; only int8",
    ),
    "int16": (lambda: poke(WHOLE, tensor(WHOLE, "y"), 1, "<b", 7), "tensor 'y' is int16; only int8 networks are read"),
    "type": (lambda: poke(WHOLE, tensor(WHOLE, "y"), 1, "<b", 99), "tensor 'y' is 99; only int8"),
    "buffer": (lambda: poke(WHOLE, tensor(WHOLE, "w"), 2, "<I", 77), "tensor 'w': there is no buffer 77"),
    "no quantisation": (
        lambda: poke_vector(WHOLE, tensor(WHOLE, "x").Quantization(), 2, "", -1, 0),
        "tensor 'x' has 0 scales, needs one",
    ),
    "scale NaN": (lambda: scaled("x", float("nan")), "tensor 'x': its scale is nan, must be in 9.09495e-13"),
    "scale zero": (lambda: scaled("y", 0.0), "tensor 'y': its scale is 0, must be in"),
    "weight scale": (lambda: scaled("w", -1.0), "tensor 'w': scales must be above 0 and at most 1.09951e[+]12"),
    "zero point": (
        lambda: poke_vector(WHOLE, tensor(WHOLE, "x").Quantization(), 3, "<q", 0, 300),
        "tensor 'x': a zero point must be in -128..127, not 300",
    ),
    "zero points": (
        lambda: poke_vector(WHOLE, tensor(WHOLE, "x").Quantization(), 3, "", -1, 2),
        "tensor 'x': 1 scales but 2 zero points",
    ),
    "extent": (lambda: shaped("x", 1, -3), r"tensor 'x': extents must be positive, not \(1, -3, 6, 4\)"),
    "huge": (lambda: shaped("x", 1, 2**31 - 1), "tensor 'y': its shape is"),
    "huge weights": (
        lambda: shaped("w", 1, 2**31 - 1),
        "tensor 'w': shape .* needs 25769803764 bytes, the",
    ),
    "rank": (lambda: poke_vector(WHOLE, tensor(WHOLE, "x"), 0, "", -1, 9), "tensor 'x': shape: 9 entries, at most 8"),
    "dangling": (
        lambda: poke_vector(WHOLE, operator(WHOLE), 1, "<i", 0, 99),
        r"operator 0 \(CONV_2D\): there is no tensor 99",
    ),
    "left out": (
        lambda: poke_vector(WHOLE, operator(WHOLE), 1, "<i", 0, -1),
        r"operator 0 \(CONV_2D\): input 0 is missing",
    ),
    "cycle": (lambda: reads("y"), "it reads tensor 'y', which nothing has written before"),
    "constant": (lambda: reads("w"), "it reads tensor 'w', a constant"),
    "twice": (twice_written, r"operator 1 \(CONV_2D\): it writes tensor 'y', which is given or written before"),
    "output": (
        lambda: poke_vector(WHOLE, graph_of(WHOLE), 2, "<i", 0, 50),
        "outputs: there is no tensor 50",
    ),
    "constant output": (lambda: pointwise().bytes("w"), "output 'w' is not a node"),
    "outputs": (lambda: pointwise().bytes("y", "y"), "needs at least one output, and each once"),
    "no input": (
        lambda: poke_vector(WHOLE, graph_of(WHOLE), 1, "", -1, 0),
        "tensor 'x', which nothing has written",
    ),
    "names": (same_names, "two nodes are named 'x'"),
    "dead": (dead_branch, r"node 'z' \(activate\) leads to no output"),
    "shape": (
        lambda: shaped("y", 3, 8),
        r"tensor 'y': its shape is .* 8\), what is computed has \(1, 5, 6, 3\)",
    ),
    "channels": (lambda: convolved(W, B, shape=(1, 5, 6, 5)), "tensor 'w' of shape .* does not fit 5 input channels"),
    "weight rank": (lambda: convolved(W[0], B), "tensor 'w' has shape .*; rank 4 is needed"),
    "bias shape": (lambda: convolved(W, B[:2], weights_of(0, 1, 0)), r"tensor 'b' has shape \(2,\), needs \(3,\)"),
    "bias type": (lambda: convolved(W, B.astype(np.int8), weights_of(0, 1, 0)), "tensor 'b' is int8, must be int32"),
    "weight type": (lambda: convolved(W.astype(np.int32), B), "tensor 'w' is int32, must be int8"),
    "weight zero": (lambda: convolved(W, B, weights_of(1, 1, 0)), "tensor 'w': zero points of weights must be 0"),
    "weight axis": (lambda: convolved(W, B, weights_of(0, 3, 3)), "tensor 'w': 3 scales along axis 3 do not fit 3 ch"),
    "weight scales": (lambda: convolved(W, B, weights_of(0, 2, 0)), "tensor 'w': 2 scales along axis 0 do not fit 3"),
    "stride": (
        lambda: poke(WHOLE, _conv_options(), 1, "<i", 0),
        r"operator 0 \(CONV_2D\): kernel \(1, 1\), stride \(1, 0\) and dilation \(1, 1\) must be positive",
    ),
    "fused": (
        lambda: single(Op.MAX_POOL_2D, options.table("Pool2D", StrideW=1, StrideH=1, FusedActivationFunction=4)),
        r"operator 0 \(MAX_POOL_2D\): fused activation 4 is not supported",
    ),
    "fused pool": (
        lambda: single(Op.MAX_POOL_2D, options.table("Pool2D", StrideW=1, StrideH=1, FusedActivationFunction=3)),
        "a pool with a fused activation is not supported",
    ),
    "no attributes": (lambda: single(Op.SOFTMAX), r"operator 0 \(SOFTMAX\): its attributes are .* missing"),
    "beta": (
        lambda: single(Op.SOFTMAX, options.table("Softmax", Beta=2.0), (1, 4), (1, 4)),
        r"operator 0 \(SOFTMAX\): beta must be 1, not 2",
    ),
    "beta NaN": (lambda: single(Op.SOFTMAX, options.table("Softmax", Beta=float("nan"))), "not finite"),
    "reshape": (lambda: single(Op.RESHAPE, None, SHAPE, (1, 120)), r"only \(batch, 1, 1, channels\) to"),
    "pool scale": (
        lambda: Model().tensor("y", SHAPE).operator(Op.MAX_POOL_2D, ("x",), "y", _POOL).bytes("y"),
        "tensor 'x' and tensor 'y' must have the same scale and zero point",
    ),
    "pool window": (lambda: single(Op.AVERAGE_POOL_2D, _WIDE), r"node 'y' \(pool2d\): window of 9 is larger"),
    "mean axes": (lambda: averaged([1, 3]), "only a mean over height and width with kept axes"),
    "mean axis": (lambda: averaged([1, 6]), "only a mean over height and width with kept axes"),
    "mean kept": (lambda: averaged([1, 2], keep=False), "only a mean over height and width with kept axes"),
    "dense rank": (lambda: dense(SHAPE, 4), "tensor 'x' has shape .*; rank 2 is needed"),
    "dense width": (lambda: dense((1, 4), 5), r"tensor 'w' of shape \(3, 5\) does not fit 4 input features"),
    "shuffled": (
        lambda: dense((1, 4), 4, options.table("FullyConnected", WeightsFormat=1)),
        "shuffled weights are not supported",
    ),
    "add constant": (
        lambda: elementwise(Op.ADD, "x", "c", attributes=options.add("relu6")),
        r"operator 0 \(ADD\): it reads tensor 'c', a constant, which is not supported here",
    ),
    "add shapes": (
        lambda: (
            Model()
            .tensor("y", SHAPE)
            .constant("axes", np.array([1, 2], np.int32))
            .tensor("m", (1, 1, 1, 4), X)
            .operator(Op.MEAN, ("x", "axes"), "m", options.mean())
            .operator(Op.ADD, ("x", "m"), "y", options.add("none"))
            .bytes("y")
        ),
        r"node 'y' \(add\): shapes differ",
    ),
    "pad batch": (lambda: padded(Op.PAD, np.ones((4, 2), np.int32)), "only padding of height and width is supported"),
    "pad shape": (lambda: padded(Op.PAD, np.ones((2, 2), np.int32)), "only padding of height and width is supported"),
    "pad negative": (
        lambda: padded(Op.PAD, (NO_PADS - np.array([[0], [1], [1], [0]])).astype(np.int32)),
        "only padding of height and width is supported",
    ),
    "pad read": (lambda: padded(Op.PAD, NO_PADS, reader=Op.ADD), "reads the padded tensor 'q', which only a conv"),
    "pad maximum": (lambda: padded(Op.PAD, NO_PADS, reader=Op.MAX_POOL_2D), "only with -128, before MAX_POOL_2D"),
    "pad value": (
        lambda: padded(Op.PADV2, NO_PADS, ("x", "p", "v"), Op.MAX_POOL_2D),
        r"operator 1 \(MAX_POOL_2D\): a PAD before it is supported only with -128",
    ),
    "pad output": (lambda: padded(Op.PAD, NO_PADS), "output 'q' is not a node"),
    "pad unread": (unread_pad, "tensor 'q' is padded, but nothing reads it"),
}
_POOL = options.pool(True, (3, 3), (1, 1))
_WIDE = options.pool(False, (9, 9), (1, 1))


def _conv_options() -> Any:
    union = operator(WHOLE).BuiltinOptions()
    attributes = tflite.Conv2DOptions()
    attributes.Init(union.Bytes, union.Pos)
    return attributes


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_refused(case: str, tmp_path: Path) -> None:
    make, message = REFUSED[case]
    path = saved(tmp_path / "m.tflite", make())
    with pytest.raises(UserError, match=message) as caught:
        import_tflite(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    assert str(caught.value).count(str(path)) == 1


def test_the_whole_file_is_read(tmp_path: Path) -> None:
    assert set(import_tflite(saved(tmp_path / "m.tflite", WHOLE)).layers) == {"y"}


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.tflite", tmp_path):
        with pytest.raises(UserError, match=f"^{path}: cannot be read: "):
            import_tflite(path)


def test_name_of_several_lines(tmp_path: Path) -> None:
    model = Model().tensor("a\nb", SHAPE).tensor("y", SHAPE)
    path = saved(tmp_path / "m.tflite", model.operator(Op.HARD_SWISH, ("a\nb",), "y").bytes("y"))
    with pytest.raises(UserError, match=r"reads tensor 'a\\nb', which nothing") as caught:
        import_tflite(path)
    assert "\n" not in str(caught.value)


def test_constants_shared_without_end(tmp_path: Path) -> None:
    """A kernel that a thousand convolutions share costs what a thousand kernels cost: refused before memory ends."""
    model = Model((1, 1, 1, 1024)).random("w", 1024, 1, 1, 1024).constant("b", np.zeros(1024, np.int32))
    model.tensor("y0", (1, 1, 1, 1024)).operator(Op.CONV_2D, ("x", "w", "b"), "y0", CONV, 3)
    for index in range(1, 200):
        model.tensor(f"y{index}", (1, 1, 1, 1024))
        model.operator(Op.CONV_2D, (f"y{index - 1}", "w", "b"), f"y{index}", CONV, 3)
    path = saved(tmp_path / "m.tflite", model.bytes("y199"))
    with pytest.raises(UserError, match="tensor 'w': the file's constants are used more often"):
        import_tflite(path)
