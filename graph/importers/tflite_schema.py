"""Names of TFLite's numbers, and the attributes that the importer reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import tflite

from mnv3c.graph.activation import Activation
from mnv3c.graph.exporters.tflite_options import FUSED_CODES
from mnv3c.graph.exporters.tflite_rules import FUSED_ACTIVATIONS


def _names(enumeration: Any) -> Mapping[int, str]:
    """The names of a generated enumeration by number."""
    return MappingProxyType(
        {
            value: name
            for name, value in vars(enumeration).items()
            if isinstance(value, int) and not name.startswith("_")
        }
    )


BUILTIN_NAMES = _names(tflite.BuiltinOperator)
OPTION_NAMES = _names(tflite.BuiltinOptions)
DTYPE_NAMES: Mapping[int, str] = MappingProxyType(
    {number: name.lower() for number, name in _names(tflite.TensorType).items()}
)
FUSED_BY_CODE: Mapping[int, Activation | None] = MappingProxyType(
    {code: FUSED_ACTIVATIONS[name] for name, code in FUSED_CODES.items()}
)


@dataclass(frozen=True)
class OptionTable:
    """A table of attributes, NAMEOptions in the schema, and its fields that the importer reads."""

    name: str
    fields: tuple[str, ...]


_STRIDES = ("Padding", "StrideH", "StrideW")
_CONVOLUTION = (*_STRIDES, "DilationHFactor", "DilationWFactor", "FusedActivationFunction")
_POOL = OptionTable("Pool2D", (*_STRIDES, "FilterHeight", "FilterWidth", "FusedActivationFunction"))
OPTION_FIELDS: Mapping[str, OptionTable] = MappingProxyType(
    {
        "CONV_2D": OptionTable("Conv2D", _CONVOLUTION),
        "DEPTHWISE_CONV_2D": OptionTable("DepthwiseConv2D", _CONVOLUTION),
        "FULLY_CONNECTED": OptionTable("FullyConnected", ("FusedActivationFunction", "WeightsFormat")),
        "ADD": OptionTable("Add", ("FusedActivationFunction",)),
        "MUL": OptionTable("Mul", ("FusedActivationFunction",)),
        "MEAN": OptionTable("Reducer", ("KeepDims",)),
        "MAX_POOL_2D": _POOL,
        "AVERAGE_POOL_2D": _POOL,
        "SOFTMAX": OptionTable("Softmax", ("Beta",)),
    }
)
