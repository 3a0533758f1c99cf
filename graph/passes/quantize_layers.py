"""A fused layer as integer steps, once every tensor has its range."""

from collections.abc import Mapping
from dataclasses import dataclass

from mnv3c.graph.calibration.calibrate import TensorKey
from mnv3c.graph.calibration.ranges import Range
from mnv3c.graph.calibration.stages import Stage, stages
from mnv3c.graph.integer.affine import INT8_MIN, Affine
from mnv3c.graph.integer.network import IntegerLayer
from mnv3c.graph.integer.ops import (
    ElementProduct,
    IntegerSoftmax,
    Mean,
    Product,
    Reshape,
    Rounding,
    Step,
    Sum,
    Window,
    output_of,
)
from mnv3c.graph.integer.tables import activation_clamp, activation_table
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import Conv2d, Dense, Pool2d
from mnv3c.graph.passes.quantize_weights import integer_weights

# Fixed by TFLite's LOGISTIC and SOFTMAX for int8 outputs, which lie in 0..1.
UNIT_INTERVAL = Affine(1 / 256, INT8_MIN)


@dataclass(frozen=True)
class LayerQuantizer:
    """Makes the integer layers of one fused graph; `ranges` as `calibration.calibrate.tensor_ranges` gives them."""

    graph: Graph
    ranges: Mapping[TensorKey, Range]
    rounding: Rounding

    def layer(self, node: Node, given: tuple[Affine, ...]) -> IntegerLayer:
        """The layer of a node whose inputs have the quantisations `given`.

        Raises UserError naming the node and its op for what has no integer form.
        """
        steps: list[Step] = []
        for index, stage in enumerate(stages(node)):
            before = output_of(steps[-1]) if steps else given[0]
            steps.append(self._step(node, index, stage, before, given))
        return IntegerLayer(node, tuple(steps))

    def _step(self, node: Node, index: int, stage: Stage, before: Affine, given: tuple[Affine, ...]) -> Step:
        op, output = node.op, self.ranges[node.name, index].affine()
        match stage.kind:
            case "product":
                assert isinstance(op, Conv2d | Dense)
                return self._product(node, op, stage, before, output)
            case "table":
                assert stage.activation is not None
                output = UNIT_INTERVAL if stage.activation.kind == "sigmoid" else output
                return activation_table(stage.activation, before, output, self.rounding)
            case "sum":
                return Sum(before, given[1], output, activation_clamp(stage.activation, output))
            case "element_product":
                return ElementProduct(before, given[1], output, activation_clamp(stage.activation, output))
            case "mean":
                return Mean(before, output)
            case "window":
                assert isinstance(op, Pool2d)
                return Window(op, before)
            case "reshape":
                return Reshape(before)
            case "softmax":
                return IntegerSoftmax(before, UNIT_INTERVAL)

    def _product(self, node: Node, op: Conv2d | Dense, stage: Stage, given: Affine, output: Affine) -> Product:
        weights = self.graph.weights_of(node)
        integers = integer_weights(node, weights["weight"], weights.get("bias"), given)
        clamp = activation_clamp(stage.activation, output)
        return Product(op, integers.weight, integers.bias, integers.scales, given, output, clamp)
