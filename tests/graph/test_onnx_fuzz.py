"""Broken files: whatever is done to a model, only a valid graph or a UserError may come out."""

import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from tests.graph.onnx_models import PASSES, ocr_model, onnx_model, random

from mnv3c.graph.errors import UserError
from mnv3c.graph.importers.onnx import import_onnx
from mnv3c.graph.passes.pipeline import run_passes

FILES_PER_SOURCE = 75
MAX_SECONDS_PER_FILE = 5.0
ABSURD = (0, -1, 2**31, 2**40, 2**62, 7)
Mutation = Callable[[Any, Random], None]


def small_model() -> Any:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="stem", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "b", "b", "b", "v"], ["n"], name="norm"),
        helper.make_node("Add", ["n", "three"], ["a"]),
        helper.make_node("Clip", ["a", "zero", "six"], ["r"]),
        helper.make_node("Mul", ["n", "r"], ["m"]),
        helper.make_node("Div", ["m", "six"], ["h"]),
        helper.make_node("Resize", ["h", "", "scales"], ["u"], mode="nearest"),
        helper.make_node("GlobalAveragePool", ["u"], ["p"]),
        helper.make_node("Shape", ["p"], ["s"]),
        helper.make_node("Gather", ["s", "index"], ["to"]),
        helper.make_node("Reshape", ["p", "to"], ["f"]),
        helper.make_node("Gemm", ["f", "g"], ["l"]),
        helper.make_node("Softmax", ["l"], ["y"]),
    ]
    constants = {
        "w": random(4, 3, 3, 3),
        "b": random(4),
        "v": np.ones(4, np.float32),
        "g": random(4, 5),
        "index": np.array([0, 1]),
        "scales": np.array([1, 1, 2, 2], np.float32),
    }
    numbers = {"zero": 0, "three": 3, "six": 6}
    return onnx_model(nodes, constants | {name: np.float32(value) for name, value in numbers.items()}, (1, 3, 48, 192))


def tensors(model: Any) -> list[Any]:
    """Initializers, and the values of Constant nodes."""
    held = [attribute.t for node in model.graph.node for attribute in node.attribute if attribute.HasField("t")]
    return [*model.graph.initializer, *held]


def remove_constant(model: Any, rng: Random) -> None:
    if model.graph.initializer:
        del model.graph.initializer[rng.randrange(len(model.graph.initializer))]
    else:
        del model.graph.node[rng.choice([i for i, n in enumerate(model.graph.node) if n.op_type == "Constant"])]


def remove_node(model: Any, rng: Random) -> None:
    del model.graph.node[rng.randrange(len(model.graph.node))]


def retype(model: Any, rng: Random) -> None:
    rng.choice(tensors(model)).data_type = rng.choice([0, 1, 3, 6, 7, 8, 9, 10, 11, 16, 17, 99])


def reshape_constant(model: Any, rng: Random) -> None:
    dims = rng.choice(tensors(model)).dims
    if dims and rng.random() < 0.7:
        dims[rng.randrange(len(dims))] = rng.choice(ABSURD)
    else:
        dims.append(rng.choice(ABSURD))


def reshape_input(model: Any, rng: Random) -> None:
    rng.choice(model.graph.input[0].type.tensor_type.shape.dim).dim_value = rng.choice(ABSURD)


def rename(model: Any, rng: Random) -> None:
    node = rng.choice([node for node in model.graph.node if node.input])
    node.input[rng.randrange(len(node.input))] = rng.choice(["", "gone", "x", "a/b\n\x1b"])


def rewire(model: Any, rng: Random) -> None:
    """Often a cycle."""
    node, other = rng.choice([node for node in model.graph.node if node.input]), rng.choice(model.graph.node)
    node.input[rng.randrange(len(node.input))] = other.output[0]


def repeat_output(model: Any, rng: Random) -> None:
    first, second = rng.sample(range(len(model.graph.node)), 2)
    model.graph.node[first].output[0] = model.graph.node[second].output[0]


def retarget(model: Any, rng: Random) -> None:
    """Another op on the same tensors, which need not even exist."""
    kinds = sorted({node.op_type for node in model.graph.node} | {"LSTM", "", "If", "Transpose", "Pad", "Concat"})
    rng.choice(model.graph.node).op_type = rng.choice(kinds)


def change_attribute(model: Any, rng: Random) -> None:
    attribute = rng.choice([a for node in model.graph.node for a in node.attribute if not a.HasField("t")])
    if attribute.ints and rng.random() < 0.8:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(ABSURD)
    elif rng.random() < 0.5:
        attribute.i, attribute.f = rng.choice(ABSURD), rng.choice([float("nan"), float("inf"), -1.0])
    else:
        attribute.type = rng.choice([1, 2, 3, 4, 6, 7, 8])


def change_value(model: Any, rng: Random) -> None:
    """Values that a node computes with: shapes, scales, bounds, weights."""
    tensor = rng.choice(tensors(model))
    listed = tensor.float_data or tensor.int64_data or tensor.int32_data
    if listed:
        listed[rng.randrange(len(listed))] = rng.choice([0, -1, 2**31 - 1, 7])
    elif tensor.raw_data:
        raw = bytearray(tensor.raw_data)
        raw[rng.randrange(len(raw))] = rng.choice([0, 0x7F, 0x80, 0xFF])
        tensor.raw_data = bytes(raw)


def shorten_value(model: Any, rng: Random) -> None:
    tensor = rng.choice(tensors(model))
    for listed in (tensor.float_data, tensor.int64_data, tensor.int32_data):
        del listed[rng.randrange(len(listed) + 1) :]
    if tensor.raw_data:
        tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data))]


def move_outside(model: Any, rng: Random) -> None:
    tensor = rng.choice(tensors(model))
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=rng.choice(["../x", "none.bin", "/dev/zero", ".", "model.onnx"]))


MUTATIONS: tuple[Mutation, ...] = (
    remove_constant,
    remove_node,
    retype,
    reshape_constant,
    reshape_input,
    rename,
    rewire,
    repeat_output,
    retarget,
    change_attribute,
    change_value,
    shorten_value,
    move_outside,
)


def truncated(data: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(len(data))]


def flipped(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 8, 200])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def broken(model: Any, data: bytes, seed: int) -> bytes:
    """The model with one kind of damage, which the seed picks; every kind has its turn."""
    rng = Random(seed)
    kind = seed % (len(MUTATIONS) + 2)
    if kind >= len(MUTATIONS):
        return (truncated if kind == len(MUTATIONS) else flipped)(data, rng)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for _ in range(rng.choice([1, 1, 3])):
        MUTATIONS[kind](copy, rng)
    return bytes(copy.SerializeToString())


@pytest.mark.parametrize("source", ["small", "classifier"])
def test_broken_files_give_a_graph_or_one_line(source: str, tmp_path: Path) -> None:
    model = small_model() if source == "small" else onnx.load(str(ocr_model("ch_ppocr_mobile_v2.0_cls_infer.onnx")))
    data, path = bytes(model.SerializeToString()), tmp_path / "model.onnx"
    path.write_bytes(data)
    import_onnx(path, {"x": (1, 3, 48, 192)})  # whole, it is taken
    refused = 0
    for seed in range(FILES_PER_SOURCE):
        path.write_bytes(broken(model, data, seed))
        start = time.monotonic()
        try:
            graph = run_passes(import_onnx(path, {"x": (1, 3, 48, 192)}), PASSES)
            assert graph.nodes, f"seed {seed}"
        except UserError as error:
            refused += 1
            assert str(error).isprintable() and str(path) in str(error), f"seed {seed}: {error}"
        assert time.monotonic() - start < MAX_SECONDS_PER_FILE, f"seed {seed}"
    assert FILES_PER_SOURCE // 2 < refused < FILES_PER_SOURCE, "the damage is either none or total: weak mutations"
