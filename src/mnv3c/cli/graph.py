"""`mnv3c graph`: the layers of a network with their work."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnv3c.cli.model import ModelArgument, ModelOptions, load_model, with_model_options
from mnv3c.cli.wide_console import wide_console
from mnv3c.graph.errors import UserError

if TYPE_CHECKING:
    from mnv3c.graph.ir import Graph, Node

TABLE_WIDTH = 140
# Column, divisor, decimals.
_COUNTS = (("macs", 1e6, 2), ("params", 1e3, 1), ("bytes_in", 1e3, 0), ("bytes_out", 1e3, 0))


@with_model_options
def graph(
    model: ModelArgument = "large",
    *,
    options: ModelOptions,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="X.yaml", help="Write the graph, with its weights beside it.")
    ] = None,
    unfused: Annotated[
        bool, typer.Option("--unfused", help="Before any pass: batch norms and activations apart.")
    ] = False,
    print_ir: Annotated[bool, typer.Option("--print", help="Print the graph's text.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Show a network: its layers, multiply-accumulates, parameters and bytes.

    Example: mnv3c graph small --width 0.75 --resolution 192
    """
    from mnv3c.graph.passes.default import default_passes
    from mnv3c.graph.passes.pipeline import run_passes
    from mnv3c.graph.printer import format_graph
    from mnv3c.graph.yaml_io import save_graph

    if print_ir and as_json:
        raise UserError("--print and --json cannot be given together")
    loaded = load_model(model, options)
    shown = loaded if unfused else run_passes(loaded, default_passes())
    if save is not None:
        save_graph(shown, save)
    if as_json:
        typer.echo(json.dumps(graph_json(shown), indent=1))
    elif print_ir:
        typer.echo(format_graph(shown), nl=False)
    else:
        _print_table(shown)


def graph_json(shown: "Graph") -> dict[str, Any]:
    """The document of `mnv3c graph --json`: totals and one row a layer; `in` is the shape of its first input."""
    from mnv3c.graph.layer import layers

    return {
        "name": shown.name,
        "macs": shown.total_macs,
        "params": shown.total_params,
        "weight_layers": len(shown.weight_layers),
        "layers": [_row(shown, node) for node in layers(shown)],
    }


def _row(shown: "Graph", node: "Node") -> dict[str, Any]:
    from mnv3c.graph.ops import activation_of

    activation = activation_of(node.op)
    return {
        "name": node.name,
        "op": node.op.kind,
        "in": list(shown.input_types(node)[0].shape),
        "out": list(shown.type_of(node.name).shape),
        "macs": shown.macs(node),
        "params": shown.params(node),
        "bytes_in": shown.bytes_in(node),
        "bytes_out": shown.bytes_out(node),
        "activation": None if activation is None else str(activation),
    }


def _print_table(shown: "Graph") -> None:
    # rich takes a while to import and a JSON document needs none of it.
    from rich.table import Table

    table = Table(title=shown.name, title_justify="left", box=None, pad_edge=False)
    for header in ("layer", "op", "in", "out", "activation"):
        table.add_column(header, no_wrap=True)
    for header in ("M MACs", "k params", "kB in", "kB out"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in graph_json(shown)["layers"]:
        shapes = ("x".join(map(str, row[key])) for key in ("in", "out"))
        counts = (f"{row[key] / scale:,.{digits}f}" for key, scale, digits in _COUNTS)
        table.add_row(row["name"], row["op"], *shapes, row["activation"] or "", *counts)
    console = wide_console(TABLE_WIDTH)
    console.print(table)
    console.print(
        f"{len(shown.weight_layers)} weight layers, {shown.total_macs / 1e6:.2f} M MACs,"
        f" {shown.total_params / 1e6:.3f} M parameters"
    )
