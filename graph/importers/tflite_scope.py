"""What the importer knows while it goes through the operators of a TFLite file."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mnv3c.graph.activation import Activation
from mnv3c.graph.importers.tflite_file import FileModel, FileOperator, FileTensor, TfliteError
from mnv3c.graph.importers.tflite_schema import FUSED_BY_CODE
from mnv3c.graph.integer.affine import Affine, Int8Array, Int32Array
from mnv3c.graph.integer.ops import Step
from mnv3c.graph.ir import Array, Node
from mnv3c.graph.ops import Op
from mnv3c.graph.shapes import Padding
from mnv3c.graph.tensor import BYTES_PER_ELEMENT

# Constants may share buffers; beyond this, a small file would claim the memory of a large one.
SHARED_BYTES = 2**26
# No network has such scales; between these, a product of two over a third stays within float32.
MIN_SCALE, MAX_SCALE = 2.0**-40, 2.0**40


@dataclass(frozen=True, eq=False)
class Atom:
    """One operator as a node that nothing is fused into, the step that computes it, and its weights by role."""

    node: Node
    step: Step
    weights: dict[str, Array]


@dataclass(frozen=True)
class Padded:
    """A tensor that a PAD makes of another: what it reads, how far it pads, and with which int8 value."""

    source: int
    padding: Padding
    value: int


class Scope:
    """Tensors by index, the nodes that make them, and how often each is read."""

    def __init__(self, model: FileModel) -> None:
        self.model = model
        self.padded: dict[int, Padded] = {}
        self._written: set[int] = set(model.inputs)
        self.reads = Counter([*model.outputs, *(i for operator in model.operators for i in set(operator.inputs))])
        self._constant_bytes = (
            4 * sum(tensor.data.size for tensor in model.tensors if tensor.data is not None) + SHARED_BYTES
        )

    def tensor(self, operator: FileOperator, slot: int) -> FileTensor:
        """An input of an operator. Raises TfliteError where it is left out."""
        if slot >= len(operator.inputs) or operator.inputs[slot] < 0:
            raise TfliteError(f"input {slot} is missing")
        return self.model.tensors[operator.inputs[slot]]

    def output(self, operator: FileOperator) -> FileTensor:
        """The single output of an operator."""
        if len(operator.outputs) != 1 or operator.outputs[0] < 0:
            raise TfliteError(f"it must have one output, not {len(operator.outputs)}")
        return self.model.tensors[operator.outputs[0]]

    def write(self, tensor: FileTensor) -> None:
        """Notes that a tensor is computed. Raises TfliteError where that happens twice, or where it is a constant."""
        if tensor.index in self._written or tensor.data is not None:
            raise TfliteError(f"it writes {tensor}, which is given or written before")
        if not tensor.name:
            raise TfliteError(f"its output, tensor {tensor.index}, has no name")
        self._written.add(tensor.index)

    def computed(self, tensor: FileTensor) -> FileTensor:
        """The tensor itself, which must have been given or computed before, and must not be one that a PAD made."""
        if tensor.data is not None:
            raise TfliteError(f"it reads {tensor}, a constant, which is not supported here")
        if tensor.index not in self._written:
            raise TfliteError(f"it reads {tensor}, which nothing has written before")
        if tensor.index in self.padded:
            raise TfliteError(f"it reads the padded {tensor}, which only a convolution or a pool may")
        return tensor

    def source(self, tensor: FileTensor) -> tuple[FileTensor, Padded | None]:
        """What a window slides over: the tensor before a PAD, and that PAD, or the tensor itself."""
        padded = self.padded.get(tensor.index)
        return (self.computed(tensor), None) if padded is None else (self.model.tensors[padded.source], padded)

    def values(
        self, tensor: FileTensor, dtype: Literal["int8", "int32"]
    ) -> npt.NDArray[np.int8] | npt.NDArray[np.int32]:
        """A constant's values. Raises TfliteError where it has none, or not as many as its shape says."""
        if tensor.data is None:
            raise TfliteError(f"{tensor} must be a constant")
        if tensor.dtype != dtype:
            raise TfliteError(f"{tensor} is {tensor.dtype}, must be {dtype}")
        need = math.prod(tensor.shape) * BYTES_PER_ELEMENT[dtype]
        if need != tensor.data.size:
            raise TfliteError(f"{tensor}: shape {tensor.shape} needs {need} bytes, the file has {tensor.data.size}")
        self._constant_bytes -= need
        if self._constant_bytes < 0:
            raise TfliteError(f"{tensor}: the file's constants are used more often than there is memory for")
        values: npt.NDArray[np.int8] | npt.NDArray[np.int32]
        values = tensor.data.view("<i1" if dtype == "int8" else "<i4").reshape(tensor.shape)
        return values

    def int8(self, tensor: FileTensor) -> Int8Array:
        """A constant of int8."""
        return self.values(tensor, "int8").astype(np.int8, copy=False)

    def int32(self, tensor: FileTensor) -> Int32Array:
        """A constant of int32."""
        return self.values(tensor, "int32").astype(np.int32, copy=False)


def affine_of(tensor: FileTensor) -> Affine:
    """The quantisation of an int8 tensor as a whole. Raises TfliteError where it is not int8 or has none."""
    if tensor.dtype != "int8":
        raise TfliteError(f"{tensor} is {tensor.dtype}; only int8 networks are read")
    if len(tensor.scales) != 1:
        raise TfliteError(f"{tensor} has {len(tensor.scales)} scales, needs one")
    if not MIN_SCALE <= tensor.scales[0] <= MAX_SCALE:
        raise TfliteError(f"{tensor}: its scale is {tensor.scales[0]:g}, must be in {MIN_SCALE:g}..{MAX_SCALE:g}")
    try:
        return Affine(float(tensor.scales[0]), int(tensor.zero_points[0]))
    except ValueError as error:
        raise TfliteError(f"{tensor}: {error}") from None


def kept(x: FileTensor, output: FileTensor) -> Affine:
    """The quantisation that both tensors must have."""
    if affine_of(x) != affine_of(output):
        raise TfliteError(f"{x} and {output} must have the same scale and zero point")
    return affine_of(x)


def ranked(tensor: FileTensor, rank: int) -> FileTensor:
    """The tensor itself, which must have this rank."""
    if len(tensor.shape) != rank:
        raise TfliteError(f"{tensor} has shape {tensor.shape}; rank {rank} is needed")
    return tensor


def fused(operator: FileOperator) -> Activation | None:
    """The activation that an operator carries."""
    return FUSED_BY_CODE[int(operator.options["FusedActivationFunction"])]


def node(op: Op, output: FileTensor, *inputs: FileTensor) -> Node:
    """A node that is called like its output."""
    return Node(output.name, op, tuple(x.name for x in inputs))
