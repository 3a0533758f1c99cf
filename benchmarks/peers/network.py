"""The network that every runtime gets, and what it must answer."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from mnv3c.cli.model import ModelOptions, load_model
from mnv3c.compiler.check_input import check_input
from mnv3c.compiler.reference import from_caller_layout
from mnv3c.graph import reference
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Array, Graph
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes

SEED = 0


@dataclass(frozen=True)
class Network:
    """`words` name it on the command line. `layers` is the graph with batch norms folded and activations recognised.

    `onnx_file` is the user's own file where there is one. `x` and `expected`, the outputs in the graph's order, are in
    the IR's order: NHWC where they have rank 4.
    """

    words: tuple[str, ...]
    layers: Graph
    onnx_file: Path | None
    x: Array
    expected: tuple[Array, ...]

    @property
    def label(self) -> str:
        """The network as a table names it: `large --width 0.5`; a file without its folder."""
        return " ".join((Path(self.words[0]).name, *self.words[1:]))


def load_network(model: str, options: ModelOptions) -> Network:
    """Load what MODEL and its options name and compute its reference outputs. Raises UserError as `load_model` does."""
    layers = run_passes(load_model(model, options), default_passes())
    if len(layers.inputs) != 1:
        raise UserError(f"{model} has {len(layers.inputs)} inputs; networks with one input can be compared")
    elements = layers.type_of(layers.inputs[0].name).elements
    x = np.ascontiguousarray(from_caller_layout(layers, check_input(elements, SEED)))
    values = reference.run(layers, x)
    onnx_file = Path(model) if Path(model).suffix.lower() == ".onnx" else None
    words = (model, *option_words(options))
    return Network(words, layers, onnx_file, x, tuple(values[name] for name in layers.outputs))


def relative_error(outputs: tuple[Array, ...], expected: tuple[Array, ...]) -> float | None:
    """The largest error of any output over that output's largest expected value.

    None where nothing can be compared: the shapes differ, or a value is not finite.
    """
    if [output.shape for output in outputs] != [output.shape for output in expected]:
        return None
    errors = (np.abs(got - want).max() / np.abs(want).max() for got, want in zip(outputs, expected, strict=True))
    worst = max(float(error) for error in errors)
    return worst if np.isfinite(worst) else None


def option_words(options: ModelOptions) -> tuple[str, ...]:
    """The options as the command line gives them."""
    words: list[str] = []
    for field in fields(options):
        flag, value = f"--{field.name.replace('_', '-')}", getattr(options, field.name)
        if value is True:
            words.append(flag)
        elif isinstance(value, list):
            words += [word for item in value for word in (flag, item)]
        elif value is not None and value is not False:
            words += [flag, str(value)]
    return tuple(words)
