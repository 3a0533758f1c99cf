"""Runs kernels and whole lowered networks in this process: compiled by TVM, on buffers that betray a wrong access.

Stored inputs have NaN in their padding, outputs start as NaN, and every buffer lies between guards that no kernel may
touch. A caller's buffer starts 4 bytes past a multiple of 64, the worst alignment that a float array can have.
"""

import functools
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mnv3c.compiler.assemble import assemble
from mnv3c.compiler.build import KernelJob, compile_prim_funcs
from mnv3c.compiler.grouping import ChooseGroup, fuse_always
from mnv3c.compiler.lower import Choose, first_guess, lower
from mnv3c.compiler.program import Argument, Program, Region
from mnv3c.compiler.weights import WeightsBlob
from mnv3c.graph.ir import Graph
from mnv3c.graph.ops import Op
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.reference import evaluate
from mnv3c.graph.tensor import Layout, TensorType
from mnv3c.targets.cpu.lanes import Lanes, device_lanes
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device
from mnv3c.targets.target import BorderWork, Candidate, LayerWork, Packed, Storage, Target, WeightPrecision

Array = npt.NDArray[np.float32]
# Vector bits and registers: AVX-512, AVX2, Neon, and a core without vectors.
SHAPES = ((512, 32), (256, 16), (128, 32), (32, 32))
_GUARD_FLOATS = 64
_GUARD_VALUE = np.float32(-1.5e30)


@dataclass(frozen=True)
class GuardedBuffer:
    """`values`, somewhere inside `whole`; all of `whole` outside `values` must keep its value."""

    whole: Array
    values: Packed

    @staticmethod
    def of(values: Packed, misaligned: bool = False) -> "GuardedBuffer":
        half = values.dtype == np.float16
        flat = np.ascontiguousarray(values, np.float16 if half else np.float32).ravel()
        floats = -(-flat.nbytes // 4)
        whole = np.full(floats + 2 * _GUARD_FLOATS + 17, _GUARD_VALUE, np.float32)
        start = _GUARD_FLOATS + (-whole[_GUARD_FLOATS:].ctypes.data % 64) // 4 + misaligned
        inner = whole[start : start + floats].view(flat.dtype)[: flat.size]
        inner[:] = flat
        assert not inner.size or inner.ctypes.data % 64 == 4 * misaligned
        return GuardedBuffer(whole, inner)

    @staticmethod
    def empty(elements: int, misaligned: bool = False) -> "GuardedBuffer":
        return GuardedBuffer.of(np.full(elements, np.nan, np.float32), misaligned)

    def check(self) -> None:
        """Nothing was written outside."""
        start = (self.values.ctypes.data - self.whole.ctypes.data) // 4
        behind = start + -(-self.values.nbytes // 4)
        touched = int((self.whole[:start] != _GUARD_VALUE).sum()) + int((self.whole[behind:] != _GUARD_VALUE).sum())
        assert touched == 0, f"{touched} floats outside the buffer were written"


def stored(types: Sequence[TensorType]) -> tuple[Storage, ...]:
    """Inputs that all lie as the target stores activations."""
    return tuple[Storage, ...]("target" for _ in types)


def host_variant(bits: int, registers: int) -> CpuDevice:
    """This machine with other vectors and no tiles; skips the test where it has no vectors so wide."""
    device = find_device("host")
    if bits > device.vector.bits:
        pytest.skip(f"this machine's vectors have {device.vector.bits} bits, not {bits}")
    vector = device.vector.model_copy(update={"bits": bits, "registers": registers, "tile_bf16_macs": None})
    return device.model_copy(update={"vector": vector})


def compile_kernels(candidates: Mapping[str, Candidate], target: Target, device: CpuDevice) -> Any:
    """One TVM module with a function for every symbol."""
    functions = {symbol: candidate.build(symbol) for symbol, candidate in candidates.items()}
    return compile_prim_funcs(functions, target.llvm_target(device))


def caller_order(x: Array, layout: str) -> Array:
    """A tensor in the IR's order as the caller holds it."""
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2) if layout == "NCHW" and x.ndim == 4 else x)


def stored_rows(x: Array, lanes: Lanes) -> Array:
    """A tensor as stored rows whose padding is NaN."""
    rows = x.reshape(-1, x.shape[-1])
    return np.pad(rows, ((0, 0), (0, lanes.stored(rows.shape[1]) - rows.shape[1])), constant_values=np.nan)


def channels_of_rows(flat: Array, tensor: TensorType, lanes: Lanes) -> Array:
    """The tensor that stored rows hold."""
    return flat.reshape(-1, lanes.stored(tensor.channels))[:, : tensor.channels].reshape(tensor.shape)


def random_tensor(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape, dtype=np.float32)


def random_weights(rng: np.random.Generator, op: Op, inputs: Sequence[TensorType]) -> dict[str, Array]:
    """Parameters that keep values near 1."""
    shapes = op.weights(tuple(inputs))
    return {
        role: random_tensor(rng, shape) / np.float32(math.sqrt(math.prod(shape[:-1]))) for role, shape in shapes.items()
    }


def relative_error(got: Array, expected: Array, floor: float = 0.0) -> float:
    """Largest error over the largest expected value (or `floor`); infinite where anything is not finite."""
    assert got.shape == expected.shape
    scale = max(float(np.abs(expected).max()), floor)
    error = float(np.abs(got - expected).max())
    if not math.isfinite(error) or not math.isfinite(scale):
        return math.inf
    return error / scale if scale else error


@dataclass(frozen=True)
class KernelRunner:
    """Offers and runs the kernels of one layer on a device that this machine can stand for."""

    device: CpuDevice

    @functools.cached_property
    def target(self) -> Target:
        return load_target(self.device.target)

    @property
    def lanes(self) -> Lanes:
        return device_lanes(self.device)

    def work(
        self,
        op: Op,
        inputs: Sequence[TensorType],
        storage: Sequence[Storage] = (),
        weights: WeightPrecision = "fp32",
    ) -> LayerWork:
        types = tuple(inputs)
        return LayerWork(op, types, op.infer(types), tuple(storage) or stored(types), weights)

    def candidates(self, work: LayerWork) -> Sequence[Candidate]:
        """What the first family that knows the layer offers; none where no family does."""
        offers = (family.candidates(work, self.device) for family in self.target.families())
        return next((offer for offer in offers if offer is not None), ())

    def run(
        self, candidate: Candidate, work: LayerWork, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> Array:
        """The layer's output, computed by a candidate."""
        buffers = [
            GuardedBuffer.of(stored_rows(x, self.lanes))
            if storage == "target"
            else GuardedBuffer.of(caller_order(x, storage), misaligned=True)
            for x, storage in zip(inputs, work.storage, strict=True)
        ]
        buffers += [GuardedBuffer.of(array) for array in candidate.pack(weights)]
        scratch = [GuardedBuffer.empty(n) for n in [candidate.workspace_elements] if n]
        output = GuardedBuffer.empty(self.target.storage_elements(work.output, self.device))
        self.call(candidate, buffers, (*scratch, output))
        return channels_of_rows(output.values, work.output, self.lanes)

    def call(self, candidate: Candidate, given: Sequence[GuardedBuffer], written: Sequence[GuardedBuffer]) -> None:
        """Run a kernel; what it is given may not change."""
        before, buffers = [buffer.values.copy() for buffer in given], (*given, *written)
        compile_kernels({"kernel": candidate}, self.target, self.device)["kernel"](*(b.values for b in buffers))
        for buffer in buffers:
            buffer.check()
        for buffer, values in zip(given, before, strict=True):
            np.testing.assert_array_equal(buffer.values, values)

    def error(self, candidate: Candidate, work: LayerWork, seed: int = 0, floor: float = 0.0) -> float:
        """Relative error of a candidate on random inputs against the reference."""
        rng = np.random.default_rng(seed)
        inputs = [random_tensor(rng, tensor.shape) for tensor in work.inputs]
        weights = random_weights(rng, work.op, work.inputs)
        if work.weights == "fp16":
            weights["weight"] = weights["weight"].astype(np.float16).astype(np.float32)
        expected = np.asarray(evaluate(work.op, inputs, weights))
        return relative_error(self.run(candidate, work, inputs, weights), expected, floor)

    def convert(self, x: Array, layout: Layout, direction: str) -> Array:
        """Through a border kernel: the caller's flat tensor to stored rows, or back."""
        tensor = TensorType(x.shape)
        work = BorderWork(tensor, layout, "in" if direction == "in" else "out")
        dense = GuardedBuffer.of(caller_order(x, layout), misaligned=True)
        rows = GuardedBuffer.of(stored_rows(x, self.lanes))
        if direction == "in":
            output = GuardedBuffer.empty(rows.values.size)
            self.call(self.target.border(work, self.device), [dense], [output])
        else:
            output = GuardedBuffer.empty(dense.values.size, misaligned=True)
            self.call(self.target.border(work, self.device), [rows], [output])
        return output.values


def run_graph(
    graph: Graph, device: CpuDevice, x: Array, choose: Choose = first_guess, choose_group: ChooseGroup = fuse_always
) -> dict[str, Array]:
    """The outputs of a network in the caller's layout, computed call by call as the C program does."""
    target = load_target(device.target)
    network = lower(run_passes(graph, default_passes()), target, device, choose, choose_group)
    jobs = [KernelJob.of(call.candidate, target.llvm_target(device)) for call in network.calls]
    program, weights, memory = assemble(network, [job.symbol for job in jobs], graph.outputs, target, device)
    module = compile_kernels({job.symbol: job.candidate for job in jobs}, target, device)
    layout = network.input.storage
    buffers = {
        Region.INPUT: GuardedBuffer.of(caller_order(x, layout), misaligned=True),
        Region.ARENA: GuardedBuffer.empty(memory.peak_bytes // 4),
        Region.WEIGHTS: GuardedBuffer.of(_written(weights)),
    }
    outputs = [GuardedBuffer.empty(port.elements) for port in program.outputs]
    for call in program.calls:
        module[call.symbol](*(_view(argument, program, buffers, outputs) for argument in call.arguments))
    for buffer in (*buffers.values(), *outputs):
        buffer.check()
    return {port.name: buffer.values.reshape(port.shape) for port, buffer in zip(program.outputs, outputs, strict=True)}


def _written(weights: WeightsBlob) -> Array:
    with tempfile.TemporaryDirectory() as folder:
        weights.write(Path(folder) / "weights.bin")
        return np.fromfile(Path(folder) / "weights.bin", "<f4")


def _view(
    argument: Argument,
    program: Program,
    buffers: Mapping[Region, GuardedBuffer],
    outputs: Sequence[GuardedBuffer],
) -> Array:
    start = argument.offset_bytes // 4
    if argument.region is not Region.OUTPUT:
        return buffers[argument.region].values[start : start + argument.elements]
    ends = np.cumsum([port.elements for port in program.outputs])
    index = int(np.searchsorted(ends, start, side="right"))
    assert start + argument.elements == ends[index]
    return outputs[index].values
