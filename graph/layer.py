"""Layers and their keys: the name under which a kernel, a measurement, a prediction and a table row meet."""

from dataclasses import dataclass, replace

from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.layer_text import activation_text, option_texts, parse_layer
from mnv3c.graph.ops import Conv2d, Flatten, Identity, Input, Op, activation_of
from mnv3c.graph.shapes import Padding, Pair, ShapeError
from mnv3c.graph.tensor import TensorType


@dataclass(frozen=True)
class LayerKey:
    """The work of one layer: its op, with everything fused into it, and the types of its inputs.

    Names, weight values, memory layouts and the rest of the network do not enter, so the same layer of two networks
    has one key. `str(key)` is canonical (equal keys have equal text, and the other way round) and `parse` reads it:

        KIND INPUT[,INPUT...]->OUTPUT [FIELD=VALUE...]
        conv2d 1x56x56x72->1x28x28x72 kernel=5x5 stride=2x2 padding=1x1x2x2 groups=72 bias=yes activation=relu
        conv2d 1x7x7x960,1x7x7x160->1x7x7x160 bias=yes residual=before_activation

    KIND is `Op.kind`. A tensor is its extents, (batch, height, width, channels) or (batch, features), then `:DTYPE`
    unless that is float32; a residual or a gate is the second input. Then come the op's fields in order of
    declaration, those with their default value left out, and those that OUTPUT tells (`out_channels`, `units`,
    `size`). Tuples of integers are joined by `x` (padding: top, left, bottom, right), truth is `yes` or `no`, numbers
    are Python's shortest exact form, an activation is its kind with its numbers where they are not implied:
    `clip(0.0,4.0)`, `hsigmoid(0.2,0.5)`.
    """

    op: Op
    inputs: tuple[TensorType, ...]

    @property
    def kind(self) -> str:
        """The op's stable name."""
        return self.op.kind

    @property
    def output(self) -> TensorType:
        """Type of the output."""
        return self.op.infer(self.inputs)

    @property
    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the inputs, the residual or gate included."""
        return tuple(x.shape for x in self.inputs)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output."""
        return self.output.shape

    @property
    def dtype(self) -> str:
        """Dtype of the output."""
        return self.output.dtype

    @property
    def kernel(self) -> Pair:
        """Window (height, width); (1, 1) for an op without one."""
        value: Pair = getattr(self.op, "kernel", (1, 1))
        return value

    @property
    def stride(self) -> Pair:
        """Steps of the window (height, width); (1, 1) for an op without one."""
        value: Pair = getattr(self.op, "stride", (1, 1))
        return value

    @property
    def dilation(self) -> Pair:
        """Distance of the window's taps (height, width); (1, 1) for an op without one."""
        value: Pair = getattr(self.op, "dilation", (1, 1))
        return value

    @property
    def padding(self) -> Padding:
        """Padding (top, left, bottom, right); zeros for an op without one."""
        value: Padding = getattr(self.op, "padding", (0, 0, 0, 0))
        return value

    @property
    def groups(self) -> int:
        """Groups of a convolution; 1 for any other op."""
        return int(getattr(self.op, "groups", 1))

    @property
    def activation(self) -> str:
        """The activation as in the key's text; empty where there is none."""
        activation = activation_of(self.op)
        return "" if activation is None else activation_text(activation)

    @property
    def residual(self) -> str:
        """Where a residual is added, as in `Conv2d.residual`; empty where there is none."""
        return getattr(self.op, "residual", None) or ""

    @property
    def macs(self) -> int:
        """Multiply-accumulates, as counted by `Op.macs`."""
        return self.op.macs(self.inputs)

    def __str__(self) -> str:
        inputs = ",".join(map(str, self.inputs))
        return " ".join([self.kind, f"{inputs}->{self.output}", *option_texts(self.op)])

    @classmethod
    def parse(cls, text: str) -> "LayerKey":
        """The key with this text. Raises UserError, naming the text and what is wrong with it, if there is none."""
        try:
            key = cls(*parse_layer(text))
        except (ValueError, ShapeError) as error:
            raise UserError(f"layer key '{text}': {error}") from None
        if str(key) != text:
            raise UserError(f"layer key '{text}': must be written '{key}'")
        return key


def layer_key(graph: Graph, node: Node) -> LayerKey:
    """The key of a node's work. Raises ValueError for an Input, which does none.

    A residual of a convolution without activation counts as added before it: both orders are the same work.
    """
    if isinstance(node.op, Input):
        raise ValueError(f"input '{node.name}' is no layer")
    op = node.op
    if isinstance(op, Conv2d) and op.residual and op.activation is None:
        op = replace(op, residual="before_activation")
    return LayerKey(op, graph.input_types(node))


def layers(graph: Graph) -> tuple[Node, ...]:
    """The nodes that are layers, in graph order: all but Input, and Flatten and Identity, which move no data."""
    return tuple(node for node in graph.nodes if not isinstance(node.op, Input | Flatten | Identity))
