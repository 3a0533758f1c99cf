"""A layer with numbers: random inputs and weights, and what the reference makes of them."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnv3c.compiler.tune.work import Work, given_tensors, parts_of, sources_of
from mnv3c.graph.reference import evaluate
from mnv3c.targets.target import GroupWork

Array = npt.NDArray[np.float32]
_SEED = 0


@dataclass(frozen=True)
class Case:
    """Inputs (each in the order in which it is handed over, NHWC where the target stores it), weights, output."""

    inputs: tuple[Array, ...]
    weights: dict[str, Array]
    output: Array

    @staticmethod
    def of(work: Work) -> "Case":
        """Normally distributed inputs and weights that keep values near 1."""
        rng = np.random.default_rng(_SEED)
        given = given_tensors(work)
        inputs = [rng.standard_normal(each.type.shape, dtype=np.float32) for each in given]
        weights: dict[str, Array] = {}
        outputs: list[Array] = []
        for index, (part, sources) in enumerate(zip(parts_of(work), sources_of(work), strict=True)):
            own = {role: _weight(rng, shape) for role, shape in part.op.weights(part.inputs).items()}
            read = [inputs[-1 - source] if source < 0 else outputs[source] for source in sources]
            outputs.append(np.asarray(evaluate(part.op, read, own), np.float32))
            # As `Candidate.pack` wants them.
            prefix = f"{index}." if isinstance(work, GroupWork) else ""
            weights |= {f"{prefix}{role}": array for role, array in own.items()}
        handed = (_as_given(x, each.storage) for x, each in zip(inputs, given, strict=True))
        return Case(tuple(handed), weights, outputs[-1])

    def save(self, path: Path) -> Path:
        """Write the names, then array after array in NumPy's own format.

        Not an .npz: an interrupt between two members leaves `zipfile` with an error of its own in its place.
        """
        inputs = {f"input.{index}": array for index, array in enumerate(self.inputs)}
        weights = {f"weight.{role}": array for role, array in self.weights.items()}
        arrays = {"output": self.output, **inputs, **weights}
        with path.open("wb") as file:
            for array in (np.array(list(arrays)), *arrays.values()):
                np.save(file, array, allow_pickle=False)
        return path

    @staticmethod
    def load(path: Path) -> "Case":
        """Read what `save` wrote."""
        with path.open("rb") as file:
            arrays = {str(name): np.load(file) for name in np.load(file)}
        inputs = tuple(array for name, array in arrays.items() if name.startswith("input."))
        weights = {name.removeprefix("weight."): a for name, a in arrays.items() if name.startswith("weight.")}
        return Case(inputs, weights, arrays["output"])


def relative_error(got: Array, expected: Array) -> float:
    """Largest error over the largest expected value; infinite where a value is not finite."""
    error, scale = float(np.abs(got - expected).max()), float(np.abs(expected).max())
    if not math.isfinite(error):
        return math.inf
    return error / scale if scale else error


def _weight(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape, dtype=np.float32) / np.float32(math.sqrt(math.prod(shape[:-1])))


def _as_given(x: Array, storage: str) -> Array:
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2) if storage == "NCHW" and x.ndim == 4 else x)
