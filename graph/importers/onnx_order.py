"""The order in which an ONNX graph is read."""

import heapq

from mnv3c.graph.importers.onnx_node import OnnxError, OnnxNode
from mnv3c.graph.importers.shown_name import shown


def ordered(nodes: list[OnnxNode], known: set[str]) -> list[OnnxNode]:
    """Nodes after those they read, else in the order of the file.

    `known` are the tensors that no node computes. Raises OnnxError for cycles, dangling names and double results.
    """
    producer = _producers(nodes, known)
    waiting = [_sources(node, known, producer) for node in nodes]
    readers: dict[int, list[int]] = {}
    for index, sources in enumerate(waiting):
        for source in sources:
            readers.setdefault(source, []).append(index)
    ready, order = [index for index, sources in enumerate(waiting) if not sources], []
    while ready:
        index = heapq.heappop(ready)
        order.append(nodes[index])
        for reader in readers.get(index, ()):
            waiting[reader].discard(index)
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    if len(order) < len(nodes):
        stuck = next(nodes[index] for index, sources in enumerate(waiting) if sources)
        raise OnnxError(f"{stuck}: waits for its own result (a cycle)")
    return order


def _producers(nodes: list[OnnxNode], known: set[str]) -> dict[str, int]:
    producer: dict[str, int] = {}
    for index, node in enumerate(nodes):
        if not node.outputs or not node.outputs[0]:
            raise OnnxError(f"{node}: has no output")
        for name in filter(None, node.outputs):
            if name in producer or name in known:
                raise OnnxError(f"{node}: {shown(name)} is computed twice")
            producer[name] = index
    return producer


def _sources(node: OnnxNode, known: set[str], producer: dict[str, int]) -> set[int]:
    sources: set[int] = set()
    for name in filter(None, node.inputs):
        if name not in known:
            if name not in producer:
                raise OnnxError(f"{node}: reads {shown(name)}, which nothing computes")
            sources.add(producer[name])
    return sources
