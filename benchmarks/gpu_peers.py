"""Our GPU kernels beside TVM's default GPU pipeline, on this machine's OpenCL: python benchmarks/gpu_peers.py --help.

Every layer runs in turn on each side, all of the network in each round, so that both meet the machine's same moods.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

import numpy as np
import typer
from command_line import run_command_line
from gpu_race.launches import OpenCl, Ready
from gpu_race.our_kernels import distinct, lowered, our_kernels, result_of, work_groups
from gpu_race.relax_layer import laid_out, weights_laid_out
from gpu_race.tvm_default import default_kernels
from peers.network import option_words
from peers.report import describe_machine

from mnv3c.cli.model import ModelArgument, ModelOptions, load_model, with_model_options
from mnv3c.compiler.lower import KernelCall
from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.ir import Array, Graph
from mnv3c.graph.reference import evaluate
from mnv3c.graph.tensor import Layout
from mnv3c.graph.whole_file import write_whole
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.grid import Size
from mnv3c.targets.gpu.target import GpuTarget
from mnv3c.targets.registry import find_device

_TOLERANCE = 1e-4  # of the output's largest value
Side = Literal["tvm", "first", "tuned"]
_SIDES: tuple[Side, ...] = ("tvm", "first", "tuned")


@dataclass(frozen=True)
class Layer:
    """A different layer of the network, ready on both sides; `why_not` is why TVM has no kernel for it.

    `groups` are work-groups of our kernel, the first guess first.
    """

    call: KernelCall
    count: int
    tvm: Ready | None
    why_not: str
    groups: Mapping[Size, Ready]
    tvm_launches: int


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
    first_group: Size
    tuned_group: Size
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
    tries: Annotated[int, typer.Option(min=1, help="Rounds before those, which choose the work-groups.")] = 5,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write every round's times here too.")
    ] = None,
) -> None:
    """Time our kernels of a network's layers beside those of TVM's default GPU pipeline (dlight), by OpenCL events.

    Our work-groups are chosen in rounds of their own, before those that are reported.

    Example: python benchmarks/gpu_peers.py large --rounds 12 --json rows.json
    """
    if tvm_layout not in ("NCHW", "NHWC"):
        raise UserError(f"--tvm-layout: '{tvm_layout}' is not NCHW or NHWC")
    layout: Layout = "NCHW" if tvm_layout == "NCHW" else "NHWC"
    gpu = find_device(device, kind=GpuDevice)
    opencl = OpenCl()
    machine = describe_machine() | {"opencl": opencl.platform, "opencl_device": opencl.device}
    ready = list(_layers(load_model(model, options), gpu, opencl, layout, layers))
    found = _race(ready, tries, rounds)
    name = " ".join((Path(model).name, *option_words(options)))
    typer.echo(_report(name, found, opencl, device, layout), nl=False)
    if json_file is not None:
        settings = {"model": name, "device": device, "tvm_layout": layout, "rounds": rounds, "tries": tries}
        document = {"machine": machine, **settings, "rows": [asdict(row) for row in found.rows]}
        write_whole(json_file, json.dumps(document, indent=1) + "\n")


def _layers(graph: Graph, device: GpuDevice, opencl: OpenCl, layout: Layout, most: int | None) -> Iterator[Layer]:
    target = GpuTarget(device.target)
    network = lowered(graph, target, device)
    for number, (call, count) in enumerate(list(distinct(network))[:most]):
        _progress(f"preparing {call.layer}")
        rng = np.random.default_rng(number)
        inputs = [rng.standard_normal(tensor.type.shape, np.float32) for tensor in call.inputs]
        weights = network.graph.weights_of(call.nodes[0]) if call.nodes else {}
        groups = {
            group: opencl.ready(our_kernels(call, group, inputs, weights, target, device))
            for group in work_groups(_candidate(call), device)
        }
        if not call.nodes:
            yield Layer(call, count, None, "a conversion between layouts, which TVM is spared", groups, 0)
            continue
        expected = np.asarray(evaluate(call.nodes[0].op, inputs, weights))
        for group, kernel in groups.items():
            _require_equal(f"{call.layer}, work-group {group}", result_of(call, kernel.result()), expected)
        yield _beside_tvm(call, count, inputs, weights, expected, groups, opencl, layout)


def _beside_tvm(
    call: KernelCall,
    count: int,
    inputs: Sequence[Array],
    weights: Mapping[str, Array],
    expected: Array,
    groups: Mapping[Size, Ready],
    opencl: OpenCl,
    layout: Layout,
) -> Layer:
    op = call.nodes[0].op
    given = {f"input{number}": laid_out(x, layout) for number, x in enumerate(inputs)}
    try:
        made = default_kernels(op, given | weights_laid_out(op, weights, layout), expected.size, layout)
    except UserError as error:
        return Layer(call, count, None, str(error), groups, 0)
    tvm = opencl.ready(made)
    wanted = laid_out(expected, layout)
    _require_equal(f"TVM's {call.layer}", tvm.result().reshape(wanted.shape), wanted)
    return Layer(call, count, tvm, "", groups, len(made.launches))


def _candidate(call: KernelCall) -> Any:
    return call.candidate


def _require_equal(what: str, got: Array, expected: Array) -> None:
    error = float(np.abs(got - expected).max() / max(np.abs(expected).max(), np.finfo(np.float32).tiny))
    if not error <= _TOLERANCE:
        raise MissingError(f"{what}: error {error:.1e}, over {_TOLERANCE:.0e}: its time would say nothing")


def _race(layers: Sequence[Layer], tries: int, rounds: int) -> Found:
    chosen = [_best_group(layer, tries) for layer in layers]
    times: list[dict[str, list[float]]] = [{side: [] for side in _SIDES} for _ in layers]
    # Every order in turn, so that nobody follows the same other more often than it is followed.
    orders = list(permutations(_SIDES))
    for number in range(rounds):
        _progress(f"round {number + 1} of {rounds}")
        for layer, group, found in zip(layers, chosen, times, strict=True):
            first, tuned = next(iter(layer.groups.values())), layer.groups[group]
            kernels: dict[Side, Ready | None] = {"tvm": layer.tvm, "first": first, "tuned": tuned}
            for side in orders[number % len(orders)]:
                kernel = kernels[side]
                # A first guess that stays has one time, not two whose difference would be chance.
                if kernel is not None and (side != "tuned" or tuned is not first):
                    found[side].append(_warm_us(kernel))
            if tuned is first:
                found["tuned"].append(found["first"][-1])
    _progress("")
    return Found(tuple(map(_row, layers, chosen, times)))


def _best_group(layer: Layer, tries: int) -> Size:
    if len(layer.groups) == 1:
        return next(iter(layer.groups))
    _progress(f"choosing a work-group of {layer.call.layer}")
    times: dict[Size, list[float]] = {group: [] for group in layer.groups}
    for _ in range(tries):
        for group, kernel in layer.groups.items():
            times[group].append(_warm_us(kernel))
    return min(times, key=lambda group: median(times[group]))


def _warm_us(kernel: Ready) -> float:
    """The second of two runs: the first brings operands into the caches, for everybody alike."""
    kernel.time_us()
    return kernel.time_us()


def _row(layer: Layer, group: Size, times: Mapping[str, Sequence[float]]) -> Row:
    call = layer.call
    return Row(
        name=call.layer,
        kind=_kind(call),
        shape=call.shape,
        count=layer.count,
        tvm_launches=layer.tvm_launches,
        tvm_us=median(times["tvm"]) if times["tvm"] else None,
        first_us=median(times["first"]),
        tuned_us=median(times["tuned"]),
        first_group=next(iter(layer.groups)),
        tuned_group=group,
        why_not=layer.why_not,
        rounds_us={side: tuple(found) for side, found in times.items()},
    )


def _kind(call: KernelCall) -> str:
    """The kernel family that our target takes it with; it tells depthwise, pointwise and others apart."""
    return str(_candidate(call).family)


def _report(name: str, found: Found, opencl: OpenCl, device: str, layout: Layout) -> str:
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
        f"{name}, fp32, kernels alone, on {opencl.platform}, {opencl.device}: this CPU, and no phone. Ours are shaped"
        f" for {device}; TVM's are scheduled by dlight, {layout}.\n"
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
