"""Writes layers as ncnn's .param and .bin files, activations fused as its optimiser does."""

from pathlib import Path
from typing import Any

import numpy as np

from mnv3c.graph.activation import Activation
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import (
    Activate,
    Add,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Flatten,
    GlobalAveragePool,
    Input,
    Multiply,
    Pool2d,
    Resize,
    Softmax,
    activation_of,
)

_MAGIC = 7767517
_FLOAT32_TAG = b"\0\0\0\0"
_ADD, _MULTIPLY = 0, 2  # of BinaryOp
_VALID, _NEAREST = 1, 1  # of Pooling, of Interp


def write_ncnn(graph: Graph, path: Path) -> Path:
    """Write `path`, a .param, and the .bin beside it; the input is `in`, the outputs `out0`, `out1`, ...

    Raises UserError for an op without a rule.
    """
    writer = _Writer(graph)
    for node in graph.nodes:
        writer.add(node)
    for index, name in enumerate(graph.outputs):
        writer.emit("Noop", [writer.read(name)], f"out{index}")
    blobs = len({blob for *_, outputs, _ in writer.layers for blob in outputs})
    lines = [
        f"{kind} layer{index} {len(inputs)} {len(outputs)} {' '.join((*inputs, *outputs))} {parameters}".rstrip()
        for index, (kind, inputs, outputs, parameters) in enumerate(writer.layers)
    ]
    path.write_text("\n".join((str(_MAGIC), f"{len(lines)} {blobs}", *lines)) + "\n", encoding="utf-8")
    path.with_suffix(".bin").write_bytes(b"".join(writer.data))
    return path


class _Writer:
    """A blob has one reader in ncnn: a node that several read is followed by a Split."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.layers: list[tuple[str, list[str], list[str], str]] = []
        self.data: list[bytes] = []
        self._unread: dict[str, list[str]] = {}
        self._readers = {node.name: 0 for node in graph.nodes}
        for name in (*(name for node in graph.nodes for name in node.inputs), *graph.outputs):
            self._readers[name] += 1

    def read(self, name: str) -> str:
        return self._unread[name].pop(0)

    def emit(self, kind: str, inputs: list[str], output: str, **parameters: Any) -> str:
        text = " ".join(f"{key.lstrip('p').replace('m', '-')}={value}" for key, value in parameters.items())
        self.layers.append((kind, inputs, [output], text))
        return output

    def add(self, node: Node) -> None:
        value = self._value(node, [self.read(name) for name in node.inputs])
        copies = self._readers[node.name]
        if copies > 1:
            outputs = [f"{value}_{index}" for index in range(copies)]
            self.layers.append(("Split", [value], outputs, ""))
            self._unread[node.name] = list(outputs)
        else:
            self._unread[node.name] = [value]

    def _value(self, node: Node, inputs: list[str]) -> str:
        name = node.name
        match node.op:
            case Input():
                return self.emit("Input", [], "in")
            case Conv2d() as op:
                return self._convolution(node, op, inputs)
            case Dense() as op:
                size = self._weights(node, (1, 0))
                shape = {"p0": op.units, "p1": int(op.bias), "p2": size}
                value = self.emit("InnerProduct", inputs, name, **shape)
            case Pool2d() as op if op.mode == "max" and not any(op.padding):
                window = {"p1": op.kernel[1], "p11": op.kernel[0], "p2": op.stride[1], "p12": op.stride[0]}
                value = self.emit("Pooling", inputs, name, p0=0, **window, p5=_VALID)
            case Resize() as op if op.mode == "nearest" and op.coordinates == "asymmetric":
                value = self.emit("Interp", inputs, name, p0=_NEAREST, p3=op.size[0], p4=op.size[1])
            case ConvTranspose2d() as op if not any(op.padding):
                window = {"p1": op.kernel[1], "p11": op.kernel[0], "p3": op.stride[1], "p13": op.stride[0]}
                size = self._weights(node, (3, 2, 0, 1))
                value = self.emit("Deconvolution", inputs, name, p0=op.out_channels, **window, p5=int(op.bias), p6=size)
            case _:
                value = self._simple(node, inputs)
        return self._activated(value, activation_of(node.op))

    def _simple(self, node: Node, inputs: list[str]) -> str:
        name = node.name
        match node.op:
            case Activate():
                return inputs[0]
            case Add():
                return self.emit("BinaryOp", inputs, name, p0=_ADD)
            case Multiply():
                return self.emit("BinaryOp", inputs, name, p0=_MULTIPLY)
            case GlobalAveragePool():
                return self.emit("Pooling", inputs, name, p0=1, p4=1)
            case Flatten():
                return self.emit("Flatten", inputs, name)
            case Concat():
                return self.emit("Concat", inputs, name, p0=0)
            case Softmax():
                return self.emit("Softmax", inputs, name, p0=0, p1=1)
        raise UserError(f"no ncnn file is written for {node.op.kind} (node '{name}')")

    def _convolution(self, node: Node, op: Conv2d, inputs: list[str]) -> str:
        fused = None if op.residual == "before_activation" else op.activation
        top, left, bottom, right = op.padding
        shape: dict[str, Any] = {"p0": op.out_channels, "p1": op.kernel[1], "p11": op.kernel[0]}
        shape |= {"p2": op.dilation[1], "p12": op.dilation[0], "p3": op.stride[1], "p13": op.stride[0]}
        shape |= {"p4": left, "p15": right, "p14": top, "p16": bottom, "p5": int(op.bias)}
        shape["p6"] = self._weights(node, (3, 2, 0, 1))
        if op.groups > 1:
            shape["p7"] = op.groups
        activation = _fused_activation(fused)
        kind = "ConvolutionDepthWise" if op.groups > 1 else "Convolution"
        if op.pointwise and self.graph.input_types(node)[0].spatial == (1, 1):
            # What has been pooled is a vector in ncnn.
            kind, shape = "InnerProduct", {"p0": op.out_channels, "p1": int(op.bias), "p2": shape["p6"]}
        value = self.emit(kind, inputs[:1], node.name, **shape, **(activation or {}))
        if activation is None:
            value = self._activated(value, fused)
        if op.residual is None:
            return value
        value = self.emit("BinaryOp", [value, inputs[1]], f"{node.name}/sum", p0=_ADD)
        return self._activated(value, op.activation if op.residual == "before_activation" else None)

    def _weights(self, node: Node, order: tuple[int, ...]) -> int:
        weights = self.graph.weights_of(node)
        self.data += [_FLOAT32_TAG, np.ascontiguousarray(weights["weight"].transpose(order), "<f4").tobytes()]
        if "bias" in weights:
            self.data.append(weights["bias"].astype("<f4").tobytes())
        return int(weights["weight"].size)

    def _activated(self, value: str, activation: Activation | None) -> str:
        if activation is None:
            return value
        name = f"{value}/{activation.kind}"
        match activation.kind:
            case "relu":
                return self.emit("ReLU", [value], name)
            case "relu6":
                return self.emit("Clip", [value], name, p0=0.0, p1=6.0)
            case "clip":
                return self.emit("Clip", [value], name, p0=activation.low, p1=activation.high)
            case "hswish":
                return self.emit("HardSwish", [value], name, p0=activation.slope, p1=activation.offset)
            case "hsigmoid":
                return self.emit("HardSigmoid", [value], name, p0=activation.slope, p1=activation.offset)
            case "sigmoid":
                return self.emit("Sigmoid", [value], name)


def _fused_activation(activation: Activation | None) -> dict[str, Any] | None:
    """The parameters that fuse an activation into a convolution; None where ncnn has no such kind."""
    if activation is None:
        return {}
    match activation.kind:
        case "relu":
            return {"p9": 1}
        case "relu6":
            return {"p9": 3, "pm23310": "2,0.0,6.0"}
        case "hswish":
            return {"p9": 6, "pm23310": f"2,{activation.slope!r},{activation.offset!r}"}
        case "sigmoid":
            return {"p9": 4}
    return None
