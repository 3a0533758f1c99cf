"""Hard sigmoids in a TFLite file: relu6(x * a + b) * (1/6), which the schema has no operator for."""

from dataclasses import dataclass

from mnv3c.graph.activation import HSIGMOID, RELU6, Activation
from mnv3c.graph.importers.tflite_file import FileModel, FileOperator, FileTensor
from mnv3c.graph.importers.tflite_scope import Atom, Scope, affine_of, fused, node
from mnv3c.graph.integer.affine import Int8Array
from mnv3c.graph.integer.ops import Clamp, ElementProduct, Sum, Table
from mnv3c.graph.integer.tables import ConstantStep, activation_clamp, all_values, hsigmoid_steps
from mnv3c.graph.ops import Activate

# How far an int8 constant may be from 1/6: half a step of a constant that takes 127.
SIXTH_TOLERANCE = 0.5 / 127
FLOAT_DIGITS = 17


@dataclass(frozen=True)
class HardSigmoid:
    """The operators of one: [MUL by a,] ADD b with RELU6, MUL by 1/6."""

    operators: tuple[FileOperator, ...]

    def atom(self, scope: Scope) -> Atom:
        """All of them as one table. Raises TfliteError for a damaged constant or a tensor without quantisation."""
        x = scope.computed(_operands(self.operators[0], scope.model)[0])
        for operator in self.operators[:-1]:
            scope.write(scope.output(operator))
        steps = tuple(_step(operator, scope) for operator in self.operators)
        output = scope.output(self.operators[-1])
        activation = _activation(steps)
        values: Int8Array = all_values()
        for step in steps:
            values = step.apply(values, "gemmlowp_double")
        inner = tuple(step.step.output for step in steps[:-1])
        table = Table(values, activation, affine_of(x), affine_of(output), inner)
        return Atom(node(Activate(activation), output, x), table, {})


def hard_sigmoids(scope: Scope) -> dict[int, HardSigmoid | None]:
    """By the index of an operator: the hard sigmoid that ends with it, None where it is an earlier part of one."""
    found: dict[int, HardSigmoid | None] = {}
    model = scope.model
    readers = {i: operator for operator in model.operators for i in operator.inputs}
    writers = {i: operator for operator in model.operators for i in operator.outputs}
    for operator in model.operators:
        last = _private_reader(operator, scope, readers)
        if not _is_constant(operator, "ADD", scope) or last is None or not _is_sixth(last, scope):
            continue
        before = writers.get(_operands(operator, model)[0].index)
        parts: tuple[FileOperator, ...] = (operator, last)
        if before is not None and before.index not in found and _leads_to(before, operator, scope, readers):
            parts = (before, *parts)
        found |= {part.index: None for part in parts[:-1]}
        found[last.index] = HardSigmoid(parts)
    return found


def _operands(operator: FileOperator, model: FileModel) -> tuple[FileTensor, FileTensor]:
    """The computed operand and the constant of an operator that has one of each."""
    first, second = (model.tensors[index] for index in operator.inputs)
    return (second, first) if first.data is not None else (first, second)


def _is_constant(operator: FileOperator, name: str, scope: Scope) -> bool:
    """Whether the operator adds or multiplies one int8 number, an ADD with RELU6 and a MUL without."""
    if operator.name != name or len(operator.inputs) != 2 or min(operator.inputs) < 0 or len(operator.outputs) != 1:
        return False
    tensors = [scope.model.tensors[index] for index in operator.inputs]
    constants = [x for x in tensors if x.data is not None]
    if len(constants) != 1 or constants[0].dtype != "int8" or set(constants[0].shape) - {1}:
        return False
    return fused(operator) == (RELU6 if name == "ADD" else None)


def _private_reader(operator: FileOperator, scope: Scope, readers: dict[int, FileOperator]) -> FileOperator | None:
    """The only reader of an operator's output, which comes later in the file."""
    if len(operator.outputs) != 1 or scope.reads[operator.outputs[0]] != 1:
        return None
    reader = readers.get(operator.outputs[0])
    return reader if reader is not None and reader.index > operator.index else None


def _leads_to(before: FileOperator, operator: FileOperator, scope: Scope, readers: dict[int, FileOperator]) -> bool:
    return _is_constant(before, "MUL", scope) and _private_reader(before, scope, readers) is operator


def _is_sixth(operator: FileOperator, scope: Scope) -> bool:
    if not _is_constant(operator, "MUL", scope):
        return False
    constant = _operands(operator, scope.model)[1]
    real = float(affine_of(constant).dequantize(scope.int8(constant)).flat[0])
    return abs(6.0 * real - 1.0) <= SIXTH_TOLERANCE


def _step(operator: FileOperator, scope: Scope) -> ConstantStep:
    x, constant = _operands(operator, scope.model)
    given, other, result = affine_of(x), affine_of(constant), affine_of(scope.output(operator))
    value = int(scope.int8(constant).flat[0])
    if operator.name == "ADD":
        return ConstantStep(Sum(given, other, result, activation_clamp(RELU6, result)), value, relu6=True)
    return ConstantStep(ElementProduct(given, other, result, Clamp()), value)


def _activation(steps: tuple[ConstantStep, ...]) -> Activation:
    """The function with the fewest digits that has these very operators; the nearest one where none has."""
    slope = (_real(steps[0]) if len(steps) == 3 else 1.0) / 6.0
    offset = _real(steps[-2]) / 6.0
    candidates = [HSIGMOID] + [
        Activation("hsigmoid", slope=float(f"{slope:.{digits}g}"), offset=float(f"{offset:.{digits}g}"))
        for digits in range(1, FLOAT_DIGITS + 1)
    ]
    given, output = steps[0].step.input, steps[-1].step.output
    return next((each for each in candidates if hsigmoid_steps(each, given, output) == steps), candidates[-1])


def _real(step: ConstantStep) -> float:
    return step.step.other.scale * (step.constant - step.step.other.zero_point)
