"""Which neighbouring layers become one kernel."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import Input
from mnv3c.targets.base_device import Device
from mnv3c.targets.target import Candidate, GroupWork, KernelTarget, LayerWork, Storage

D = TypeVar("D", bound=Device)
ChooseGroup = Callable[[GroupWork, Sequence[Candidate]], Candidate | None]


@dataclass(frozen=True)
class Group:
    """Layers that one kernel computes. `outside` names the tensors that it reads, in the kernel's order."""

    nodes: tuple[Node, ...]
    outside: tuple[str, ...]
    work: GroupWork
    candidate: Candidate


def fuse_always(work: GroupWork, candidates: Sequence[Candidate]) -> Candidate | None:
    """The first candidate: families offer only groups that they expect to gain."""
    return candidates[0]


def plan_groups(
    graph: Graph,
    target: KernelTarget[D],
    device: D,
    choose: ChooseGroup = fuse_always,
    apart: Collection[str] = (),
) -> dict[str, Group]:
    """The groups of a fused graph by the name of their last layer; no layer is in two, none of `apart` in any."""
    groups: dict[str, Group] = {}
    taken = set(apart)
    for node in graph.nodes:
        if node.name in taken:
            continue
        group = next(_groups_from(graph, node, taken, target, device, choose), None)
        if group is not None:
            groups[group.nodes[-1].name] = group
            taken.update(member.name for member in group.nodes)
    return groups


def _groups_from(
    graph: Graph, node: Node, taken: set[str], target: KernelTarget[D], device: D, choose: ChooseGroup
) -> Iterator[Group]:
    for family in target.groups():
        for length in family.lengths:
            nodes = _chain(graph, node, length)
            if nodes is None or any(member.name in taken for member in nodes):
                continue
            outside, work = _work(graph, nodes)
            candidates = family.candidates(work, device)
            chosen = choose(work, candidates) if candidates else None
            if chosen is not None:
                yield Group(nodes, outside, work, chosen)


def _chain(graph: Graph, node: Node, length: int) -> tuple[Node, ...] | None:
    """`length` layers from `node`, each the first input of the next, none but the last seen outside."""
    nodes = [node]
    while len(nodes) < length:
        following = [reader for reader in graph.consumers(nodes[-1].name) if reader.inputs[0] == nodes[-1].name]
        if len(following) != 1:
            return None
        nodes.append(following[0])
    members = {member.name for member in nodes}
    for inner in nodes[:-1]:
        readers = {reader.name for reader in graph.consumers(inner.name)}
        if inner.name in graph.outputs or not readers <= members:
            return None
    return tuple(nodes)


def _work(graph: Graph, nodes: tuple[Node, ...]) -> tuple[tuple[str, ...], GroupWork]:
    position = {node.name: index for index, node in enumerate(nodes)}
    outside = tuple(dict.fromkeys(name for node in nodes for name in node.inputs if name not in position))
    sources = tuple(
        tuple(position[name] if name in position else -1 - outside.index(name) for name in node.inputs)
        for node in nodes
    )
    parts = tuple(
        LayerWork(
            node.op,
            graph.input_types(node),
            graph.type_of(node.name),
            tuple(_storage(graph, name) for name in node.inputs),
        )
        for node in nodes
    )
    return outside, GroupWork(parts, sources)


def _storage(graph: Graph, name: str) -> Storage:
    op = graph[name].op
    return op.layout if isinstance(op, Input) else "target"
