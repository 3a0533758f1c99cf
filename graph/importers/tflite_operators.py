"""TFLite operators as nodes and integer steps."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from mnv3c.graph.activation import HSWISH, RELU, RELU6, SIGMOID, Activation
from mnv3c.graph.importers.tflite_file import FileOperator, TfliteError
from mnv3c.graph.importers.tflite_scope import Atom, Scope, affine_of, fused, kept, node, ranked
from mnv3c.graph.importers.tflite_windows import convolution, dense, pool
from mnv3c.graph.integer.ops import ElementProduct, IntegerSoftmax, Mean, Reshape, Sum
from mnv3c.graph.integer.tables import activation_clamp, activation_table
from mnv3c.graph.ops import Activate, Add, Flatten, GlobalAveragePool, Multiply, Softmax

Handler = Callable[[FileOperator, Scope], Atom]


def _add(operator: FileOperator, scope: Scope) -> Atom:
    x, y = (scope.computed(scope.tensor(operator, slot)) for slot in (0, 1))
    output, activation = scope.output(operator), fused(operator)
    result = affine_of(output)
    step = Sum(affine_of(x), affine_of(y), result, activation_clamp(activation, result))
    return Atom(node(Add(activation), output, x, y), step, {})


def _multiply(operator: FileOperator, scope: Scope) -> Atom:
    x, y = (scope.computed(scope.tensor(operator, slot)) for slot in (0, 1))
    if x.shape != y.shape == scope.output(operator).shape:
        x, y = y, x  # the gate came first
    output, activation = scope.output(operator), fused(operator)
    result = affine_of(output)
    step = ElementProduct(affine_of(x), affine_of(y), result, activation_clamp(activation, result))
    return Atom(node(Multiply(activation), output, x, y), step, {})


def _mean(operator: FileOperator, scope: Scope) -> Atom:
    x, output = scope.computed(scope.tensor(operator, 0)), scope.output(operator)
    ranked(x, 4)
    axes = scope.int32(scope.tensor(operator, 1)).ravel().tolist()
    # Either may be counted from the last axis.
    if len(axes) != 2 or not ({1, -3} & set(axes) and {2, -2} & set(axes)) or not operator.options["KeepDims"]:
        raise TfliteError("only a mean over height and width with kept axes is supported")
    return Atom(node(GlobalAveragePool(), output, x), Mean(affine_of(x), affine_of(output)), {})


def _reshape(operator: FileOperator, scope: Scope) -> Atom:
    x, output = scope.computed(scope.tensor(operator, 0)), scope.output(operator)
    if len(x.shape) != 4 or x.shape[1:3] != (1, 1) or output.shape != (x.shape[0], x.shape[3]):
        raise TfliteError(
            f"only (batch, 1, 1, channels) to (batch, channels) is supported, not {x.shape} to {output.shape}"
        )
    return Atom(node(Flatten(), output, x), Reshape(kept(x, output)), {})


def _softmax(operator: FileOperator, scope: Scope) -> Atom:
    x, output = scope.computed(scope.tensor(operator, 0)), scope.output(operator)
    if operator.options["Beta"] != 1.0:
        raise TfliteError(f"beta must be 1, not {operator.options['Beta']:g}")
    return Atom(node(Softmax(), output, ranked(x, 2)), IntegerSoftmax(affine_of(x), affine_of(output)), {})


def _activation(activation: Activation) -> Handler:
    def handler(operator: FileOperator, scope: Scope) -> Atom:
        x, output = scope.computed(scope.tensor(operator, 0)), scope.output(operator)
        table = activation_table(activation, affine_of(x), affine_of(output), "gemmlowp_double")
        return Atom(node(Activate(activation), output, x), table, {})

    return handler


HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {
        "CONV_2D": convolution,
        "DEPTHWISE_CONV_2D": convolution,
        "FULLY_CONNECTED": dense,
        "MAX_POOL_2D": pool,
        "AVERAGE_POOL_2D": pool,
        "ADD": _add,
        "MUL": _multiply,
        "MEAN": _mean,
        "RESHAPE": _reshape,
        "SOFTMAX": _softmax,
        "HARD_SWISH": _activation(HSWISH),
        "LOGISTIC": _activation(SIGMOID),
        "RELU": _activation(RELU),
        "RELU6": _activation(RELU6),
    }
)
