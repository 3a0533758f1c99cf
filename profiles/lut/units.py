"""What a table has entries of: whole inverted residual blocks, and layers that are in none."""

from collections.abc import Iterator, Sequence

from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.layer import LayerKey, layer_key, layers
from mnv3c.graph.ops import Conv2d, Input, Multiply, activation_of
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.profiles.block import Block, block_activation
from mnv3c.profiles.work import LayerWork

Unit = Block | LayerWork
# Layers of a block, with and without squeeze-excite (4) and expansion (1); the longest that fits is the block.
_BLOCK_LAYERS = (7, 6, 3, 2)
_SQUEEZE_LAYERS = 4


def units_of_layers(keys: Sequence[LayerKey]) -> tuple[Unit, ...]:
    """The units that a network's layers form, front to back: layers that make a `Block` exactly are one."""
    return tuple(_units(keys))


def units_of_graph(graph: Graph) -> tuple[Unit, ...]:
    """The units of a network, its batch norms folded and its layers fused first where they are not yet."""
    fused = run_passes(graph, default_passes())
    return units_of_layers([layer_key(fused, node) for node in layers(fused)])


def unit_graph(unit: Unit) -> Graph:
    """The unit as a fused network of its own, without weights; its inputs are the unit's.

    The gate of a squeeze-excite is computed within; a layer with two inputs reads both from outside.
    """
    keys = unit.layer_keys()
    nodes = [Node("input", Input(keys[0].inputs[0].shape))]
    last = before_gate = "input"
    for index, key in enumerate(keys):
        name = f"layer{index}"
        if len(key.inputs) == 1:
            reads: tuple[str, ...] = (last,)
        elif isinstance(unit, LayerWork):
            nodes.append(Node("second", Input(key.inputs[1].shape)))
            reads = (last, "second")
        elif isinstance(key.op, Multiply):
            reads = (before_gate, last)
        else:
            reads = (last, "input")
        nodes.append(Node(name, key.op, reads))
        if key.inputs[0].spatial != (1, 1) and key.output.spatial != (1, 1):
            before_gate = name
        last = name
    return Graph("unit", tuple(nodes), (last,))


def _units(keys: Sequence[LayerKey]) -> Iterator[Unit]:
    place = 0
    while place < len(keys):
        block = next((found for count in _BLOCK_LAYERS if (found := _block(keys[place : place + count], count))), None)
        yield block or LayerWork(keys[place])
        place += len(block.layer_keys()) if block else 1


def _block(keys: Sequence[LayerKey], count: int) -> Block | None:
    """The block that has exactly these layers; None where there is none."""
    se = count > _SQUEEZE_LAYERS
    depthwise = count % _SQUEEZE_LAYERS - 2 if se else count - 2
    if len(keys) != count or not isinstance(keys[depthwise].op, Conv2d) or not isinstance(keys[-1].op, Conv2d):
        return None
    middle, activation = keys[depthwise], activation_of(keys[depthwise].op)
    first, last = keys[0].inputs[0], keys[-1].output
    if activation is None or len(first.shape) != 4:
        return None
    try:
        block = Block(
            h_in=first.spatial[0],
            c_in=first.channels,
            c_out=last.channels,
            c_expand=middle.inputs[0].channels,
            kernel=middle.kernel[0],
            stride=middle.stride[0],
            se=se,
            activation=block_activation(activation.kind),
            skip=bool(keys[-1].residual),
        )
        return block if block.layer_keys() == tuple(keys) else None
    except ValueError:
        # Numbers or an activation that no block has.
        return None
