"""LiteRT's reference kernels, with every tensor of a network."""

from pathlib import Path

from ai_edge_litert.interpreter import Interpreter, OpResolverType

from mnv3c.graph.integer.affine import Int8Array


def litert_tensors(path: Path, x: Int8Array) -> dict[str, Int8Array]:
    """Every tensor of a `.tflite` file by name, constants included, after a run on its only input `x`."""
    interpreter = Interpreter(
        str(path),
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    interpreter.set_tensor(given["index"], x)
    interpreter.invoke()
    # LiteRT adds scratch tensors without a name.
    details = [detail for detail in interpreter.get_tensor_details() if detail["name"]]
    return {detail["name"]: interpreter.get_tensor(detail["index"]) for detail in details}
