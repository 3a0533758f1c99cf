"""Our GPU kernels beside TVM's default GPU pipeline, on this machine's OpenCL: python benchmarks/gpu_peers.py --help.

Every layer runs in turn on each side, all of the network in each round, so that both meet the machine's same moods.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import permutations
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

import numpy as np
import typer
from command_line import run_command_line
from gpu_race.launches import Ready
from gpu_race.our_kernels import distinct, lowered, our_kernels, result_of
from gpu_race.relax_layer import laid_out, weights_laid_out
from gpu_race.tvm_default import default_kernels
from peers.network import option_words
from peers.report import describe_machine

from mnv3c.cli.model import ModelArgument, ModelOptions, load_model, with_model_options
from mnv3c.compiler.lower import Choose, KernelCall, first_guess
from mnv3c.compiler.opencl.target import load_opencl_target
from mnv3c.compiler.opencl.tune.choice import PoclChoice
from mnv3c.compiler.opencl.tune.device import PoclDevice
from mnv3c.compiler.opencl.tune.pocl import Pocl
from mnv3c.compiler.opencl.tune.session import tune_on_pocl
from mnv3c.compiler.tune.store import RecordStore
from mnv3c.compiler.tune.tuner import Progress
from mnv3c.compiler.tune.work import candidate_name
from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.ir import Array, Graph
from mnv3c.graph.reference import evaluate
from mnv3c.graph.tensor import Layout
from mnv3c.graph.whole_file import write_whole
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.target import GpuTarget
from mnv3c.targets.registry import find_device

_TOLERANCE = 1e-4  # of the output's largest value
Side = Literal["tvm", "first", "tuned"]
_SIDES: tuple[Side, ...] = ("tvm", "first", "tuned")


@dataclass(frozen=True)
class Layer:
    """A different layer of the network, ready on both sides; `why_not` is why TVM has no kernel for it.

    `tuned` is `first` where the records choose the first guess.
    """

    call: KernelCall
    tuned_call: KernelCall
    count: int
    first: Ready
    tuned: Ready
    tvm: Ready | None = None
    why_not: str = ""
    tvm_launches: int = 0


@dataclass(frozen=True)
class Row:
    """What was found of a layer: medians of one launch (of all of TVM's) and every round's times, in microseconds."""

    name: str
    kind: str
    shape: str
    count: int
    tvm_launches: int
    tvm_us: float | None
    first_us: float
    tuned_us: float
    first_kernel: str
    tuned_kernel: str
    why_not: str
    rounds_us: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Found:
    """All rows."""

    rows: tuple[Row, ...]

    @property
    def compared(self) -> tuple[Row, ...]:
        """The rows that both sides have."""
        return tuple(row for row in self.rows if row.tvm_us is not None)


def main() -> None:
    """Run the command; exit 2 for wrong input and 3 for what is missing, with one line on stderr."""
    run_command_line("gpu_peers", gpu_peers)


@with_model_options
def gpu_peers(
    model: ModelArgument = "large",
    *,
    options: ModelOptions,
    device: Annotated[str, typer.Option(help="The GPU that our kernels are shaped for.")] = "adreno-640",
    tvm_layout: Annotated[str, typer.Option(metavar="NCHW|NHWC", help="The layout that TVM is given.")] = "NCHW",
    layers: Annotated[int | None, typer.Option(min=1, help="Only so many different layers, from the first.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; each times every layer on every side.")] = 12,
    tune: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0.0, help="How long to tune before; 0: with the records as they are."),
    ] = 240.0,
    records: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the tuner's records are. Default: your own.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write every round's times here too.")
    ] = None,
) -> None:
    """Time our kernels of a network's layers beside those of TVM's default GPU pipeline (dlight), by OpenCL events.

    Ours are the first guesses and, beside them, what mnv3c tune chooses of tiles and work-groups, before the race.

    Example: python benchmarks/gpu_peers.py large --rounds 12 --json rows.json
    """
    if tvm_layout not in ("NCHW", "NHWC"):
        raise UserError(f"--tvm-layout: '{tvm_layout}' is not NCHW or NHWC")
    layout: Layout = "NCHW" if tvm_layout == "NCHW" else "NHWC"
    gpu = find_device(device, kind=GpuDevice)
    pocl, graph = Pocl(), load_model(model, options)
    machine = describe_machine() | {"opencl": pocl.version, "opencl_device": pocl.device}
    choice, counts = _tuned(graph, gpu, records, tune)
    ready = list(_layers(graph, gpu, choice.choose, pocl, layout, layers))
    found = _race(ready, rounds)
    name = " ".join((Path(model).name, *option_words(options)))
    typer.echo(_report(name, found, pocl, device, layout, counts), nl=False)
    if json_file is not None:
        settings = {"model": name, "device": device, "tvm_layout": layout, "rounds": rounds, "tuned": counts}
        document = {"machine": machine, **settings, "rows": [asdict(row) for row in found.rows]}
        write_whole(json_file, json.dumps(document, indent=1) + "\n")


def _tuned(graph: Graph, device: GpuDevice, records: Path | None, budget_s: float) -> tuple[PoclChoice, str]:
    """What the tuner's records choose, after so many seconds more of tuning, and what those brought."""
    target = load_opencl_target(device.target)
    store = RecordStore(records or PoclDevice.here(target, device).records_path)

    def progress(found: Progress) -> None:
        _progress(f"tuning for {found.elapsed_s:.0f} of {budget_s:.0f} s, {found.measured} kernels measured")

    counts = "not tuned now"
    if budget_s > 0:
        result = tune_on_pocl(graph, target, device, store, budget_s, progress)
        counts = f"{result.measured} kernels measured in {result.seconds:.0f} s, {result.failed} failed"
        counts += f", {result.reused} known before"
    return PoclChoice(store.records, target, device), counts


def _layers(
    graph: Graph, device: GpuDevice, choose: Choose, pocl: Pocl, layout: Layout, most: int | None
) -> Iterator[Layer]:
    target = GpuTarget(device.target)
    network, tuned = (lowered(graph, target, device, each) for each in (first_guess, choose))
    for number, (call, tuned_call, count) in enumerate(list(distinct(network, tuned))[:most]):
        _progress(f"preparing {call.layer}")
        rng = np.random.default_rng(number)
        inputs = [rng.standard_normal(tensor.type.shape, np.float32) for tensor in call.inputs]
        weights = network.graph.weights_of(call.nodes[0]) if call.nodes else {}
        first = best = Ready.of(pocl, our_kernels(call, inputs, weights, target, device))
        if tuned_call.candidate != call.candidate:
            best = Ready.of(pocl, our_kernels(tuned_call, inputs, weights, target, device))
        layer = Layer(call, tuned_call, count, first, best)
        if not call.nodes:
            yield replace(layer, why_not="a conversion between layouts, which TVM is spared")
            continue
        expected = np.asarray(evaluate(call.nodes[0].op, inputs, weights))
        for each, kernel in ((call, first), (tuned_call, best)):
            what = f"{call.layer}, {candidate_name(each.candidate)}"
            _require_equal(what, result_of(each, kernel.result(), target), expected)
        yield _beside_tvm(layer, inputs, weights, expected, pocl, layout)


def _beside_tvm(
    layer: Layer,
    inputs: Sequence[Array],
    weights: Mapping[str, Array],
    expected: Array,
    pocl: Pocl,
    layout: Layout,
) -> Layer:
    op = layer.call.nodes[0].op
    given = {f"input{number}": laid_out(x, layout) for number, x in enumerate(inputs)}
    try:
        made = default_kernels(op, given | weights_laid_out(op, weights, layout), expected.size, layout)
    except UserError as error:
        return replace(layer, why_not=str(error))
    tvm = Ready.of(pocl, made)
    wanted = laid_out(expected, layout)
    _require_equal(f"TVM's {layer.call.layer}", tvm.result().reshape(wanted.shape), wanted)
    return replace(layer, tvm=tvm, tvm_launches=len(made.launches))


def _require_equal(what: str, got: Array, expected: Array) -> None:
    error = float(np.abs(got - expected).max() / max(np.abs(expected).max(), np.finfo(np.float32).tiny))
    if not error <= _TOLERANCE:
        raise MissingError(f"{what}: error {error:.1e}, over {_TOLERANCE:.0e}: its time would say nothing")


def _race(layers: Sequence[Layer], rounds: int) -> Found:
    times: list[dict[str, list[float]]] = [{side: [] for side in _SIDES} for _ in layers]
    # Every order in turn, so that nobody follows the same other more often than it is followed.
    orders = list(permutations(_SIDES))
    for number in range(rounds):
        _progress(f"round {number + 1} of {rounds}")
        for layer, found in zip(layers, times, strict=True):
            kernels: dict[Side, Ready | None] = {"tvm": layer.tvm, "first": layer.first, "tuned": layer.tuned}
            for side in orders[number % len(orders)]:
                kernel = kernels[side]
                # A first guess that stays has one time, not two whose difference would be chance.
                if kernel is not None and (side != "tuned" or layer.tuned is not layer.first):
                    found[side].append(_warm_us(kernel))
            if layer.tuned is layer.first:
                found["tuned"].append(found["first"][-1])
    _progress("")
    return Found(tuple(map(_row, layers, times)))


def _warm_us(kernel: Ready) -> float:
    """The second of two runs: the first brings operands into the caches, for everybody alike."""
    kernel.time_us()
    return kernel.time_us()


def _row(layer: Layer, times: Mapping[str, Sequence[float]]) -> Row:
    call = layer.call
    return Row(
        name=call.layer,
        kind=call.candidate.family,
        shape=call.shape,
        count=layer.count,
        tvm_launches=layer.tvm_launches,
        tvm_us=median(times["tvm"]) if times["tvm"] else None,
        first_us=median(times["first"]),
        tuned_us=median(times["tuned"]),
        first_kernel=candidate_name(call.candidate),
        tuned_kernel=candidate_name(layer.tuned_call.candidate),
        why_not=layer.why_not,
        rounds_us={side: tuple(found) for side, found in times.items()},
    )


def _report(name: str, found: Found, pocl: Pocl, device: str, layout: Layout, counts: str) -> str:
    header = ("layers", "number", "TVM ms", "first guess ms", "tuned ms", "TVM / first", "TVM / tuned")
    rows = found.compared
    kinds = dict.fromkeys(row.kind for row in rows)
    lines = [_line(kind, [row for row in rows if row.kind == kind]) for kind in kinds]
    # dlight sums each depthwise window in a tree of 256 items, whose barriers cost a CPU more than any GPU.
    lines.append(_line("all but depthwise", [row for row in rows if not row.kind.endswith("depthwise")]))
    lines.append(_line("all", rows))
    table = "".join(f"| {' | '.join(line)} |\n" for line in (header, ("---",) * len(header), *lines))
    absent = "".join(
        f"- not compared: {row.name} ({row.count} x, ours {row.tuned_us / 1e3:.3f} ms): {row.why_not}\n"
        for row in found.rows
        if row.tvm_us is None
    )
    setting = (
        f"{name}, fp32, kernels alone, on {pocl.version}, {pocl.device}: this CPU, and no phone. Ours are shaped"
        f" for {device}; TVM's are scheduled by dlight, {layout}. Tuned: {counts}.\n"
    )
    return f"{table}{absent}\n{setting}"


def _line(kind: str, rows: Sequence[Row]) -> tuple[str, ...]:
    """Sums of a launch of every layer, each as often as the network runs it."""
    tvm = sum(row.count * (row.tvm_us or 0.0) for row in rows) / 1e3
    first = sum(row.count * row.first_us for row in rows) / 1e3
    tuned = sum(row.count * row.tuned_us for row in rows) / 1e3
    ratios = (f"{tvm / each:.2f}" if each else "-" for each in (first, tuned))
    return (kind, str(sum(row.count for row in rows)), f"{tvm:.3f}", f"{first:.3f}", f"{tuned:.3f}", *ratios)


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
