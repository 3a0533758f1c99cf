"""Runs GPU kernels and whole lowered networks through pyopencl, on buffers that betray a wrong access.

Lanes of padding hold large values, outputs start as NaN, and every buffer lies between guards that no kernel may touch.
"""

import functools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mnv3c.compiler.lower import LoweredNetwork, lower
from mnv3c.compiler.opencl.deliver import delivered
from mnv3c.graph.ir import Graph
from mnv3c.graph.ops import Op
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.reference import evaluate
from mnv3c.graph.tensor import Layout, TensorType
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.kernel import GpuCandidate
from mnv3c.targets.gpu.packing import dense_tensor, stored_tensor
from mnv3c.targets.gpu.precision import Precision
from mnv3c.targets.gpu.target import GpuTarget
from mnv3c.targets.target import BorderWork, LayerWork, Storage

Array = npt.NDArray[np.float32]
Values = npt.NDArray[Any]
_GUARD = 64
_GUARD_VALUE = -1.5e4


@functools.cache
def _queue() -> tuple[Any, Any, Any]:
    """pyopencl, a context and a queue; skips the test where there is no OpenCL."""
    cl = pytest.importorskip("pyopencl", reason="pyopencl is not installed (extra gpu)")
    try:
        devices = [device for platform in cl.get_platforms() for device in platform.get_devices()]
    except cl.Error:
        devices = []
    if not devices:
        pytest.skip("no OpenCL platform is installed (extra gpu brings PoCL)")
    context = cl.Context([devices[0]])
    return cl, context, cl.CommandQueue(context)


@functools.cache
def _program(source: str) -> Any:
    cl, context, _ = _queue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a compiler has to say about a kernel that it took
        return cl.Program(context, source).build()


def pack(x: Array) -> Array:
    """(1, height, width, channels) or (1, channels) as stored slices, in float32, whose padding is large."""
    return stored_tensor(x, Precision())


def unpack(flat: Values, tensor: TensorType) -> Array:
    """The tensor that stored slices hold; all lanes, padding too, must be finite."""
    assert np.isfinite(flat).all(), "a lane is not finite"
    return dense_tensor(flat, tensor)


def caller_order(x: Array, layout: str) -> Array:
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2) if layout == "NCHW" and x.ndim == 4 else x)


def random_weights(rng: np.random.Generator, op: Op, inputs: Sequence[TensorType]) -> dict[str, Array]:
    """Parameters that keep values near 1."""
    shapes = op.weights(tuple(inputs))
    return {
        role: rng.standard_normal(shape, np.float32) / np.float32(math.sqrt(math.prod(shape[:-1])))
        for role, shape in shapes.items()
    }


def relative_error(got: Array, expected: Array) -> float:
    """Largest error over the largest expected value; infinite where anything is not finite."""
    assert got.shape == expected.shape
    error, scale = float(np.abs(got - expected).max()), float(np.abs(expected).max())
    if not math.isfinite(error) or not math.isfinite(scale):
        return math.inf
    return error / scale if scale else error


@dataclass(frozen=True)
class GpuRunner:
    """Offers and runs the kernels of a target's layers on whatever OpenCL this machine has."""

    target: GpuTarget
    device: GpuDevice

    @property
    def dtype(self) -> type[np.floating[Any]]:
        return np.float16 if self.target.precision.storage == "fp16" else np.float32

    def work(self, op: Op, inputs: Sequence[TensorType], storage: Sequence[Storage] = ()) -> LayerWork:
        types = tuple(inputs)
        return LayerWork(op, types, op.infer(types), tuple(storage) or tuple("target" for _ in types))

    def candidates(self, work: LayerWork) -> Sequence[GpuCandidate]:
        """What the first family that knows the layer offers; none where no family does."""
        offers = (family.candidates(work, self.device) for family in self.target.families())
        return next((offer for offer in offers if offer is not None), ())

    def launch(self, candidate: GpuCandidate, given: Sequence[Values], output: Values) -> Values:
        """The output, whose initial values and dtype are given; arguments may not change."""
        cl, context, queue = _queue()
        made = self.target.kernel_source(candidate, "kernel_under_test", self.device)
        kernel = cl.Kernel(_program(made.source), made.name)
        whole = [self._guarded(array) for array in (*given, output)]
        alignment = queue.device.mem_base_addr_align // 8
        assert all((_GUARD * array.itemsize) % alignment == 0 for array in whole)
        flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
        buffers = [cl.Buffer(context, flags, hostbuf=array) for array in whole]
        arguments = [
            buffer.get_sub_region(_GUARD * array.itemsize, array.nbytes - 2 * _GUARD * array.itemsize)
            for buffer, array in zip(buffers, whole, strict=True)
        ]
        kernel(queue, made.global_size, made.local_size, *arguments)
        for buffer, before in zip(buffers[:-1], whole[:-1], strict=True):
            after = np.empty_like(before)
            cl.enqueue_copy(queue, after, buffer)
            np.testing.assert_array_equal(after, before)
        after = np.empty_like(whole[-1])
        cl.enqueue_copy(queue, after, buffers[-1])
        edges = np.concatenate([after[:_GUARD], after[-_GUARD:]])
        assert (edges == np.asarray(_GUARD_VALUE, edges.dtype)).all(), "values outside the output were written"
        return after[_GUARD:-_GUARD]

    @staticmethod
    def _guarded(array: Values) -> Values:
        flat = np.ascontiguousarray(array).ravel()
        return np.pad(flat, _GUARD, constant_values=flat.dtype.type(_GUARD_VALUE))

    def run(
        self, candidate: GpuCandidate, work: LayerWork, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> Array:
        """The layer's output, computed by a candidate."""
        given: list[Values] = [
            pack(x).astype(self.dtype) if storage == "target" else caller_order(x, storage)
            for x, storage in zip(inputs, work.storage, strict=True)
        ]
        return unpack(self.launch(candidate, [*given, *candidate.pack(weights)], self._empty(work.output)), work.output)

    def _empty(self, tensor: TensorType) -> Values:
        return np.full(self.target.storage_elements(tensor, self.device), np.nan, self.dtype)

    def error(self, candidate: GpuCandidate, work: LayerWork, seed: int = 0) -> float:
        """Relative error of a candidate on random inputs against the reference."""
        rng = np.random.default_rng(seed)
        inputs = [rng.standard_normal(tensor.shape, np.float32) for tensor in work.inputs]
        weights = random_weights(rng, work.op, work.inputs)
        expected = np.asarray(evaluate(work.op, inputs, weights))
        return relative_error(self.run(candidate, work, inputs, weights), expected)

    def delivering_error(self, candidate: GpuCandidate, work: LayerWork, layout: Layout) -> float:
        """As `error`, of a kernel that writes the caller's tensor."""
        rng = np.random.default_rng(1)
        inputs = [rng.standard_normal(tensor.shape, np.float32) for tensor in work.inputs]
        weights = random_weights(rng, work.op, work.inputs)
        expected = caller_order(np.asarray(evaluate(work.op, inputs, weights)), layout)
        candidate = candidate.delivering(layout)
        given = [*(pack(x).astype(self.dtype) for x in inputs), *candidate.pack(weights)]
        got = self.launch(candidate, given, np.full(work.output.elements, np.nan, np.float32))
        return relative_error(np.asarray(got, np.float32).reshape(expected.shape), expected)

    def convert(self, x: Array, layout: Layout, direction: str) -> Array:
        """Through a border kernel: the caller's tensor to stored slices and back to the IR's order, or out."""
        tensor = TensorType(x.shape)
        candidate = self.target.border(BorderWork(tensor, layout, "in" if direction == "in" else "out"), self.device)
        if direction == "in":
            return unpack(self.launch(candidate, [caller_order(x, layout)], self._empty(tensor)), tensor)
        given = pack(x).astype(self.dtype)
        return np.asarray(self.launch(candidate, [given], np.full(tensor.elements, np.nan, np.float32)), np.float32)

    def lowered(self, graph: Graph) -> LoweredNetwork:
        """The calls of a network."""
        target: Any = self.target
        device: Any = self.device
        return delivered(lower(run_passes(graph, default_passes()), target, device))

    def run_graph(self, graph: Graph, x: Array) -> dict[str, Array]:
        """The outputs of a network by node, in the caller's layout, computed call by call; x in the IR's order."""
        network = self.lowered(graph)
        values: dict[str, Values] = {network.input.name: caller_order(x, network.input.storage)}
        ports = {tensor.name for tensor in network.outputs}
        for call in network.calls:
            candidate: Any = call.candidate
            weights = network.graph.weights_of(call.nodes[0]) if call.nodes else {}
            packed = candidate.pack(weights)
            output = self._empty(call.output.type)
            if call.output.name in ports:
                output = np.full(call.output.type.elements, np.nan, np.float32)
            given = [values[tensor.name] for tensor in call.inputs]
            values[call.output.name] = self.launch(candidate, [*given, *packed], output)
        return {
            name: np.asarray(values[tensor.name], np.float32)
            for name, tensor in zip(network.graph.outputs, network.outputs, strict=True)
        }
