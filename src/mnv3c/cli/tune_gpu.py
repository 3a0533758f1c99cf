"""`mnv3c tune` for a GPU: its kernels measured through PoCL, on this machine's CPU, and labelled so."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mnv3c.cli.compile_gpu import float_of
from mnv3c.cli.tune_result import print_tuned, tune_json, tuning_bar
from mnv3c.graph.errors import UserError

if TYPE_CHECKING:
    from mnv3c.graph.ir import Graph
    from mnv3c.targets.gpu.device import GpuDevice


def refuse_for_gpus(device: "GpuDevice", on: str, strategy: str, threads: int) -> None:
    """Raises UserError for what has no meaning for a GPU."""
    if on != "host":
        raise UserError(f"--on: {on} is for CPUs; '{device.name}' is a GPU, whose kernels --on host measures on PoCL")
    if strategy != "families":
        raise UserError(f"--strategy: {strategy} is for CPUs, and '{device.name}' is a GPU")
    if threads != 1:
        raise UserError(f"--threads: '{device.name}' is a GPU, whose driver decides about threads")


def tune_gpu(
    graph: "Graph", device: "GpuDevice", records: Path | None, budget_s: float, storage: str | None, as_json: bool
) -> None:
    """Tune a network's kernels for a GPU through PoCL and print what was found."""
    from mnv3c.compiler.opencl.target import load_opencl_target
    from mnv3c.compiler.opencl.tune.device import PoclDevice
    from mnv3c.compiler.opencl.tune.session import tune_on_pocl
    from mnv3c.compiler.tune.store import RecordStore

    target = load_opencl_target(device.target).with_storage(float_of("storage", storage))
    here = PoclDevice.here(target, device)
    store = RecordStore(records or here.records_path)
    with tuning_bar(budget_s, " on PoCL") as progress:
        result = tune_on_pocl(graph, target, device, store, budget_s, progress)
    if as_json:
        typer.echo(json.dumps({"on": here.title, **tune_json(result)}))
    else:
        print_tuned(result, store.path, here.label)
