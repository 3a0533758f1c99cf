"""What the importer knows while it walks an ONNX graph: the value of every tensor, and the nodes made so far."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mnv3c.graph.importers.onnx_node import OnnxError, OnnxNode, Values
from mnv3c.graph.importers.shown_name import shown
from mnv3c.graph.ir import Array, Node
from mnv3c.graph.ops import Op, Padding
from mnv3c.graph.shapes import ShapeError
from mnv3c.graph.tensor import Layout, TensorType

NO_PADDING: Padding = (0, 0, 0, 0)
MAX_ELEMENTS = 2**31 - 1  # of an activation: what a 32-bit index reaches
MAX_NAME_CHARACTERS = 64
_REVERSED_ORDER: dict[Layout, Layout] = {"NCHW": "NHWC", "NHWC": "NCHW"}


@dataclass(frozen=True)
class Constant:
    """A tensor whose value is known: an initializer, a Constant node, or computed from those and from shapes."""

    name: str
    value: Values


@dataclass(frozen=True)
class Tensor:
    """A tensor that the network computes, as ONNX sees it.

    `shape` is ONNX's, with the axes in `order` when the rank is 4. It differs from the type of `node` where a Pad
    waits to be folded into a convolution (`padding`), or where a 1x1 map is seen with some of its unit axes removed.
    """

    node: str
    shape: tuple[int, ...]
    order: Layout = "NCHW"
    padding: Padding = NO_PADDING

    @property
    def channel_axis(self) -> int:
        """Axis of the channels or features."""
        return 1 if self.order == "NCHW" or len(self.shape) == 2 else 3

    def transposed(self) -> "Tensor":
        """The same tensor with ONNX's axes in the other order."""
        n, *rest = self.shape
        moved = (n, *rest[1:], rest[0]) if self.order == "NCHW" else (n, rest[-1], *rest[:-1])
        return replace(self, shape=moved, order=_REVERSED_ORDER[self.order])


Value = Constant | Tensor


def onnx_shape(x: TensorType, order: Layout) -> tuple[int, ...]:
    """Shape that ONNX gives to a tensor of the IR."""
    if len(x.shape) == 4 and order == "NCHW":
        n, h, w, c = x.shape
        return (n, c, h, w)
    return x.shape


@dataclass
class Scope:
    """The tensors known so far by ONNX's names, and the IR's nodes, types and weights by its own."""

    folder: Path
    values: dict[str, Value] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    types: dict[str, TensorType] = field(default_factory=dict)
    weights: dict[str, Array] = field(default_factory=dict)

    def value(self, node: OnnxNode, index: int) -> Value:
        """Input `index` of a node. Raises OnnxError if it is not given, or nothing computes it."""
        name = node.read_input(index)
        if name not in self.values:
            raise OnnxError(f"reads {shown(name)}, a second output that is not supported")
        return self.values[name]

    def tensor(self, node: OnnxNode, index: int) -> Tensor:
        """Input `index`, which the network must compute."""
        value = self.value(node, index)
        if isinstance(value, Constant):
            raise OnnxError(f"input {shown(value.name)} is a constant; only a computed tensor is supported there")
        return value

    def map(self, node: OnnxNode, index: int) -> Tensor:
        """Input `index`, which must be computed, of rank 4, and (batch, channels, height, width)."""
        value = self.tensor(node, index)
        if len(value.shape) != 4:
            raise OnnxError(f"needs a tensor of rank 4, not of shape {value.shape}")
        if value.order != "NCHW":
            raise OnnxError("reads the result of a Transpose that cannot be removed")
        return value

    def constant(self, node: OnnxNode, index: int) -> Values:
        """Value of input `index`, which must be a constant."""
        value = self.value(node, index)
        if isinstance(value, Tensor):
            raise OnnxError(f"input {shown(node.inputs[index])} must be a constant")
        return value.value

    def integers(self, node: OnnxNode, index: int) -> tuple[int, ...]:
        """Input `index` as a list of integers."""
        value = self.constant(node, index)
        if value.dtype.kind != "i" or value.ndim > 1:
            raise OnnxError(f"input {shown(node.inputs[index])} must be a list of integers")
        return tuple(int(v) for v in value.ravel())

    def scalar(self, node: OnnxNode, index: int) -> float:
        """Input `index` as one floating-point number, not NaN."""
        value = self.constant(node, index)
        if value.size != 1 or value.dtype not in (np.float32, np.float64) or np.isnan(value).any():
            raise OnnxError(f"input {shown(node.inputs[index])} must be one number, float32 or float64")
        return float(value.ravel()[0])

    def weight(self, node: OnnxNode, index: int, rank: int) -> Array:
        """Input `index` as a constant of float32 with this rank and finite values."""
        value = self.constant(node, index)
        name = shown(node.inputs[index])
        if value.dtype != np.float32:
            raise OnnxError(f"weight {name} is {value.dtype}; only float32 is supported")
        if value.ndim != rank:
            raise OnnxError(f"weight {name} has shape {value.shape}; only rank {rank} is supported")
        if not np.isfinite(value).all():
            raise OnnxError(f"weight {name} is not finite")
        return value.astype(np.float32)

    def plain(self, x: Tensor) -> Tensor:
        """The node's whole output, without what a Pad or a reshape made of it."""
        return Tensor(x.node, onnx_shape(self.types[x.node], x.order), x.order)

    def unpadded(self, x: Tensor) -> Tensor:
        """The tensor before the Pad that waits on it; the caller takes in the padding."""
        return x if x.padding == NO_PADDING else self.plain(x)

    def emit(
        self, node: OnnxNode, op: Op, inputs: tuple[Tensor, ...], weights: Mapping[str, Array] | None = None
    ) -> Tensor:
        """Add a node to the graph and return its output. Raises OnnxError if inputs or weights do not fit the op."""
        if len({x.order for x in inputs if len(x.shape) == 4}) > 1:
            raise OnnxError("reads the result of a Transpose that cannot be removed")
        types = tuple(self._plain_type(x) for x in inputs)
        order = inputs[0].order if inputs else "NCHW"
        return self.add(node.name, node.op_type, op, tuple(x.node for x in inputs), types, weights or {}, order)

    def add(
        self,
        name: str,
        op_type: str,
        op: Op,
        inputs: tuple[str, ...],
        types: tuple[TensorType, ...],
        weights: Mapping[str, Array],
        order: Layout,
    ) -> Tensor:
        """As `emit`, with the names and types of the inputs given."""
        try:
            out = op.infer(types)
            needed = op.weights(types)
        except ShapeError as error:
            raise OnnxError(str(error)) from None
        if out.elements > MAX_ELEMENTS:
            raise OnnxError(f"its output {out} has more than 2^31 - 1 elements")
        for role, shape in needed.items():
            if weights[role].shape != shape:
                raise OnnxError(f"weight '{role}' has shape {weights[role].shape}, needs {shape}")
        made = Node(self._unique(name, op_type), op, inputs)
        self.nodes[made.name], self.types[made.name] = made, out
        for role in needed:
            self.weights[made.weight_name(role)] = np.ascontiguousarray(weights[role], dtype=np.float32)
        return Tensor(made.name, onnx_shape(out, order), order)

    def _plain_type(self, x: Tensor) -> TensorType:
        if x.padding != NO_PADDING:
            raise OnnxError("reads the result of a Pad; only a convolution, or a mean that counts it, can absorb that")
        plain = self.types[x.node]
        if x.shape != onnx_shape(plain, x.order):
            raise OnnxError(f"reads a tensor of shape {x.shape}; only rank 4 and (batch, features) are supported")
        return plain

    def _unique(self, raw: str, op_type: str) -> str:
        cleaned = re.sub(r"[^0-9A-Za-z_]+", "_", raw).strip("_")[:MAX_NAME_CHARACTERS]
        if not cleaned or cleaned[0].isdigit():
            cleaned = f"{re.sub(r'[^0-9A-Za-z_]+', '_', op_type)}_{cleaned}".strip("_") or "node"
        name, count = cleaned, 1
        while name in self.nodes:
            count += 1
            name = f"{cleaned}_{count}"
        return name


Handler = Callable[[OnnxNode, Scope], Value]
"""Reads a node and gives the value of its first output. Raises OnnxError."""
