"""What storing a network's numbers as halves costs, by kind of rounding: python benchmarks/half_storage.py --help.

Everything is computed in NumPy, sums in float32: what is left is what no kernel can better.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from command_line import run_command_line

from mnv3c.cli.model import ModelArgument, ModelOptions, load_model, with_model_options
from mnv3c.compiler.check_input import check_input
from mnv3c.compiler.input_files import load_array
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph
from mnv3c.graph.ops import BatchNorm, Input
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.reference import evaluate
from mnv3c.targets.gpu.rounding import balanced_halves

Array = npt.NDArray[np.float32]
Rounding = Callable[[Array], Array]
Values = Mapping[str, Array]
_CALIBRATION_SEED = 100


def kept(x: Array) -> Array:
    """As it is."""
    return x


def nearest(x: Array) -> Array:
    """To the nearest half."""
    return x.astype(np.float16).astype(np.float32)


def towards_zero(x: Array) -> Array:
    """To the half that is not larger in magnitude."""
    halves = x.astype(np.float16)
    too_large = np.abs(halves.astype(np.float32)) > np.abs(x)
    return np.where(too_large, np.nextafter(halves, np.float16(0)), halves).astype(np.float32)


@dataclass(frozen=True)
class Storage:
    """How weights and activations are rounded; biases and outputs are not."""

    weights: Rounding
    activations: Rounding


KINDS = {
    "weights to nearest": Storage(nearest, kept),
    "weights balanced": Storage(balanced_halves, kept),
    "activations to nearest": Storage(kept, nearest),
    "both to nearest": Storage(nearest, nearest),
    "both, weights balanced": Storage(balanced_halves, nearest),
    "both, activations towards zero": Storage(nearest, towards_zero),
}


def outputs(graph: Graph, x: Array, storage: Storage, weights: Mapping[str, Values]) -> Array:
    """The outputs of a network, flat; `weights` are the rounded ones, by node and role."""
    values: dict[str, Array] = {}
    for node in graph.nodes:
        if not node.inputs:
            values[node.name] = x
            continue
        value = np.asarray(evaluate(node.op, [values[name] for name in node.inputs], weights[node.name]), np.float32)
        values[node.name] = value if node.name in graph.outputs else storage.activations(value)
    return np.concatenate([values[name].ravel() for name in graph.outputs])


def rounded_weights(graph: Graph, rounding: Rounding) -> dict[str, Values]:
    """Kernels rounded, biases as they are."""
    return {
        node.name: {
            role: rounding(value) if role == "weight" else value for role, value in graph.weights_of(node).items()
        }
        for node in graph.nodes
    }


def calibrated(graph: Graph, inputs: Sequence[Array]) -> Graph:
    """The network with the batch-norm statistics that its activations have on these inputs, as training leaves them."""
    weights = dict(graph.weights)
    batch: list[dict[str, Array]] = [{} for _ in inputs]
    for node in graph.nodes:
        if not node.inputs:
            for values, x in zip(batch, inputs, strict=True):
                values[node.name] = x
            continue
        own: dict[str, Any] = dict(graph.weights_of(node))
        if isinstance(node.op, BatchNorm):
            rows = np.concatenate([values[node.inputs[0]].reshape(-1, len(own["mean"])) for values in batch])
            own["mean"], own["variance"] = rows.mean(axis=0), np.maximum(rows.var(axis=0), np.float32(1e-8))
            weights |= {node.weight_name(role): own[role] for role in ("mean", "variance")}
        for values in batch:
            given = [values[name] for name in node.inputs]
            values[node.name] = np.asarray(evaluate(node.op, given, own), np.float32)
    return graph.rebuilt(graph.nodes, weights=weights)


def errors(graph: Graph, inputs: Sequence[Array]) -> dict[str, list[tuple[float, float]]]:
    """By kind of rounding and input: the largest error over the largest output, and the same of root mean squares."""
    exact = [outputs(graph, x, Storage(kept, kept), rounded_weights(graph, kept)) for x in inputs]
    found: dict[str, list[tuple[float, float]]] = {}
    for kind, storage in KINDS.items():
        weights = rounded_weights(graph, storage.weights)
        found[kind] = []
        for x, wanted in zip(inputs, exact, strict=True):
            error = outputs(graph, x, storage, weights) - wanted
            largest = float(np.abs(error).max() / np.abs(wanted).max())
            found[kind].append((largest, float(np.sqrt(np.square(error).mean() / np.square(wanted).mean()))))
    return found


@with_model_options
def main(
    model: ModelArgument = "large",
    *,
    options: ModelOptions,
    inputs: Annotated[int, typer.Option(min=1, help="How many made-up inputs, of seeds from 0.")] = 4,
    noise: Annotated[
        str, typer.Option(metavar="uniform|normal", help="Uniform in -1..1, as check inputs; or standard normal.")
    ] = "uniform",
    calibrate: Annotated[bool, typer.Option("--calibrate", help="Batch-norm statistics of two more inputs.")] = False,
    file: Annotated[
        list[Path] | None, typer.Option("--input", metavar="FILE", help="Arrays (.npy) instead. Repeat for more.")
    ] = None,
) -> None:
    """Errors of the outputs when weights and activations are stored as halves."""
    if noise not in ("uniform", "normal"):
        raise UserError(f"--noise: '{noise}' is not one of uniform, normal")
    graph = load_model(model, options)
    shape = graph.type_of(graph.inputs[0].name).shape
    if calibrate:
        graph = calibrated(graph, [_made_up(shape, noise, _CALIBRATION_SEED + n) for n in range(2)])
    chosen = [_read(path, graph) for path in file] if file else [_made_up(shape, noise, n) for n in range(inputs)]
    print("largest: worst, median   rms: worst, mean")
    for name, pairs in errors(run_passes(graph, default_passes()), chosen).items():
        largest, rms = np.array(pairs).T
        print(f"{largest.max():14.2g} {np.median(largest):8.2g} {rms.max():12.2g} {rms.mean():6.2g}  {name}")


def _made_up(shape: tuple[int, ...], noise: str, seed: int) -> Array:
    if noise == "normal":
        return np.random.default_rng(seed).standard_normal(shape, np.float32)
    return check_input(int(np.prod(shape)), seed=seed).reshape(shape)


def _read(path: Path, graph: Graph) -> Array:
    """An input in the caller's order, which may be NCHW, as the reference takes it."""
    array = load_array(path)
    op, shape = graph.inputs[0].op, graph.type_of(graph.inputs[0].name).shape
    if isinstance(op, Input) and op.layout == "NCHW" and array.ndim == 4:
        array = np.ascontiguousarray(array.transpose(0, 2, 3, 1))
    if array.shape != shape:
        raise UserError(f"--input: {path} has another shape than the network takes, {list(shape)}")
    return array


if __name__ == "__main__":
    run_command_line("half_storage", main)
