"""A Relax module whose convolutions the emulator computes, and whose rest the CPU does."""

from typing import Any

import numpy as np
import pytest
from tests.targets.edgetpu.small_networks import quantised, unlimited_device

from mnv3c.graph.activation import HSWISH, RELU
from mnv3c.graph.errors import UserError
from mnv3c.graph.integer.network import IntegerNetwork
from mnv3c.graph.integer.reference import run_all
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import Conv2d, GlobalAveragePool, Input

LAYERS = ("expand", "depthwise", "project")


@pytest.fixture(scope="module")
def network() -> IntegerNetwork:
    """The convolutions of a block, each with another activation, and a pool that stays on the CPU."""
    nodes = (
        Node("image", Input((1, 8, 8, 6))),
        Node("expand", Conv2d(12, bias=True, activation=HSWISH), ("image",)),
        Node("depthwise", Conv2d(12, (3, 3), (2, 2), (1, 1, 1, 1), groups=12, bias=True, activation=RELU), ("expand",)),
        Node("project", Conv2d(5, bias=True), ("depthwise",)),
        Node("pool", GlobalAveragePool(), ("project",)),
    )
    return quantised(Graph("block", nodes, ("pool",)))


def relax_module(network: IntegerNetwork) -> Any:
    """The same layers in Relax, float32."""
    from tvm import relax

    graph = network.graph
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(graph.type_of("image").shape, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            value: Any = x
            for name in LAYERS:
                op, weights = graph[name].op, graph.weights_of(graph[name])
                assert isinstance(op, Conv2d)
                kernel = weights["weight"]
                value = builder.emit(
                    relax.op.nn.conv2d(
                        value,
                        relax.const(kernel),
                        strides=op.stride,
                        padding=op.padding,
                        groups=op.groups,
                        data_layout="NHWC",
                        kernel_layout="HWIO",
                    )
                )
                value = builder.emit(relax.op.add(value, relax.const(weights["bias"].reshape(1, 1, 1, -1))))
                if op.activation == RELU:
                    value = builder.emit(relax.op.nn.relu(value))
                elif op.activation == HSWISH:
                    gate = builder.emit(relax.op.add(value, relax.const(3.0)))
                    gate = builder.emit(relax.op.clip(gate, 0, 6))
                    value = builder.emit(relax.op.multiply(value, gate))
                    value = builder.emit(relax.op.multiply(value, relax.const(1 / 6)))
            output = builder.emit_output(relax.op.mean(value, axis=[1, 2], keepdims=True))
        builder.emit_func_output(output)
    return builder.get()


def run_on_cpu(module: Any, values: Any) -> Any:
    import tvm
    from tvm import relax

    machine = relax.VirtualMachine(relax.build(module, target="llvm"), tvm.cpu())
    return machine["main"](tvm.runtime.tensor(values)).numpy()


def image(network: IntegerNetwork) -> Any:
    shape = network.graph.type_of("image").shape
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def test_offloaded_layers_are_the_executors(network: IntegerNetwork) -> None:
    from mnv3c.targets.edgetpu.byoc import offload

    values = image(network)
    found = run_on_cpu(offload(relax_module(network), network, unlimited_device(), LAYERS), values)
    integers = run_all(network, network.inputs["image"].quantize(values))
    expected = network.affine("project").dequantize(integers["project"]).mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_layers_that_are_not_named_stay_on_the_cpu(network: IntegerNetwork) -> None:
    from mnv3c.targets.edgetpu.byoc import offload

    values = image(network)
    exact = run_on_cpu(relax_module(network), values)
    kept = run_on_cpu(offload(relax_module(network), network, unlimited_device(), (None,) * 3), values)
    np.testing.assert_allclose(kept, exact, rtol=1e-5, atol=1e-6)
    mixed = run_on_cpu(offload(relax_module(network), network, unlimited_device(), (None, "depthwise", None)), values)
    error = np.abs(mixed - exact).max() / np.abs(exact).max()
    assert 1e-6 < error < 0.05


def test_what_cannot_be_offloaded(network: IntegerNetwork) -> None:
    from mnv3c.targets.edgetpu.byoc import offload

    def refused(*layers: str) -> str:
        with pytest.raises(UserError) as error:
            offload(relax_module(network), network, unlimited_device(), layers)
        return str(error.value)

    assert refused("expand") == "the module has 3 convolutions, but 1 layers were named"
    assert refused("expand", "depthwise", "nothing") == "quantised network 'block' has no layer 'nothing'"
    assert refused("project", "depthwise", "expand").startswith("layer 'project' is (1, 4, 4, 12) -> (1, 4, 4, 5)")
