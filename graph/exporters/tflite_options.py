"""Attributes of the TFLite operators that the exporter writes."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import tflite

from mnv3c.graph.exporters.tflite_model import Options
from mnv3c.graph.exporters.tflite_rules import Fused
from mnv3c.graph.shapes import Pair

FUSED_CODES: Mapping[Fused, int] = MappingProxyType(
    {
        "none": tflite.ActivationFunctionType.NONE,
        "relu": tflite.ActivationFunctionType.RELU,
        "relu_n1_to_1": tflite.ActivationFunctionType.RELU_N1_TO_1,
        "relu6": tflite.ActivationFunctionType.RELU6,
    }
)


def table(name: str, **fields: int | float | bool) -> Options:
    """The table `NAMEOptions` of the schema with these fields, in the order given."""
    start: Callable[[Any], None] = getattr(tflite, f"{name}OptionsStart")
    end: Callable[[Any], int] = getattr(tflite, f"{name}OptionsEnd")

    def write(b: Any) -> int:
        start(b)
        for field, value in fields.items():
            getattr(tflite, f"{name}OptionsAdd{field}")(b, value)
        return int(end(b))

    return Options(getattr(tflite.BuiltinOptions, f"{name}Options"), write)


def _padding(same: bool) -> int:
    return int(tflite.Padding.SAME if same else tflite.Padding.VALID)


def convolution(same: bool, stride: Pair, dilation: Pair, fused: Fused) -> Options:
    """Those of CONV_2D."""
    return table(
        "Conv2D",
        Padding=_padding(same),
        StrideW=stride[1],
        StrideH=stride[0],
        FusedActivationFunction=FUSED_CODES[fused],
        DilationWFactor=dilation[1],
        DilationHFactor=dilation[0],
    )


def depthwise(same: bool, stride: Pair, dilation: Pair, multiplier: int, fused: Fused) -> Options:
    """Those of DEPTHWISE_CONV_2D; `multiplier` is the number of outputs of each channel."""
    return table(
        "DepthwiseConv2D",
        Padding=_padding(same),
        StrideW=stride[1],
        StrideH=stride[0],
        DepthMultiplier=multiplier,
        FusedActivationFunction=FUSED_CODES[fused],
        DilationWFactor=dilation[1],
        DilationHFactor=dilation[0],
    )


def pool(same: bool, kernel: Pair, stride: Pair) -> Options:
    """Those of MAX_POOL_2D and AVERAGE_POOL_2D."""
    return table(
        "Pool2D",
        Padding=_padding(same),
        StrideW=stride[1],
        StrideH=stride[0],
        FilterWidth=kernel[1],
        FilterHeight=kernel[0],
        FusedActivationFunction=FUSED_CODES["none"],
    )


def fully_connected(fused: Fused) -> Options:
    """Those of FULLY_CONNECTED."""
    return table("FullyConnected", FusedActivationFunction=FUSED_CODES[fused])


def add(fused: Fused) -> Options:
    """Those of ADD."""
    return table("Add", FusedActivationFunction=FUSED_CODES[fused])


def multiply(fused: Fused) -> Options:
    """Those of MUL."""
    return table("Mul", FusedActivationFunction=FUSED_CODES[fused])


def pad() -> Options:
    """Those of PAD."""
    return table("Pad")


def pad_with() -> Options:
    """Those of PADV2."""
    return table("PadV2")


def hard_swish() -> Options:
    """Those of HARD_SWISH."""
    return table("HardSwish")


def mean() -> Options:
    """Those of MEAN with kept axes."""
    return table("Reducer", KeepDims=True)


def softmax() -> Options:
    """Those of SOFTMAX."""
    return table("Softmax", Beta=1.0)


def reshape(shape: tuple[int, ...]) -> Options:
    """Those of RESHAPE."""

    def write(b: Any) -> int:
        b.StartVector(4, len(shape), 4)
        for extent in reversed(shape):
            b.PrependInt32(extent)
        vector = b.EndVector()
        tflite.ReshapeOptionsStart(b)
        tflite.ReshapeOptionsAddNewShape(b, vector)
        return int(tflite.ReshapeOptionsEnd(b))

    return Options(tflite.BuiltinOptions.ReshapeOptions, write)
