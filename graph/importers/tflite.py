"""TFLite files as quantised networks."""

from pathlib import Path

from mnv3c.graph.errors import UserError
from mnv3c.graph.importers.tflite_file import FileModel, FileOperator, TfliteError, read_file
from mnv3c.graph.importers.tflite_hsigmoid import hard_sigmoids
from mnv3c.graph.importers.tflite_layers import fused_layers
from mnv3c.graph.importers.tflite_operators import HANDLERS
from mnv3c.graph.importers.tflite_scope import Atom, Scope, affine_of
from mnv3c.graph.importers.tflite_windows import pad
from mnv3c.graph.integer.network import IntegerNetwork
from mnv3c.graph.ir import Graph, GraphError, Node
from mnv3c.graph.ops import Input
from mnv3c.graph.verify import verify


def import_tflite(path: Path) -> IntegerNetwork:
    """The network in an int8 `.tflite` file, rounded as LiteRT's reference kernels do (`gemmlowp_double`).

    Read are the operators that `export_tflite` writes, with int8 inputs and outputs, whoever wrote them. Its graph is
    the fused one, its weights the real numbers that the integers stand for. A PAD becomes the padding of the windows
    that read it; relu6(x * a + b) * (1/6) becomes one table, computed from the constants that the file has.

    Raises UserError, one line naming the file and the operator or tensor, for anything that is damaged or not
    understood: nothing is dropped or approximated.
    """
    path = Path(path)
    try:
        model = read_file(path)
        return _network(model, model.name or path.stem)
    except (TfliteError, GraphError) as error:
        raise UserError(f"{path}: {error}") from None


def _network(model: FileModel, name: str) -> IntegerNetwork:
    scope = Scope(model)
    inputs = {model.tensors[i].name: affine_of(model.tensors[i]) for i in model.inputs}
    atoms = _atoms(scope)
    nodes = [Node(model.tensors[i].name, Input(model.tensors[i].shape)) for i in model.inputs]
    nodes += [atom.node for atom in atoms]
    weights = {atom.node.weight_name(role): value for atom in atoms for role, value in atom.weights.items()}
    graph = verify(Graph(name, tuple(nodes), tuple(model.tensors[i].name for i in model.outputs), weights))
    _check_shapes(model, graph)
    fused, layers = fused_layers(graph, {atom.node.name: atom for atom in atoms})
    return IntegerNetwork(verify(fused), inputs, layers)


def _atoms(scope: Scope) -> list[Atom]:
    atoms: list[Atom] = []
    found = hard_sigmoids(scope)
    for operator in scope.model.operators:
        try:
            if operator.name in ("PAD", "PADV2"):
                pad(operator, scope)
            elif operator.index not in found:
                atoms.append(_atom(operator, scope))
            elif (whole := found[operator.index]) is not None:
                atoms.append(whole.atom(scope))
            else:
                continue
            scope.write(scope.output(operator))
        except (TfliteError, UserError) as error:
            raise TfliteError(f"{operator}: {error}") from None
    unread = [i for i in scope.padded if not scope.reads[i]]
    if unread:
        raise TfliteError(f"{scope.model.tensors[unread[0]]} is padded, but nothing reads it")
    return atoms


def _atom(operator: FileOperator, scope: Scope) -> Atom:
    if operator.name not in HANDLERS:
        raise TfliteError("this operator is not supported")
    return HANDLERS[operator.name](operator, scope)


def _check_shapes(model: FileModel, graph: Graph) -> None:
    for tensor in model.tensors:
        if tensor.data is None and tensor.name in graph and graph.type_of(tensor.name).shape != tensor.shape:
            shape = graph.type_of(tensor.name).shape
            raise TfliteError(f"{tensor}: its shape is {tensor.shape}, what is computed has {shape}")
