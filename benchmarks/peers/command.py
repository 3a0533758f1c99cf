"""The command line of the comparison."""

import json
import re
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer
from command_line import run_command_line

from mnv3c.cli.model import ModelArgument, ModelOptions, with_model_options
from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.whole_file import write_whole
from peers.interleave import Dropout, Race, Result
from peers.network import Network, load_network
from peers.ours import Ours, compile_network, default_artifact
from peers.peak import peak_gflops
from peers.report import OURS, Report, describe_machine
from peers.runtime import Runtime
from peers.worker import Burst, separate_cores

# Module and class: importing one of these imports no runtime.
_PEERS = {
    "onnxruntime": ("peers.onnxruntime", "OnnxRuntime"),
    "openvino": ("peers.openvino", "OpenVino"),
    "litert": ("peers.litert", "LiteRt"),
    "ncnn": ("peers.ncnn", "Ncnn"),
}


def main() -> None:
    """Run the command; exit 2 for wrong input and 3 for what is missing, with one line on stderr."""
    run_command_line("peers", compare)


@with_model_options
def compare(
    model: ModelArgument = "large",
    *,
    options: ModelOptions,
    threads: Annotated[str, typer.Option(metavar="N,...", help="Numbers of threads to compare with.")] = "1,2",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; every runtime runs once in each.")] = 30,
    burst: Annotated[int, typer.Option(min=1, help="Timed inferences of a runtime in a round.")] = 10,
    warmup: Annotated[int, typer.Option(min=0, help="Inferences before them that are not timed.")] = 3,
    peers: Annotated[
        str | None, typer.Option(metavar="NAME,...", help=f"Some of {', '.join(_PEERS)}; default: all that are here.")
    ] = None,
    artifact: Annotated[
        list[str] | None,
        typer.Option(metavar="[LABEL=]DIR", help="A folder of mnv3c compile to time as it is. Can be repeated."),
    ] = None,
    compile_first: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Compile now, or take what build/ has.")
    ] = True,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the rows here too.")] = None,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the table here too.")] = None,
) -> None:
    """Time mnv3c beside the installed runtimes, in one interleaved run on the same weights; installs nothing.

    Example: python benchmarks/peers.py large --width 0.5 --threads 1,2 --json rows.json
    """
    cpus = separate_cores()
    counts = thread_counts(threads, len(cpus))
    machine = describe_machine()
    contenders, dropouts = _present([*_ours(artifact or []), *_chosen_peers(peers)])
    network = load_network(model, options)
    if not artifact and not compile_first:
        contenders = [Ours(directory=default_artifact(network)) if r.name == OURS else r for r in contenders]
    results: list[Result] = []
    peak = peak_gflops(cpus[0])
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        models = _prepared(network, contenders, Path(folder), dropouts)
        for count in counts:
            race = Race(rounds, Burst(warmup, burst), _progress)
            finished, failed = race.run(
                network, [_for_threads(network, *model, count) for model in models], count, cpus
            )
            results += finished
            dropouts += failed
    _progress("")
    machine |= {"rounds": rounds, "burst": burst, "runtimes": {r.name: r.version() for r, _ in models}}
    report = Report(network, results, dropouts, machine, peak)
    typer.echo(report.markdown(), nl=False)
    _write(markdown, report.markdown())
    _write(json_file, json.dumps(report.document(), indent=1) + "\n")
    if not any(result.runtime.name.startswith(OURS) for result in results):
        raise MissingError("mnv3c itself could not be timed; the lines above say why")


def _ours(artifacts: list[str]) -> list[Runtime]:
    found: list[Runtime] = []
    for text in artifacts:
        label, equals, folder = text.rpartition("=")
        if not Path(folder).is_dir():
            raise UserError(f"--artifact: {folder}: no such folder; make one with mnv3c compile")
        found.append(Ours(f"{OURS}-{label}" if equals else OURS, Path(folder)))
    if len({runtime.name for runtime in found}) < len(found):
        raise UserError("--artifact: give each folder a label of its own, as in --artifact tuned=DIR")
    return found or [Ours()]


def _for_threads(network: Network, runtime: Runtime, model: Path, threads: int) -> tuple[Runtime, Path]:
    """Kernels are chosen for a number of threads; an artifact that was given is timed as it is."""
    if threads == 1 or not isinstance(runtime, Ours) or runtime.directory is not None:
        return runtime, model
    return runtime, compile_network(network, threads, model.with_name(f"{model.name}-{threads}-threads"))


def _chosen_peers(text: str | None) -> list[Runtime]:
    names = list(_PEERS) if text is None else [name for name in text.split(",") if name]
    unknown = set(names) - set(_PEERS)
    if unknown:
        raise UserError(f"--peers: '{min(unknown)}' is not one of {', '.join(_PEERS)}")
    return [getattr(import_module(module), name)() for module, name in (_PEERS[name] for name in names)]


def _present(wanted: list[Runtime]) -> tuple[list[Runtime], list[Dropout]]:
    present = [runtime for runtime in wanted if runtime.version() is not None]
    return present, [Dropout(r.name, None, "not installed") for r in wanted if r not in present]


def _prepared(
    network: Network, contenders: list[Runtime], folder: Path, dropouts: list[Dropout]
) -> list[tuple[Runtime, Path]]:
    models: list[tuple[Runtime, Path]] = []
    for runtime in contenders:
        _progress(f"{network.label}: preparing {runtime.name}")
        own = folder / runtime.name
        own.mkdir()
        try:
            models.append((runtime, runtime.prepare(network, own)))
        except (UserError, MissingError, ImportError) as error:
            dropouts.append(Dropout(runtime.name, None, str(error)))
    return models


def thread_counts(text: str, cores: int) -> list[int]:
    """The numbers of an option such as `1,2`. Raises UserError for anything else and for more than `cores`."""
    if not re.fullmatch(r"[1-9]\d{0,3}(,[1-9]\d{0,3})*", text):
        raise UserError(f"--threads: '{text}' is not a list of numbers, as in 1,2")
    counts = [int(word) for word in text.split(",")]
    if max(counts) > cores:
        raise UserError(f"--threads: {max(counts)} is more than the {cores} cores that this process may use")
    return counts


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _write(path: Path | None, text: str) -> None:
    if path is not None:
        write_whole(path, text)
