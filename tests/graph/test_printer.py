from collections.abc import Callable
from dataclasses import replace

from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.networks import mobilenet_v3
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.printer import format_graph


def renamed(graph: Graph, old: str, new: str) -> Graph:
    def name_of(name: str) -> str:
        return new if name == old else name

    nodes = tuple(Node(name_of(n.name), n.op, tuple(map(name_of, n.inputs))) for n in graph.nodes)
    return replace(graph, nodes=nodes, outputs=tuple(map(name_of, graph.outputs)))


def test_text_of_small_minimalistic(golden: Callable[[str, str], None]) -> None:
    graph = mobilenet_v3("small", minimalistic=True, seed=None)
    golden("small_minimalistic.txt", format_graph(graph))
    golden("small_minimalistic_fused.txt", format_graph(run_passes(graph, default_passes())))


def test_text_of_large_fused(golden: Callable[[str, str], None]) -> None:
    golden("large_fused.txt", format_graph(run_passes(mobilenet_v3(seed=None), default_passes())))


def test_one_line_a_node_without_trailing_spaces() -> None:
    graph = mobilenet_v3("small", head="lraspp", resolution=256, seed=None)
    lines = format_graph(graph).splitlines()
    assert len(lines) == len(graph.nodes) + 3
    assert all(line == line.rstrip() for line in lines)
    assert [line.split()[0][1:] for line in lines[1:-2]] == [node.name for node in graph.nodes]


def test_renaming_a_node_changes_its_line_and_its_readers_only() -> None:
    graph = mobilenet_v3("small", seed=None)
    for old, new in (("block9.se.scale", "x"), ("stem", "a_name_far_longer_than_any_other_name_in_this_graph")):
        before, after = (format_graph(g).splitlines() for g in (graph, renamed(graph, old, new)))
        changed = [line for line, other in zip(before, after, strict=True) if line != other]
        assert len(changed) == 1 + len(graph.consumers(old))
        assert all(f"%{old}" in line for line in changed)
