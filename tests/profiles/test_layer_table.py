"""Layers as columns: against the ops that they come from, and helpers against loops."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.graph.samples import random_graph
from tests.graph.test_layer import keys
from tests.profiles.networks import networks

from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph
from mnv3c.graph.layer import LayerKey, layer_key, layers
from mnv3c.graph.ops import Conv2d, ConvTranspose2d, Dense, Flatten
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.tensor import TensorType
from mnv3c.profiles.layer_table import ACTIVATIONS, KINDS, LayerTable, concatenated

GRAPHS = networks() | {f"random{seed}": random_graph(seed) for seed in range(12)}
COLUMNS = [field.name for field in fields(LayerTable) if field.name != "owner"]


def table_of(sizes: list[int], seed: int = 0) -> LayerTable:
    """Units of so many layers each, of random numbers."""
    rows = np.random.default_rng(seed).integers(0, 1000, (sum(sizes), len(COLUMNS) + 1))
    table = LayerTable.of_rows(rows.tolist())
    return replace(table, owner=np.repeat(np.arange(len(sizes)), sizes))


def assert_counts(key: LayerKey) -> None:
    table = LayerTable.of_items([[key]])
    holds = isinstance(key.op, Conv2d | ConvTranspose2d | Dense)
    weight = math.prod(key.op.weights(key.inputs)["weight"]) if holds else 0
    assert (table.macs.item(), table.weights.item()) == (key.macs, weight), str(key)
    first = key.inputs[0].elements if key.kind != "concat" else sum(each.elements for each in key.inputs)
    assert (table.inputs.item(), table.outputs.item()) == (first, key.output.elements), str(key)
    assert (table.stride.item(), table.stride_w.item()) == key.stride


@pytest.mark.parametrize("name", GRAPHS)
def test_counts_of_networks_are_those_of_their_ops(name: str) -> None:
    graph: Graph = GRAPHS[name]
    for each in (graph, run_passes(graph, default_passes())):
        assert layers(each)
        for node in layers(each):
            assert_counts(layer_key(each, node))


@settings(deadline=None, derandomize=True, max_examples=300)
@given(keys())
def test_counts_of_any_layer_are_those_of_its_op(key: LayerKey) -> None:
    assert_counts(key)


@pytest.mark.parametrize(
    ("text", "kind", "activation", "residual", "linked"),
    [
        ("conv2d 1x8x8x8->1x8x8x16 activation=hswish", "pointwise", "hswish", 0, 1),
        ("conv2d 1x8x8x8->1x4x4x16 stride=2x2", "pointwise", "", 0, 0),
        ("conv2d 1x1x1x8->1x1x1x16 activation=hsigmoid", "linear", "hsigmoid", 0, 1),
        ("conv2d 1x8x8x8->1x6x6x8 kernel=3x3 groups=8 activation=clip(0.0,4.0)", "depthwise", "clip", 0, 1),
        ("conv2d 1x8x8x8->1x6x6x16 kernel=3x3 groups=8", "grouped_conv", "", 0, 0),
        ("conv2d 1x8x8x1->1x6x6x1 kernel=3x3", "conv", "", 0, 0),
        ("conv2d 1x8x8x8,1x8x8x16->1x8x8x16 activation=relu residual=before_activation", "pointwise", "relu", 1, 2),
        ("add 1x8x8x8,1x8x8x8->1x8x8x8 activation=relu", "elementwise", "relu", 1, 1),
        ("multiply 1x8x8x8,1x8x8x8->1x8x8x8", "elementwise", "", 0, 0),
        ("multiply 1x8x8x8,1x1x1x8->1x8x8x8", "gate", "", 0, 0),
        ("softmax 1x8->1x8", "softmax", "", 0, 0),
    ],
)
def test_what_a_layer_counts_as(text: str, kind: str, activation: str, residual: int, linked: int) -> None:
    table = LayerTable.of_items([[LayerKey.parse(text)]])
    found = (KINDS[table.kind.item()], ACTIVATIONS[table.activation.item()], table.residual.item(), table.linked.item())
    assert found == (kind, activation, residual, linked)


def test_a_layer_that_no_model_knows() -> None:
    with pytest.raises(UserError, match=r"layer 'flatten .*': no cost model knows a layer of kind 'flatten'"):
        LayerTable.of_items([[LayerKey(Flatten(), (TensorType((1, 1, 1, 8)),))]])


@pytest.mark.parametrize(
    "text",
    [
        "dense 1x2000000->1x10",
        "conv2d 1x1048576x1048576x256->1x1048576x1048576x256",
        "conv2d 1x9999x9999x8->1x5000x5000x8 kernel=5000x5000",
        "pool2d 1x9999x9999x8->1x2x2x8 mode=max kernel=1x1 stride=9998x9998",
    ],
)
def test_layers_that_exist_nowhere_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="is larger than any whose cost a model knows"):
        LayerTable.of_items([[LayerKey.parse(text)]])


SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=6)


@settings(deadline=None, derandomize=True)
@given(SIZES, st.integers(0, 99))
def test_units_are_found_and_reduced_as_by_a_loop(sizes: list[int], seed: int) -> None:
    table = table_of(sizes, seed)
    ends = np.cumsum(sizes)
    units = [range(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    assert table.starts.tolist() == [unit[0] for unit in units]
    assert table.ends.tolist() == [unit[-1] for unit in units]
    assert table.per_unit_max(table.c_in).tolist() == [max(table.c_in[row] for row in unit) for unit in units]
    values = table.c_out.astype(np.float64)
    assert table.per_unit_sum(values).tolist() == [sum(table.c_out[row] for row in unit) for unit in units]


@settings(deadline=None, derandomize=True)
@given(SIZES, st.data())
def test_take_takes_rows_of_every_column(sizes: list[int], data: st.DataObject) -> None:
    table = table_of(sizes)
    chosen = data.draw(st.lists(st.integers(0, len(table) - 1), max_size=8))
    mask = np.isin(np.arange(len(table)), chosen)
    for taken, rows in ((table.take(np.array(chosen, np.int64)), chosen), (table.take(mask), sorted(set(chosen)))):
        assert len(taken) == len(rows)
        for name in (*COLUMNS, "owner"):
            assert getattr(taken, name).tolist() == [getattr(table, name)[row] for row in rows]


@settings(deadline=None, derandomize=True)
@given(st.lists(SIZES, min_size=1, max_size=4))
def test_concatenated_numbers_units_on(parts: list[list[int]]) -> None:
    tables = [table_of(sizes, seed) for seed, sizes in enumerate(parts)]
    whole = concatenated(tables)
    for name in COLUMNS:
        assert getattr(whole, name).tolist() == [value for table in tables for value in getattr(table, name)]
    sizes = [size for part in parts for size in part]
    assert whole.owner.tolist() == [unit for unit, size in enumerate(sizes) for _ in range(size)]
