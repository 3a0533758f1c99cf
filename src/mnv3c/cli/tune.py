"""`mnv3c tune`: find the fastest kernels of a network by measuring them, or by estimates where there is no device."""

import json
import math
from pathlib import Path
from typing import Annotated

import typer

from mnv3c.cli.compile_gpu import StorageOption
from mnv3c.cli.device import DeviceOption, TargetOption, chosen_device_of_any_kind
from mnv3c.cli.model import ModelArgument, ModelOptions, load_model, with_model_options
from mnv3c.cli.tune_estimate import ON as LLVM_MCA
from mnv3c.cli.tune_estimate import estimate_json, print_estimate, run_estimate
from mnv3c.cli.tune_gpu import refuse_for_gpus, tune_gpu
from mnv3c.cli.tune_result import print_tuned, tune_json, tuning_bar
from mnv3c.graph.errors import UserError

_STRATEGIES = ("families", "metaschedule")


@with_model_options
def tune(
    model: ModelArgument = "large",
    *,
    options: ModelOptions,
    target: TargetOption = None,
    device: DeviceOption = None,
    budget: Annotated[float, typer.Option(metavar="SECONDS", min=0.0, help="How long to search.")] = 120.0,
    threads: Annotated[int, typer.Option(min=1, max=64, help="Threads of the network.")] = 1,
    records: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to keep the records (.jsonl). Default: your own, which compile uses."),
    ] = None,
    on: Annotated[
        str,
        typer.Option(metavar="host|llvm-mca", help="Where to measure; llvm-mca estimates, for arm64 without a board."),
    ] = "host",
    storage: StorageOption = None,
    strategy: Annotated[
        str,
        typer.Option(
            metavar="|".join(_STRATEGIES), help="What to search: the target's kernel families, or schedules by TVM."
        ),
    ] = "families",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Measure kernels for each layer of a network and record them; compile then takes the fastest.

    A later run goes on where the last one stopped, also after a crash. With --on llvm-mca kernels for arm64 are chosen
    by LLVM's scheduling model: an estimate that knows no caches, which gives way to anything measured. Kernels of a GPU
    are measured on this machine's CPU, through PoCL: no GPU's latency, and compile takes it with --tuned-on pocl alone.

    Example: mnv3c tune large --budget 120
    """
    if math.isnan(budget):
        raise UserError("--budget: must be a number of seconds, not nan")
    if on not in ("host", LLVM_MCA):
        raise UserError(f"--on: '{on}' is not one of host, {LLVM_MCA}")
    if strategy not in _STRATEGIES:
        raise UserError(f"--strategy: '{strategy}' is not one of {', '.join(_STRATEGIES)}")
    from mnv3c.cli.tune_comparison import print_comparison, require_measurable_here
    from mnv3c.compiler.tune.metaschedule.session import compare_graph
    from mnv3c.compiler.tune.session import tune_graph
    from mnv3c.compiler.tune.store import RecordStore, user_store_path
    from mnv3c.targets.device import CpuDevice, of_kind
    from mnv3c.targets.gpu.device import GpuDevice

    found = chosen_device_of_any_kind(target, device)
    if isinstance(found, GpuDevice):
        refuse_for_gpus(found, on, strategy, threads)
        tune_gpu(load_model(model, options), found, records, budget, storage, as_json)
        return
    if storage is not None:
        raise UserError(f"--storage is for GPUs, and '{found.name}' is none")
    chosen = of_kind(found, CpuDevice)
    if strategy == "metaschedule":
        require_measurable_here(chosen, on)
    graph = load_model(model, options)
    store = RecordStore(records or user_store_path(chosen))
    if strategy == "metaschedule":
        with tuning_bar(budget) as progress:
            comparison = compare_graph(graph, chosen, store, budget, threads, progress)
        print_comparison(comparison, store.path, as_json)
        return
    if on == LLVM_MCA:
        estimated = run_estimate(graph, chosen, store, budget, threads)
        typer.echo(json.dumps(estimate_json(estimated))) if as_json else print_estimate(estimated, store.path)
        return
    with tuning_bar(budget) as progress:
        result = tune_graph(graph, chosen, store, budget, threads, progress)
    typer.echo(json.dumps(tune_json(result))) if as_json else print_tuned(result, store.path)
