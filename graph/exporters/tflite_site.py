"""Where an integer step stands in the TFLite model that is being made."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mnv3c.graph.activation import Activation
from mnv3c.graph.errors import UserError
from mnv3c.graph.exporters.tflite_model import ModelBuilder
from mnv3c.graph.exporters.tflite_rules import FUSED_ACTIVATIONS, Fused
from mnv3c.graph.integer.affine import Affine
from mnv3c.graph.integer.ops import Clamp, Rounding
from mnv3c.graph.integer.tables import activation_clamp
from mnv3c.graph.tensor import TensorType

# Versions of operators as TFLite's converter chooses them (tools/versioning/op_version.cc).
FIRST_VERSION = 1
INT8_VERSION = 2  # of every operator that had another before int8 and has no constant of its own here


@dataclass(frozen=True)
class Site:
    """Where a step stands: what it reads (indices and types of tensors), and what its output is called and like."""

    builder: ModelBuilder
    name: str  # of the output
    prefix: str  # of tensors that belong to the step alone
    inputs: tuple[int, ...]
    types: tuple[TensorType, ...]
    output: TensorType
    activation: Activation | None  # that the step carries, to choose among those that clamp alike
    rounding: Rounding  # of the network

    def result(self, affine: Affine) -> int:
        """The step's output tensor."""
        return self.builder.tensor(self.name, self.output.shape, affine)

    def shaped(self, role: str, values: Sequence[int] | Sequence[Sequence[int]]) -> int:
        """A constant tensor of int32 values: axes, a shape, paddings."""
        return self.builder.constant(f"{self.prefix}.{role}", np.array(values, np.int32))

    def refuse(self, why: str) -> UserError:
        """The error that says which layer TFLite has no operator for."""
        return UserError(f"cannot export layer '{self.name}' to TFLite: {why}")

    def fused(self, clamp: Clamp, output: Affine) -> Fused:
        """The fused activation for which TFLite clamps like this; the layer's own where several do."""
        # `sorted` is stable: the layer's own comes first, then the order of the table.
        for name, activation in sorted(FUSED_ACTIVATIONS.items(), key=lambda item: item[1] != self.activation):
            if activation_clamp(activation, output) == clamp:
                return name
        raise self.refuse(f"no fused activation clamps its integers to {clamp.low}..{clamp.high}")
