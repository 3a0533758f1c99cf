"""`mnv3c measure`: how long networks and layers take on devices."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnv3c.cli.device import DeviceOption, TargetOption, chosen_device
from mnv3c.cli.measure_programs import (
    MaxNoiseOption,
    SshOption,
    compiled_programs,
    noise_share,
    program_compiler,
    shell_library,
    showing,
)
from mnv3c.cli.model import ModelOptions, load_model, with_model_options
from mnv3c.cli.plan import list_plan, planned_jobs
from mnv3c.cli.wide_console import wide_console
from mnv3c.graph.errors import MissingError, UserError

if TYPE_CHECKING:
    from mnv3c.compiler.measure.job import Job
    from mnv3c.compiler.measure.outcome import Outcome


@with_model_options
def measure(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL", help="large, small, graphs (.yaml) or ONNX models. Default: large."),
    ] = None,
    *,
    options: ModelOptions,
    on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLACE",
            help="host, ssh:[USER@]HOST[:PORT], adb:SERIAL or rpc:HOST:PORT/KEY. Repeat for more. Default: host.",
        ),
    ] = None,
    target: TargetOption = None,
    device: DeviceOption = None,
    threads: Annotated[int, typer.Option(min=1, max=64, help="Threads of the network.")] = 1,
    cpu: Annotated[int | None, typer.Option(min=0, max=1023, help="Run on this CPU, and the following ones.")] = None,
    runs: Annotated[
        int | None,
        typer.Option(min=1, max=100000, help="Timed runs in a round. Default: as many as take 20 ms, 10 at least."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Rounds, in which all take turns.")] = 15,
    max_noise: MaxNoiseOption = "5%",
    layers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Measure layers alone: a file of layer keys, one a line.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Add records to this file (.jsonl), and skip what it has."),
    ] = None,
    plan: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Measure only the N layers that tell a profile most.")
    ] = None,
    prior: Annotated[
        str | None, typer.Option(metavar="PROFILE", help="For --plan: the profile from which the new one will start.")
    ] = None,
    pool: Annotated[
        Path | None, typer.Option(metavar="FILE", help="For --plan: only list which of this file's works to measure.")
    ] = None,
    retries: Annotated[int, typer.Option(min=0, max=1000, help="How often in a row to try again a lost device.")] = 8,
    ssh_option: SshOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Measure networks, each with its layers, and layers alone, on this machine or on devices far away.

    A device that goes away is tried again; with -o, a campaign that was stopped goes on where it was.

    Example: mnv3c measure small -o records.jsonl
    """
    from mnv3c.compiler.measure.campaign import Campaign
    from mnv3c.compiler.measure.places import find_machines
    from mnv3c.compiler.measure.settings import Patience, Settings
    from mnv3c.profiles.record import RecordStore

    if plan is None and (prior, pool) != (None, None):
        raise UserError(f"{'--prior' if prior else '--pool'} is for --plan N")
    if plan is not None and pool is not None:
        list_plan(pool, plan, prior, as_json)
        return
    settings = Settings(threads, runs, rounds, 4 * rounds, noise_share(max_noise), cpu)
    chosen = chosen_device(target, device)
    with tempfile.TemporaryDirectory(prefix="mnv3c-measure-") as folder:
        work = Path(folder)
        compiler = program_compiler(chosen, threads)
        machines = find_machines(on or ["host"], ssh_option or (), shell_library(compiler, work))
        store = RecordStore(output) if output else None
        jobs = _jobs(models, options, layers)
        if plan is not None:
            jobs = planned_jobs(jobs, plan, prior, store)
        with showing() as show:
            campaign = Campaign(
                machines,
                "" if chosen.name == "host" else chosen.name,
                settings,
                Patience(attempts=retries + 1, first_attempts=min(retries + 1, Patience.first_attempts)),
                lambda wanted: compiled_programs(wanted, compiler, work, show),
                store,
                show.message,
                show.outcome,
            )
            outcomes = campaign.run(jobs)
    document = measure_json(outcomes, output)
    typer.echo(json.dumps(document)) if as_json else _print_summary(outcomes, output)
    _require_all(outcomes)


def _jobs(models: list[str] | None, options: ModelOptions, layers: Path | None) -> "list[Job]":
    from mnv3c.compiler.measure.job import Job, read_layers

    names = models if models or layers else ["large"]
    jobs = [Job.of_network(load_model(name, options)) for name in names or ()]
    return [*jobs, *(Job.of_layer(key) for key in (read_layers(layers) if layers else ()))]


def _require_all(outcomes: "Sequence[Outcome]") -> None:
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    if failed:
        raise MissingError(
            f"{len(failed)} of {len(outcomes)} jobs failed; {failed[0].job.name} on {failed[0].where.place}: "
            f"{failed[0].reason}"
        )


def measure_json(outcomes: "Sequence[Outcome]", path: Path | None) -> dict[str, Any]:
    """The document of `mnv3c measure --json`.

    The figures at the top are those of the network, where one was measured on one device; they are null otherwise.
    """
    from mnv3c.profiles.work import NetworkWork

    networks = [outcome for outcome in outcomes if isinstance(outcome.job.work, NetworkWork)]
    only = networks[0] if len(networks) == 1 else None
    records = [record.model_dump(mode="json", exclude_none=True) for each in outcomes for record in each.records]
    return {
        "records": str(path) if path else records,
        "network_median_ms": only.network_median_ms if only else None,
        "layer_sum_ms": only.layer_sum_ms if only else None,
        "additivity_error": only.additivity_error if only else None,
        "jobs": [_job_json(outcome) for outcome in outcomes],
    }


def _job_json(outcome: "Outcome") -> dict[str, Any]:
    record = outcome.record
    measured = {} if record is None else {"median_ms": record.latency_ms, "flags": list(record.flags)}
    interval = {} if record is None else {"ci_low_ms": record.ci_low_ms, "ci_high_ms": record.ci_high_ms}
    return {
        "name": outcome.job.name,
        "kind": outcome.job.work.kind,
        "on": outcome.where.place,
        "device": outcome.where.device,
        "state": outcome.state,
        "reason": outcome.reason or None,
        **measured,
        **interval,
        "layer_sum_ms": outcome.layer_sum_ms,
        "additivity_error": outcome.additivity_error,
        "refused_layers": list(outcome.refused),
    }


def _print_summary(outcomes: "Sequence[Outcome]", path: Path | None) -> None:
    from rich.table import Table

    from mnv3c.cli.layer_names import TABLE_WIDTH, short

    table = Table(box=None, pad_edge=False)
    for header in ("median ms", "95 % interval", "layers ms", "additivity"):
        table.add_column(header, justify="right", no_wrap=True)
    for header in ("on", "state", "what"):
        table.add_column(header, no_wrap=True)
    for outcome in outcomes:
        table.add_row(*_cells(outcome), outcome.where.place, _state(outcome), short(outcome.job.name))
    console = wide_console(TABLE_WIDTH)
    console.print(table)
    for outcome in outcomes:
        if outcome.refused:
            names = ", ".join(outcome.refused)
            console.print(f"too noisy to report, on {outcome.where.place}: {names}", soft_wrap=True)
    measured_on = ", ".join(dict.fromkeys(f"{each.where.place} ({each.where.device})" for each in outcomes))
    console.print(f"\nmeasured on {measured_on}", soft_wrap=True)
    if path:
        console.print(f"records: {path}", soft_wrap=True)


def _cells(outcome: "Outcome") -> tuple[str, str, str, str]:
    record, error = outcome.record, outcome.additivity_error
    if record is None:
        return "-", "-", "-", "-"
    interval = f"{record.ci_low_ms:.4f}..{record.ci_high_ms:.4f}" if record.ci_low_ms and record.ci_high_ms else "-"
    layers = "-" if outcome.layer_sum_ms is None else f"{outcome.layer_sum_ms:.3f}"
    return f"{record.latency_ms:.4f}", interval, layers, "-" if error is None else f"{error:+.1%}"


def _state(outcome: "Outcome") -> str:
    flags = f" [{', '.join(outcome.record.flags)}]" if outcome.record and outcome.record.flags else ""
    return outcome.state + flags
