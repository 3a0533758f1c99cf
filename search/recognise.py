"""A classifier of MobileNetV3's form read back from a graph: the table that makes it, its input and its classes."""

from dataclasses import dataclass
from itertools import zip_longest

from mnv3c.graph.activation import Activation
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.layer import LayerKey, layer_key, layers
from mnv3c.graph.networks.mobilenet_v3 import classifier_of_table
from mnv3c.graph.networks.tables import Block, Table, TailLayer
from mnv3c.graph.ops import Conv2d, Dense, GlobalAveragePool, Multiply
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes

# Pool, reduce, expand and scale.
_SQUEEZE_LAYERS = 4


@dataclass(frozen=True)
class Recognised:
    """What `classifier_of_table` makes a network of, but for its name; `size` is the input's (height, width)."""

    table: Table
    size: tuple[int, int]
    classes: int


def recognise(graph: Graph) -> Recognised:
    """What makes this network, whatever its nodes are called.

    Only networks of MobileNetV3's form have such a table: one image of three channels; a stem, 3x3 of stride 2;
    inverted residual blocks, each with one activation, a squeeze-excite of a quarter or none, and a residual exactly
    where it fits; 1x1 or depthwise convolutions; the global pool; 1x1 convolutions; a dense layer, which is the only
    output. Padding is SAME.

    Raises UserError that names the first layer which is not of this form.
    """
    fused = run_passes(graph, default_passes())
    found = _Reader(fused).network()
    made = classifier_of_table(found.table, found.size, found.classes, graph.name)
    for ours, theirs in zip_longest(_joined(run_passes(made, default_passes())), _joined(fused)):
        if theirs is None or ours is None or ours[1:] != theirs[1:]:
            wanted = "nothing" if ours is None else f"'{ours[1]}'"
            given = f"'{graph.name}' ends" if theirs is None else f"layer '{theirs[0]}' is '{theirs[1]}'"
            raise _unlike(graph, f"{given} where the form has {wanted}")
    return found


class _Reader:
    """Goes through the layers of a fused graph. What it does not look at, `recognise` compares."""

    def __init__(self, fused: Graph) -> None:
        self._graph, self._nodes, self._place = fused, layers(fused), 0

    def network(self) -> Recognised:
        """Raises UserError where the layers are of other kinds."""
        shape = self._graph.type_of(self._graph.inputs[0].name).shape
        if len(self._graph.inputs) != 1 or len(shape) != 4 or shape[3] != 3:
            raise _unlike(self._graph, "its input is not one image of three channels")
        if len(self._graph.outputs) != 1:
            raise _unlike(self._graph, f"it has {len(self._graph.outputs)} outputs")
        stem = self._at(0)
        if not isinstance(stem, Conv2d):
            raise _unlike(self._graph, "it begins with no convolution")
        activation, self._place = self._activation(0), 1
        blocks: list[Block] = []
        while (block := self._block()) is not None:
            blocks.append(block)
        if not blocks:
            raise _unlike(self._graph, f"no inverted residual block follows layer '{self._nodes[0].name}'")
        before = self._tail("last")
        self._place += 1
        after = self._tail("head")
        classifier = self._at(self._place)
        if not isinstance(classifier, Dense):
            last = self._nodes[min(self._place, len(self._nodes)) - 1].name
            raise _unlike(self._graph, f"no pool and dense layer of a classifier follow layer '{last}'")
        table = Table(stem.out_channels, activation, tuple(blocks), before, after)
        return Recognised(table, (shape[1], shape[2]), classifier.units)

    def _at(self, place: int) -> object:
        return self._nodes[place].op if place < len(self._nodes) else None

    def _activation(self, place: int) -> Activation:
        op = self._at(place)
        if not isinstance(op, Conv2d) or op.activation is None:
            raise _unlike(self._graph, f"layer '{self._nodes[place].name}' has no activation")
        return op.activation

    def _depthwise(self, place: int) -> Conv2d | None:
        op = self._at(place)
        if not isinstance(op, Conv2d) or not op.depthwise(self._graph.input_types(self._nodes[place])[0].channels):
            return None
        return op

    def _block(self) -> Block | None:
        """The block that begins here. None where there is none: a projection, which has no activation, is its end."""
        place = self._place + (self._depthwise(self._place) is None)
        middle = self._depthwise(place)
        se = isinstance(self._at(place + 1), GlobalAveragePool) and isinstance(self._at(place + 4), Multiply)
        end = place + 1 + se * _SQUEEZE_LAYERS
        project = self._at(end)
        if middle is None or not isinstance(project, Conv2d) or project.activation is not None:
            return None
        self._place = end + 1
        return Block(
            kernel=middle.kernel[0],
            expansion=middle.out_channels,
            out=project.out_channels,
            se=se,
            activation=self._activation(place),
            stride=middle.stride[0],
            dilation=middle.dilation[0],
        )

    def _tail(self, name: str) -> tuple[TailLayer, ...]:
        """The convolutions up to a layer of another kind."""
        found: list[TailLayer] = []
        while isinstance(op := self._at(self._place), Conv2d):
            number = f"{len(found) + 1}" if found else ""
            found.append(TailLayer(f"{name}{number}", op.out_channels, op.activation, op.kernel[0]))
            self._place += 1
        return tuple(found)


def _joined(fused: Graph) -> list[tuple[str, LayerKey, tuple[int, ...]]]:
    """Each layer's name, key, and the places of the layers that it reads; -1 is the input."""
    places: dict[str, int] = {}
    found: list[tuple[str, LayerKey, tuple[int, ...]]] = []
    counted = {node.name for node in layers(fused)}
    for node in fused.nodes:
        if node.name in counted:
            places[node.name] = len(found)
            found.append((node.name, layer_key(fused, node), _read(node, places)))
        else:
            places[node.name] = _read(node, places)[0] if node.inputs else -1
    return found


def _read(node: Node, places: dict[str, int]) -> tuple[int, ...]:
    return tuple(places[name] for name in node.inputs)


def _unlike(graph: Graph, what: str) -> UserError:
    return UserError(f"'{graph.name}' is not of MobileNetV3's form, which NetAdapt shrinks: {what}")
