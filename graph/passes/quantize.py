"""Post-training quantisation to 8-bit integers."""

from collections.abc import Iterable
from dataclasses import dataclass

from mnv3c.graph.calibration.calibrate import tensor_ranges
from mnv3c.graph.calibration.ranges import CALIBRATION_METHODS, CalibrationMethod
from mnv3c.graph.calibration.stages import stages
from mnv3c.graph.errors import UserError
from mnv3c.graph.integer.affine import Affine
from mnv3c.graph.integer.network import IntegerLayer, IntegerNetwork
from mnv3c.graph.integer.ops import ROUNDINGS, Rounding
from mnv3c.graph.ir import Array, Graph
from mnv3c.graph.ops import Input
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.passes.quantize_layers import LayerQuantizer


@dataclass(frozen=True)
class Quantize:
    """Makes the integer network of a graph, after the default passes have folded and fused it:

    1. Weights: int8, symmetric, one scale per output channel. Biases: int32.
    2. Activations: int8, one scale and zero point per tensor, over the range that calibration chooses by `method`
       (`calibration.ranges.chosen_range`; `percentile` is used by the method of that name alone). Zero is exact.
    3. relu, relu6 and clip clamp the step they follow; h-swish, h-sigmoid and sigmoid are tables of 256 entries, whose
       input spends its integers only where the function is not constant.
    4. A residual is added to the product's own int8 tensor, as TFLite's ADD. Gates, means and sums have a scale each.
    5. Windows and flattening keep the quantisation of their input; sigmoid and softmax have 1/256, as in TFLite.
    """

    method: CalibrationMethod = "minmax"
    percentile: float = 99.99
    rounding: Rounding = "gemmlowp_double"

    def __post_init__(self) -> None:
        if self.method not in CALIBRATION_METHODS:
            raise UserError(f"calibration method '{self.method}' is not one of {', '.join(CALIBRATION_METHODS)}")
        if self.rounding not in ROUNDINGS:
            raise UserError(f"rounding '{self.rounding}' is not one of {', '.join(ROUNDINGS)}")
        if not 50.0 < self.percentile <= 100.0:
            raise UserError(f"percentile must be above 50 and at most 100, not {self.percentile:g}")

    @property
    def name(self) -> str:
        """Stable name of the step."""
        return "quantize"

    def run(self, graph: Graph, samples: Iterable[Array]) -> IntegerNetwork:
        """The integer network; `samples` are float32 inputs in the IR's order, read once, one at a time.

        Raises UserError naming node and op for what has no integer form, and as `tensor_ranges` does; GraphError where
        a weight has no value.
        """
        fused = run_passes(graph, default_passes())
        for node in fused.nodes:
            if not isinstance(node.op, Input):
                stages(node)
        ranges = tensor_ranges(fused, samples, self.method, self.percentile)
        quantizer = LayerQuantizer(fused, ranges, self.rounding)
        inputs = {node.name: ranges[node.name, 0].affine() for node in fused.inputs}
        affines: dict[str, Affine] = dict(inputs)
        layers: dict[str, IntegerLayer] = {}
        for node in fused.nodes:
            if not isinstance(node.op, Input):
                layers[node.name] = quantizer.layer(node, tuple(affines[name] for name in node.inputs))
                affines[node.name] = layers[node.name].output
        return IntegerNetwork(fused, inputs, layers, self.rounding)
