"""Keys of the ProxylessNAS and once-for-all look-up tables.

The scheme is that of `ofa/nas/efficiency_predictor/latency_lookup_table.py` (MIT): TYPE, `input:HxWxC`, `output:HxWxC`,
and for `expanded_conv` also `expand`, `kernel`, `stride`, `idskip` and in once-for-all `se` and `hs`, joined by `-`.

1. `expanded_conv` is a block. `expand` is the number of channels in once-for-all, and a ratio in ProxylessNAS.
2. `Conv` is the 3x3 stem; its input may be written without its 3 channels.
3. `Conv_1`, `Conv_2` are 1x1 convolutions.
4. `AvgPool2D` is the global average pool.
5. `Logits` is the classifier, and in ProxylessNAS the global average pool before it too.

Activations that keys leave out are h-swish in once-for-all and ReLU6 in ProxylessNAS, none in the classifier.
"""

from typing import Literal

from mnv3c.graph.activation import Activation
from mnv3c.graph.layer import LayerKey
from mnv3c.graph.ops import Dense, GlobalAveragePool
from mnv3c.graph.tensor import TensorType
from mnv3c.profiles.block import Block, BlockActivation
from mnv3c.profiles.layer_keys import convolution_key
from mnv3c.profiles.work import GroupWork, LayerWork, Work

Scheme = Literal["once-for-all", "proxylessnas"]
LAYER_TYPES = ("Conv", "expanded_conv", "Conv_1", "AvgPool2D", "Conv_2", "Logits")
_BLOCK_FIELDS = ("input", "output", "expand", "kernel", "stride", "idskip")


def is_lookup_key(text: str) -> bool:
    """Whether the text begins as a key does."""
    return text.partition("-")[0] in LAYER_TYPES and "-input:" in text


def scheme_of(key: str) -> Scheme | None:
    """The scheme that a block's key shows; None for other layers."""
    if not key.startswith("expanded_conv-"):
        return None
    return "once-for-all" if "-se:" in key else "proxylessnas"


def parse_key(text: str, scheme: Scheme) -> Work:
    """The work that a key names. Raises ValueError saying what is wrong with the key."""
    layer_type, _, rest = text.partition("-")
    if layer_type not in LAYER_TYPES:
        raise ValueError(f"unknown layer type '{layer_type}'; known are {', '.join(LAYER_TYPES)}")
    given = _fields(rest)
    if layer_type == "expanded_conv":
        return _block(given, scheme)
    if set(given) != {"input", "output"}:
        raise ValueError(f"{layer_type} has the fields input and output, not {', '.join(given)}")
    source, result = _extents(given["input"]), _extents(given["output"])
    activation = Activation("hswish" if scheme == "once-for-all" else "relu6")
    match layer_type:
        case "Logits":
            return _classifier(source, result[-1])
        case "AvgPool2D":
            work = LayerWork(LayerKey(GlobalAveragePool(), (_map(source),)))
        case "Conv":
            work = _stem(source, result, activation)
        case _:
            size, _, c_in = _map(source).shape[1:]
            work = LayerWork(convolution_key(size, c_in, result[-1], activation=activation))
    _require_output(work, result)
    return work


def _fields(text: str) -> dict[str, str]:
    pairs = [word.partition(":") for word in text.split("-")]
    fields = {name: value for name, _, value in pairs}
    if len(fields) != len(pairs):
        raise ValueError("a field appears twice")
    return fields


def _extents(text: str) -> tuple[int, ...]:
    words = text.split("x")
    if not all(word.isascii() and word.isdigit() and 0 < int(word) < 2**31 for word in words):
        raise ValueError(f"'{text}' is not a shape such as 56x56x24")
    return tuple(map(int, words))


def _map(extents: tuple[int, ...]) -> TensorType:
    """A feature map; a shape of one number is that of a map of 1x1."""
    if len(extents) == 1:
        return TensorType((1, 1, 1, *extents))
    if len(extents) != 3 or extents[0] != extents[1]:
        raise ValueError(f"'{'x'.join(map(str, extents))}' is not a square map such as 56x56x24")
    return TensorType((1, *extents))


def _block(given: dict[str, str], scheme: Scheme) -> Block:
    names = (*_BLOCK_FIELDS, "se", "hs") if scheme == "once-for-all" else _BLOCK_FIELDS
    if set(given) != set(names):
        raise ValueError(f"a block of {scheme} has the fields {', '.join(names)}, not {', '.join(given)}")
    source, result = _map(_extents(given["input"])), _map(_extents(given["output"]))
    expand, kernel, stride = (_number(given, name) for name in ("expand", "kernel", "stride"))
    se, activation = False, _activation(given, scheme)
    if scheme == "once-for-all":
        se = _truth(given, "se")
    block = Block(
        h_in=source.shape[1],
        c_in=source.channels,
        c_out=result.channels,
        c_expand=expand if scheme == "once-for-all" else expand * source.channels,
        kernel=kernel,
        stride=stride,
        se=se,
        activation=activation,
        skip=_truth(given, "idskip"),
    )
    if block.h_out != result.shape[1]:
        raise ValueError(f"output is {block.h_out}x{block.h_out}, not {result.shape[1]}x{result.shape[2]}")
    return block


def _activation(given: dict[str, str], scheme: Scheme) -> BlockActivation:
    if scheme == "proxylessnas":
        return "relu6"
    return "hswish" if _truth(given, "hs") else "relu"


def _number(given: dict[str, str], name: str) -> int:
    value = given[name]
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise ValueError(f"{name} is a whole number, not '{value}'")
    return int(value)


def _truth(given: dict[str, str], name: str) -> bool:
    if given[name] not in ("0", "1"):
        raise ValueError(f"{name} is 0 or 1, not '{given[name]}'")
    return given[name] == "1"


def _stem(source: tuple[int, ...], result: tuple[int, ...], activation: Activation) -> LayerWork:
    image = _map((*source, 3) if len(source) == 2 else source)
    size, out = image.shape[1], _map(result)
    stride = -(-size // out.shape[1])
    key = convolution_key(size, image.channels, out.channels, kernel=3, stride=stride, activation=activation)
    return LayerWork(key)


def _classifier(source: tuple[int, ...], classes: int) -> Work:
    features = _map(source)
    dense = LayerWork(LayerKey(Dense(classes, bias=True), (TensorType((1, features.channels)),)))
    if features.spatial == (1, 1):
        return dense
    return GroupWork((LayerWork(LayerKey(GlobalAveragePool(), (features,))), dense))


def _require_output(work: LayerWork, result: tuple[int, ...]) -> None:
    out = work.key.output
    if _map(result).shape != out.shape:
        raise ValueError(f"output is {'x'.join(map(str, out.shape[1:]))}, not {'x'.join(map(str, result))}")
