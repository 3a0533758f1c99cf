"""The graph as text: one line a node, in graph order.

Columns stand at fixed places, so renaming a node changes its own line and those of its readers only.
"""

from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import Conv2d, attributes

CALL_COLUMN, ATTRIBUTES_COLUMN, TYPE_COLUMN, WORK_COLUMN = 27, 70, 150, 170
SHOWN_BY_TYPE = frozenset({"out_channels", "units"})


def format_graph(graph: Graph) -> str:
    """The text of a graph, ending in a newline.

    A line is `%NAME = OP(%INPUT, ...) {ATTRIBUTE VALUE, ...} : TYPE  # MACs, parameters`; attributes with their
    default values (but for a convolution's kernel), and those that the type shows, are left out, as are counts of 0.
    """
    lines = [f"graph {graph.name} {{  # {_count(graph.total_macs)} MACs, {_count(graph.total_params)} params"]
    lines += [_line(graph, node) for node in graph.nodes]
    lines += [f"  return {', '.join(f'%{name}' for name in graph.outputs)} : {graph.output_layout}", "}"]
    return "\n".join(lines) + "\n"


def _line(graph: Graph, node: Node) -> str:
    counts = ((graph.macs(node), "MACs"), (graph.params(node), "params"))
    work = ", ".join(f"{_count(count)} {unit}" for count, unit in counts if count)
    line = f"  %{node.name}".ljust(CALL_COLUMN) + f" = {node.op.kind}({', '.join(f'%{name}' for name in node.inputs)})"
    line = line.ljust(ATTRIBUTES_COLUMN) + _attributes(node)
    line = line.ljust(TYPE_COLUMN) + f" : {graph.type_of(node.name)}"
    return f"{line.ljust(WORK_COLUMN)}  # {work}" if work else line


def _attributes(node: Node) -> str:
    shown = {name: value for name, value in attributes(node.op).items() if name not in SHOWN_BY_TYPE}
    if isinstance(node.op, Conv2d):
        shown = {"kernel": node.op.kernel} | shown
    return f" {{{', '.join(f'{name} {_value(value)}' for name, value in shown.items())}}}" if shown else ""


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _count(value: int) -> str:
    for factor, prefix in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= factor:
            return f"{value / factor:.2f} {prefix}"
    return str(value)
