"""What was measured: a layer, a group of fused layers, a block, somebody else's kernel or node, or a whole network.

Each has a canonical text, equal for equal work and different for different work, and `parse_work` reads it:

    conv2d 1x56x56x72->1x28x28x72 kernel=5x5 ...            a layer: its LayerKey, and weights=fp16 where stored so
    LAYER | LAYER [from=-1/0/1,-1]                          a group: its parts, as in the tuner's records
    block h_in=56 c_in=24 c_out=40 c_expand=72 kernel=5 stride=2 se=yes activation=relu skip=no
    kernel VARIANT LAYER_KEY                                one kernel of a runtime
    node OP NAME                                            a node of a network of which no more is known
    network NAME [LAYER_KEY; LAYER_KEY...]                  a network, and its layers where they are known
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from mnv3c.graph.errors import UserError
from mnv3c.graph.layer import LayerKey
from mnv3c.profiles.block import Block

WeightPrecision = Literal["fp32", "fp16"]
_FP16_WEIGHTS = " weights=fp16"
_PART, _SOURCES, _LAYER = " | ", " from=", "; "


@dataclass(frozen=True)
class LayerWork:
    """One layer. `weights` is how its weight is stored, where that differs from the tensors of its key."""

    kind: ClassVar[str] = "layer"
    key: LayerKey
    weights: WeightPrecision = "fp32"

    def layer_keys(self) -> tuple[LayerKey, ...]:
        """The layer's key."""
        return (self.key,)

    def __str__(self) -> str:
        return str(self.key) + (_FP16_WEIGHTS if self.weights == "fp16" else "")


@dataclass(frozen=True)
class GroupWork:
    """Neighbouring layers that one kernel computes.

    `sources[i][n]` tells what input n of part i is: the output of an earlier part (0, 1, ...), or tensor e from
    outside, written -1 - e. Empty for a chain, in which each part reads the one before it alone.

    Raises ValueError for fewer than two parts and for sources that do not fit them.
    """

    kind: ClassVar[str] = "group"
    parts: tuple[LayerWork, ...]
    sources: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        if len(self.parts) < 2:
            raise ValueError("a group has at least two parts")
        chain = ((-1,), *((part - 1,) for part in range(1, len(self.parts))))
        sources = self.sources or chain
        if tuple(map(len, sources)) != tuple(len(part.key.inputs) for part in self.parts):
            raise ValueError("a group's sources name each input of each part")
        if any(source >= part for part, each in enumerate(sources) for source in each):
            raise ValueError("a part reads earlier parts only")
        # Both ways to state a chain are the same work.
        object.__setattr__(self, "sources", () if sources == chain else sources)

    def layer_keys(self) -> tuple[LayerKey, ...]:
        """The parts' keys, in order."""
        return tuple(part.key for part in self.parts)

    def __str__(self) -> str:
        sources = "/".join(",".join(map(str, each)) for each in self.sources)
        return _PART.join(map(str, self.parts)) + (_SOURCES + sources if sources else "")


@dataclass(frozen=True)
class KernelWork:
    """One kernel of a runtime of somebody else.

    `variant` says how that runtime computes the layer, in one word: the kernel's family and the ops linked to it, as
    `convolution_winograd_4x4_6x6` or `convolution_2d+add+relu`. Raises ValueError for a variant of several words.
    """

    kind: ClassVar[str] = "kernel"
    key: LayerKey
    variant: str

    def __post_init__(self) -> None:
        _require_word("variant", self.variant)

    @property
    def family(self) -> str:
        """The variant without what is linked to it."""
        return self.variant.partition("+")[0]

    @property
    def linked(self) -> tuple[str, ...]:
        """The ops linked to the kernel, in order."""
        return tuple(self.variant.split("+")[1:])

    def layer_keys(self) -> tuple[LayerKey, ...]:
        """The layer's key."""
        return (self.key,)

    def __str__(self) -> str:
        return f"{self.kind} {self.variant} {self.key}"


@dataclass(frozen=True)
class NodeWork:
    """A node of a network in a runtime's profile that tells no shapes: its op, one word, and its name.

    Raises ValueError for an op of several words and for a name that is empty, not printable, or ends with a space.
    """

    kind: ClassVar[str] = "node"
    op: str
    name: str

    def __post_init__(self) -> None:
        _require_word("op", self.op)
        if not self.name.isprintable() or self.name.strip() != self.name or not self.name:
            raise ValueError(f"name must be printable, not {self.name!r:.60}")

    def layer_keys(self) -> tuple[LayerKey, ...]:
        """None: nothing tells the node's layer."""
        return ()

    def __str__(self) -> str:
        return f"{self.kind} {self.op} {self.name}"


@dataclass(frozen=True)
class NetworkWork:
    """A whole network: its name, one word, and its layers; empty where nobody says which. Raises ValueError."""

    kind: ClassVar[str] = "network"
    name: str
    layers: tuple[LayerKey, ...] = ()

    def __post_init__(self) -> None:
        _require_word("name", self.name)

    def layer_keys(self) -> tuple[LayerKey, ...]:
        """The layers' keys, in order."""
        return self.layers

    def __str__(self) -> str:
        return " ".join([self.kind, self.name, *([_LAYER.join(map(str, self.layers))] if self.layers else [])])


Work = LayerWork | GroupWork | Block | KernelWork | NodeWork | NetworkWork


def parse_work(text: str) -> Work:
    """The work with this text. Raises UserError, naming the text and what is wrong with it, if there is none."""
    try:
        work = _parsed(text)
    except ValueError as error:
        # What is wrong may be long or hold line ends, and is told in a line.
        raise UserError(f"work {text!r:.200}: {' '.join(str(error).split()):.400}") from None
    if str(work) != text:
        raise UserError(f"work {text!r:.200}: must be written '{work!s:.400}'")
    return work


def _parsed(text: str) -> Work:
    kind, _, rest = text.partition(" ")
    if kind == Block.kind:
        return Block.parse(rest)
    if kind == KernelWork.kind:
        variant, _, key = rest.partition(" ")
        return KernelWork(_parsed_key(key), variant)
    if kind == NodeWork.kind:
        op, _, name = rest.partition(" ")
        return NodeWork(op, name)
    if kind == NetworkWork.kind:
        name, _, keys = rest.partition(" ")
        return NetworkWork(name, tuple(map(_parsed_key, keys.split(_LAYER))) if keys else ())
    if _PART not in text:
        return _parsed_layer(text)
    parts, _, sources = text.partition(_SOURCES)
    edges = tuple(tuple(map(int, each.split(","))) for each in sources.split("/")) if sources else ()
    return GroupWork(tuple(map(_parsed_layer, parts.split(_PART))), edges)


def _parsed_key(text: str) -> LayerKey:
    try:
        return LayerKey.parse(text)
    except UserError as error:
        raise ValueError(str(error)) from None


def _parsed_layer(text: str) -> LayerWork:
    key = text.removesuffix(_FP16_WEIGHTS)
    return LayerWork(_parsed_key(key), "fp32" if key == text else "fp16")


def _require_word(name: str, value: str) -> None:
    if not value.isprintable() or value.split() != [value]:
        raise ValueError(f"{name} must be one word, not {value!r:.60}")
