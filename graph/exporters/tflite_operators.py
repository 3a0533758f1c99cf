"""Integer steps as TFLite operators."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import tflite

from mnv3c.graph.activation import ActivationKind
from mnv3c.graph.errors import UserError
from mnv3c.graph.exporters import tflite_options as options
from mnv3c.graph.exporters.tflite_model import Quantization
from mnv3c.graph.exporters.tflite_rules import Fused
from mnv3c.graph.exporters.tflite_site import FIRST_VERSION, INT8_VERSION, Site
from mnv3c.graph.exporters.tflite_windows import emit_product, emit_window
from mnv3c.graph.integer.ops import ElementProduct, IntegerSoftmax, Mean, Product, Reshape, Step, Sum, Table, Window
from mnv3c.graph.integer.tables import ConstantStep, activation_table, hsigmoid_steps

Op = tflite.BuiltinOperator
MUL_WIDE_VERSION = 3  # MUL whose input scales' product is not below the output's scale

# Activations that are one operator, and its version.
SINGLE_OPERATORS: Mapping[ActivationKind, tuple[int, int]] = MappingProxyType(
    {
        "hswish": (Op.HARD_SWISH, FIRST_VERSION),
        "sigmoid": (Op.LOGISTIC, INT8_VERSION),
        "relu": (Op.RELU, INT8_VERSION),
        "relu6": (Op.RELU6, INT8_VERSION),
    }
)


def emit(step: Step, site: Site) -> int:
    """Adds a step's operators and constants to the model; index of its output tensor.

    Raises UserError naming the layer for what TFLite has no operator for.
    """
    match step:
        case Product():
            return emit_product(step, site)
        case Window():
            return emit_window(step, site)
        case Table():
            return _table(step, site)
        case Sum() | ElementProduct():
            return _elementwise(step, site)
        case Mean():
            return _mean(step, site)
        case Reshape():
            return _reshape(step, site)
        case IntegerSoftmax():
            return _softmax(step, site)


def _elementwise(step: Sum | ElementProduct, site: Site) -> int:
    output = site.result(step.output)
    fused = site.fused(step.clamp, step.output)
    if isinstance(step, Sum):
        site.builder.operator(Op.ADD, INT8_VERSION, site.inputs, output, options.add(fused))
    else:
        site.builder.operator(Op.MUL, _multiply_version(step), site.inputs, output, options.multiply(fused))
    return output


def _multiply_version(step: ElementProduct) -> int:
    return MUL_WIDE_VERSION if step.input.scale * step.other.scale >= step.output.scale else INT8_VERSION


def _table(step: Table, site: Site) -> int:
    try:
        made = activation_table(step.activation, step.input, step.output, site.rounding)
    except UserError as error:
        raise site.refuse(str(error)) from None
    if not np.array_equal(step.table, made.table) or step.inner != made.inner:
        raise site.refuse(f"its table is not the one that TFLite's operators compute for {step.activation}")
    if step.activation.kind == "hsigmoid":
        return _hard_sigmoid(step, site)
    if step.activation.kind not in SINGLE_OPERATORS:
        raise site.refuse(f"no operator computes {step.activation}")
    code, version = SINGLE_OPERATORS[step.activation.kind]
    output = site.result(step.output)
    site.builder.operator(code, version, site.inputs, output)
    return output


def _hard_sigmoid(step: Table, site: Site) -> int:
    parts = hsigmoid_steps(step.activation, step.input, step.output)
    (current,) = site.inputs
    for index, part in enumerate(parts):
        affine = Quantization.of(part.step.other)
        constant = site.builder.constant(f"{site.prefix}.constant{index}", np.array(part.constant, np.int8), affine)
        last = index == len(parts) - 1
        name = site.name if last else f"{site.prefix}.inner{index}"
        output = site.builder.tensor(name, site.output.shape, part.step.output)
        _constant_operator(part, (current, constant), output, site)
        current = output
    return current


def _constant_operator(part: ConstantStep, inputs: tuple[int, int], output: int, site: Site) -> None:
    fused: Fused = "relu6" if part.relu6 else "none"
    if isinstance(part.step, Sum):
        site.builder.operator(Op.ADD, INT8_VERSION, inputs, output, options.add(fused))
    else:
        site.builder.operator(Op.MUL, _multiply_version(part.step), inputs, output, options.multiply(fused))


def _mean(step: Mean, site: Site) -> int:
    inputs = (site.inputs[0], site.shaped("axes", (1, 2)))
    output = site.result(step.output)
    site.builder.operator(Op.MEAN, INT8_VERSION, inputs, output, options.mean())
    return output


def _reshape(step: Reshape, site: Site) -> int:
    shape = site.output.shape
    inputs = (site.inputs[0], site.shaped("shape", shape))
    output = site.result(step.affine)
    site.builder.operator(Op.RESHAPE, FIRST_VERSION, inputs, output, options.reshape(shape))
    return output


def _softmax(step: IntegerSoftmax, site: Site) -> int:
    output = site.result(step.output)
    site.builder.operator(Op.SOFTMAX, INT8_VERSION, site.inputs, output, options.softmax())
    return output
