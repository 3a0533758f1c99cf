"""`mnv3c emulate`: a network on an accelerator that need not exist yet, cycle by cycle."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnv3c.cli.cluster_option import ClusterOption
from mnv3c.cli.device import SetOption
from mnv3c.cli.model import ModelArgument, ModelOptions, load_model, with_model_options
from mnv3c.cli.profile_options import AsJson
from mnv3c.graph.errors import UserError

if TYPE_CHECKING:
    from mnv3c.targets.edgetpu.device import AcceleratorDevice


@with_model_options
def emulate_command(
    model: ModelArgument = "large",
    *,
    options: ModelOptions,
    device: Annotated[
        str, typer.Option("--device", metavar="NAME", help="An accelerator (see mnv3c targets edgetpu), or a .yaml.")
    ] = "edgetpu-like",
    settings: SetOption = None,
    axes: Annotated[
        list[str] | None,
        typer.Option(
            "--sweep", metavar="KEY=V1,V2,...", help="Try these values; repeat for a grid. Gives a Pareto table."
        ),
    ] = None,
    also: Annotated[
        list[str] | None, typer.Option("--also", metavar="MODEL", help="Sweep this network too. Repeat for more.")
    ] = None,
    energy: Annotated[bool, typer.Option("--energy", help="Show energy by level instead of the stalls.")] = False,
    trace: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Write the timeline for ui.perfetto.dev.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw a sweep's points and its Pareto front (.svg, .png).")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.jsonl", help="Keep a sweep's points; finished ones are reused."),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, max=1024, metavar="N", help="Processes of a sweep. Default: one a core.")
    ] = None,
    cluster: ClusterOption = None,
    as_json: AsJson = False,
) -> None:
    """Emulate a network on an accelerator: cycles, stalls, bytes and energy of every layer, from shapes alone.

    Example: mnv3c emulate small --device edgetpu-like --sweep rows=16,32,64 --sweep sram_bytes=512K,1M,8M
    """
    from mnv3c.targets.edgetpu.settings import find_accelerator, parse_settings

    accelerator = find_accelerator(device).with_settings(parse_settings(settings or []))
    if axes:
        _refuse(trace, "--trace shows one configuration; leave out --sweep")
        _refuse(energy, "--energy shows one configuration; leave out --sweep")
        from mnv3c.cli.emulate_sweep import SweepRequest, run_sweep

        networks = [load_model(model, options), *(load_model(name, ModelOptions()) for name in also or ())]
        run_sweep(SweepRequest(networks, accelerator, axes, output, plot, processes, cluster), as_json)
        return
    _refuse(cluster, "--cluster is for sweeps; give --sweep KEY=V1,V2,...")
    _refuse(plot, "--plot draws a sweep; give --sweep KEY=V1,V2,...")
    _refuse(output, "--output keeps a sweep's points; give --sweep KEY=V1,V2,...")
    _refuse(also, "--also is for sweeps; give --sweep KEY=V1,V2,...")
    _run_one(model, options, accelerator, trace, energy, as_json)


def _run_one(
    model: str,
    options: ModelOptions,
    accelerator: "AcceleratorDevice",
    trace: Path | None,
    energy: bool,
    as_json: bool,
) -> None:
    from mnv3c.cli.emulate_tables import emulation_document, print_emulation
    from mnv3c.graph.passes.default import default_passes
    from mnv3c.graph.passes.pipeline import run_passes
    from mnv3c.graph.whole_file import check_place, write_whole
    from mnv3c.targets.edgetpu.emulate import emulate_with_timeline
    from mnv3c.targets.edgetpu.sweep import Workload
    from mnv3c.targets.edgetpu.trace import chrome_trace

    if trace is not None:
        check_place(trace)
    workload = Workload.of(run_passes(load_model(model, options), default_passes()))
    result, intervals = emulate_with_timeline(workload.name, workload.jobs, workload.outputs, accelerator)
    if trace is not None:
        document = chrome_trace(result.network, result.device, result.clock_hz, intervals)
        write_whole(trace, json.dumps(document, separators=(",", ":")) + "\n")
    if as_json:
        typer.echo(json.dumps(emulation_document(result), indent=1))
    else:
        print_emulation(result, accelerator, energy)


def _refuse(given: object, why: str) -> None:
    if given:
        raise UserError(why)
