import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.graph.samples import random_graph

from mnv3c.graph.activation import ACTIVATION_KINDS, Activation
from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.ir import Graph, Node, Preprocessing
from mnv3c.graph.networks import mobilenet_v3
from mnv3c.graph.ops import OP_TYPES, Activate, Add, Conv2d, Identity, Input, Op, Resize
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.yaml_fields import decode_fields, encode_fields
from mnv3c.graph.yaml_io import load_graph, save_graph

HEAD = "format: mnv3c-graph/1\nname: g\noutputs: [a]\nnodes:\n- {name: x, op: input, shape: [1, 8, 8, 3]}\n"
GOOD = HEAD + "- {name: a, op: conv2d, inputs: [x], out_channels: 4}\n"


def assert_round_trip(graph: Graph, folder: Path) -> None:
    path = folder / "graph.yaml"
    save_graph(graph, path)
    loaded = load_graph(path)
    assert loaded == graph
    assert loaded.nodes == graph.nodes
    assert set(loaded.weights) == set(graph.weights)
    for key, value in graph.weights.items():
        assert loaded.weights[key].dtype == np.float32
        np.testing.assert_array_equal(loaded.weights[key], value)


def refusal(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_graph(path)
    message = str(caught.value)
    assert message.startswith(str(path.parent))
    assert "\n" not in message
    assert len(message) < 1000
    return message


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), with_weights=st.booleans())
def test_random_graphs_come_back_identical(tmp_path: Path, seed: int, with_weights: bool) -> None:
    graph = random_graph(seed)
    assert_round_trip(graph if with_weights else replace(graph, weights={}), tmp_path)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"head": "lraspp", "resolution": (800, 832)}, {"head": "ssdlite", "reduce_tail": True}]
)
def test_networks_come_back_identical(tmp_path: Path, options: dict[str, Any], fused: bool) -> None:
    graph = mobilenet_v3("small", width=0.35, **options)
    assert_round_trip(run_passes(graph, default_passes()) if fused else graph, tmp_path)


extent = st.integers(1, 9)
pair = st.tuples(extent, extent)
number = st.floats(-1e6, 1e6)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "shape": st.lists(extent, min_size=4, max_size=4).map(tuple),
    "layout": st.sampled_from(["NHWC", "NCHW"]),
    "padding": st.tuples(extent, extent, extent, extent),
    "activation": st.builds(Activation, st.sampled_from(ACTIVATION_KINDS), number, st.floats(0), number, number),
    "residual": st.sampled_from([None, "before_activation", "after_activation"]),
    "mode": st.just("average"),
    "coordinates": st.sampled_from(["half_pixel", "align_corners"]),
    **dict.fromkeys(("kernel", "stride", "dilation", "size"), pair),
    **dict.fromkeys(("out_channels", "groups", "units"), extent),
    **dict.fromkeys(("epsilon",), number),
    **dict.fromkeys(("bias", "count_padding"), st.booleans()),
}


def any_op() -> st.SearchStrategy[Op]:
    def of(kind: type[Op]) -> st.SearchStrategy[Op]:
        known = {name: FIELDS[name] for name in kind.__dataclass_fields__ if name in FIELDS}
        if kind is Resize:
            known["mode"] = st.sampled_from(["nearest", "bilinear"])
        return st.builds(kind, **known)

    return st.sampled_from(OP_TYPES).flatmap(of)


@settings(max_examples=200, deadline=None)
@given(op=any_op())
def test_ops_are_their_plain_fields(op: Op) -> None:
    assert decode_fields(type(op), encode_fields(op)) == op


def test_file_is_readable_and_ordered(tmp_path: Path) -> None:
    graph = Graph(
        "tiny",
        (
            Node("x", Input((1, 4, 4, 2), layout="NCHW")),
            Node("conv: a", Conv2d(3, (3, 3), activation=Activation("clip", 0.0, 4.5)), ("x",)),
            Node("no", Activate(Activation("hswish")), ("conv: a",)),
        ),
        ("no",),
        preprocessing=Preprocessing(mean=(0.485, 0.456, 0.406)),
    )
    save_graph(graph, tmp_path / "tiny.yaml")
    assert (tmp_path / "tiny.yaml").read_text(encoding="utf-8") == (
        "format: mnv3c-graph/1\n"
        "name: tiny\n"
        "output_layout: NHWC\n"
        "preprocessing:\n"
        "  mean: [0.485, 0.456, 0.406]\n"
        "  std: [0.5, 0.5, 0.5]\n"
        "outputs: ['no']\n"
        "nodes:\n"
        "- {name: x, op: input, shape: [1, 4, 4, 2], layout: NCHW}\n"
        "- {name: 'conv: a', op: conv2d, inputs: [x], out_channels: 3, kernel: [3, 3],"
        " activation: {kind: clip, high: 4.5}}\n"
        "- {name: 'no', op: activate, inputs: ['conv: a'], activation: hswish}\n"
    )
    assert_round_trip(graph, tmp_path)


def test_saving_leaves_two_files_that_numpy_can_read_and_the_same_bytes_twice(tmp_path: Path) -> None:
    graph = mobilenet_v3("small", width=0.35)
    save_graph(graph, tmp_path / "one.yaml")
    save_graph(graph, tmp_path / "two.yaml")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.npz", "one.yaml", "two.npz", "two.yaml"]
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with np.load(tmp_path / "one.npz", allow_pickle=False) as arrays:
        assert set(arrays.files) == set(graph.weights)
    np.savez(tmp_path / "one.npz", **graph.weights)  # type: ignore[arg-type]
    assert load_graph(tmp_path / "one.yaml") == graph


def test_saving_refuses_what_could_not_be_loaded(tmp_path: Path) -> None:
    graph = mobilenet_v3("small", width=0.35, seed=None)
    with pytest.raises(UserError, match=r"ends in \.yaml"):
        save_graph(graph, tmp_path / "graph.yml")
    with pytest.raises(MissingError, match="cannot be written"):
        save_graph(graph, tmp_path / "absent" / "graph.yaml")
    with pytest.raises(UserError, match="name must be 1 to 512 printable"):
        save_graph(replace(graph, name="two\nlines"), tmp_path / "graph.yaml")
    dead = Graph("g", (*graph.nodes, Node("dead", Identity(), ("input",))), graph.outputs)
    with pytest.raises(UserError, match="leads to no output"):
        save_graph(dead, tmp_path / "graph.yaml")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "must be a mapping"),
        ("[]", "must be a mapping"),
        ("a: [", "not valid YAML: line 2"),
        (GOOD.replace("graph/1", "graph/2"), "format must be mnv3c-graph/1, not 'mnv3c-graph/2'"),
        (GOOD.replace("name: g\n", ""), "name is missing"),
        (GOOD + "extra: 1\n", "'extra' is not a key here; allowed are format, name, outputs, nodes"),
        (GOOD.replace("name: g", "name: 3"), "name must be 1 to 512 printable characters, not 3"),
        (GOOD.replace("[a]", "a"), "outputs must be a list of values, not 'a'"),
        (GOOD.replace("[a]", "[b]"), "output 'b' is not a node"),
        (GOOD.replace("[a]", "[]"), "needs at least one output"),
        (GOOD.replace("conv2d", "conv3d"), "nodes[1] 'a': op must be one of input, conv2d"),
        (GOOD.replace("op: conv2d, ", ""), "nodes[1] 'a': op must be one of"),
        (GOOD.replace("name: a, ", ""), "nodes[1].name must be"),
        (GOOD.replace("out_channels: 4", "channels: 4"), "nodes[1] 'a': 'channels' is not a key here"),
        (GOOD.replace(", out_channels: 4", ""), "nodes[1] 'a': out_channels is missing"),
        (GOOD.replace("out_channels: 4", "out_channels: four"), "out_channels must be an integer, not 'four'"),
        (GOOD.replace("out_channels: 4", "out_channels: 4.0"), "out_channels must be an integer, not 4.0"),
        (GOOD.replace("out_channels: 4", "out_channels: true"), "out_channels must be an integer, not True"),
        (GOOD.replace("out_channels: 4", "out_channels: null"), "out_channels must be an integer, not None"),
        (GOOD.replace("4}", "4, kernel: 3}"), "kernel must be a list of 2 values, not 3"),
        (GOOD.replace("4}", "4, kernel: [3]}"), "kernel must be a list of 2 values"),
        (GOOD.replace("4}", "4, kernel: [99, 99]}"), "node 'a' (conv2d): window of 99 is larger"),
        (GOOD.replace("4}", "4, bias: 1}"), "bias must be true or false, not 1"),
        (GOOD.replace("4}", "4, activation: swish}"), "activation.kind must be one of relu, relu6"),
        (GOOD.replace("4}", "4, activation: {kind: clip, top: 1}}"), "activation.'top' is not a key here"),
        (GOOD.replace("4}", "4, activation: {kind: clip, high: .nan}}"), "activation.high must be a number"),
        (GOOD.replace("4}", "4, residual: maybe}"), "residual must be one of before_activation"),
        (GOOD.replace("out_channels: 4", "out_channels: 1000000000000"), "over 8589934592 elements"),
        (GOOD.replace("out_channels: 4", "out_channels: 9" + "0" * 60), "within -2**62..2**62"),
        (GOOD.replace("out_channels: 4", "out_channels: 9" + "0" * 6000), "not valid YAML: Exceeds the limit"),
        (GOOD.replace("[1, 8, 8, 3]", "[1, 8000000, 8000000, 3]"), "over 8589934592 elements"),
        (GOOD.replace("[1, 8, 8, 3]", "[]"), "shape must have 2 or 4 extents"),
        (GOOD.replace("[1, 8, 8, 3]", "[1, -8, 8, 3]"), "extents must be positive"),
        (GOOD.replace("[x]", "[y]"), "node 'a' reads 'y', which does not exist"),
        (GOOD.replace("[x]", "[a]"), "node 'a' is part of a cycle"),
        (GOOD.replace("[x]", "[x, x]"), "takes 1 input, not 2"),
        (GOOD.replace("name: x", "name: a"), "two nodes are named 'a'"),
        (GOOD.replace("name: g", "name: g\nname: h"), "key 'name' is there twice"),
        (GOOD.replace("[a]", "&o [a]"), "anchors and aliases are not allowed ('o')"),
        (GOOD.replace("name: g", "name: *n"), "anchors and aliases are not allowed ('n')"),
        (GOOD.replace("name: g", "name: !!python/object:os.system g"), "tags are not allowed"),
        (GOOD.replace("name: g", "name: 2001-99-99"), "not valid YAML"),
        (GOOD.replace("name: g", "? [a]\n: b"), "keys must be strings"),
        (GOOD.replace("name: g", "<<: {name: g}"), "key '<<' is not allowed"),
        (GOOD.replace("name: g", "name: " + "[" * 20000), "nested over 8 levels"),
        (GOOD.replace("name: g", "name: \x00"), "not valid YAML"),
        (GOOD + "---\nb: 1\n", "not valid YAML"),
        (GOOD.replace("name: g", "name: g\nweights: ../g.npz"), "weights must be the name of an .npz file"),
        (GOOD.replace("name: g", "name: g\nweights: g.npz"), "g.npz: cannot be read"),
        (GOOD.replace("name: g", "name: g\npreprocessing: {mean: [1, 2]}"), "preprocessing.mean must be a list of 3"),
        (GOOD + "- {name: b, op: identity, inputs: [x]}\n", "node 'b' (identity) leads to no output"),
    ],
)
def test_broken_files_are_refused_in_one_line(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in refusal(tmp_path / "broken.yaml", text)


def test_good_file_without_weights_loads(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD, encoding="utf-8")
    assert load_graph(tmp_path / "good.yaml")["a"].op == Conv2d(4)


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    for name, data in (("latin.yaml", b"name: \xff"), ("zeros.yaml", b"\x00" * 100)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=name):
            load_graph(tmp_path / name)
    with pytest.raises(UserError, match="cannot be read: No such file"):
        load_graph(tmp_path / "absent.yaml")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        load_graph(tmp_path)
    with (tmp_path / "large.yaml").open("wb") as file:
        file.truncate(33 * 2**20)
    with pytest.raises(UserError, match="is over"):
        load_graph(tmp_path / "large.yaml")


def rewritten(source: Path, change: dict[str, bytes | None], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(source) as archive:
        members: dict[str, bytes | None] = {name: archive.read(name) for name in archive.namelist()} | change
    with zipfile.ZipFile(source, "w", compression) as archive:
        for name, data in members.items():
            if data is not None:
                archive.writestr(name, data)


def npy(value: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, value, allow_pickle=True)
    return buffer.getvalue()


GATE_SHAPE = (1, 1, 16, 8)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (None, "weight 'block1.se.reduce.weight' is missing"),
        (b"", "has 0 bytes, needs float32 of shape (1, 1, 16, 8)"),
        (npy(np.zeros((1, 1, 16, 9), np.float32)), "block1.se.reduce.weight"),
        (npy(np.zeros((1, 1, 8, 16), np.float32)), "must be float32 of shape (1, 1, 16, 8)"),
        (npy(np.zeros(GATE_SHAPE, np.float64)), "must be float32"),
        (npy(np.zeros(GATE_SHAPE, np.int32)), "must be float32"),
        (npy(np.zeros(GATE_SHAPE, ">f4")), "must be float32"),
        (npy(np.full(GATE_SHAPE, None)), "block1.se.reduce.weight"),
        (npy(np.full(GATE_SHAPE, np.nan, np.float32)), "is not finite"),
        (b"(" * 128 + bytes(512), "must be float32"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, data: bytes | None, expected: str) -> None:
    save_graph(mobilenet_v3("small"), tmp_path / "g.yaml")
    rewritten(tmp_path / "g.npz", {"block1.se.reduce.weight.npy": data})
    with pytest.raises(UserError) as caught:
        load_graph(tmp_path / "g.yaml")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_archives_that_are_not_plain_are_refused(tmp_path: Path) -> None:
    yaml_path, npz_path = tmp_path / "g.yaml", tmp_path / "g.npz"
    save_graph(mobilenet_v3("small", width=0.35), yaml_path)
    good = npz_path.read_bytes()

    def message() -> str:
        with pytest.raises(UserError) as caught:
            load_graph(yaml_path)
        assert str(npz_path) in str(caught.value)
        return str(caught.value)

    rewritten(npz_path, {}, zipfile.ZIP_DEFLATED)
    assert "is compressed" in message()
    npz_path.write_bytes(good)
    rewritten(npz_path, {"bomb.npy": bytes(100)})
    assert "weight 'bomb' belongs to no node" in message()
    npz_path.write_bytes(good[: len(good) // 2])
    assert "not a valid .npz" in message()
    middle = len(good) // 2
    npz_path.write_bytes(good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :])
    assert "CRC" in message()
    npz_path.write_bytes(good)
    assert load_graph(yaml_path).weights


def test_residual_and_shared_tensors_survive(tmp_path: Path) -> None:
    nodes = (
        Node("x", Input((1, 4, 4, 2))),
        Node("a", Conv2d(2, residual="after_activation", activation=Activation("relu")), ("x", "x")),
        Node("b", Add(), ("a", "x")),
    )
    assert_round_trip(Graph("g", nodes, ("b", "a")), tmp_path)
