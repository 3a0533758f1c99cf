"""What follows the backbone: the classifier, LR-ASPP (section 6.4), the taps of SSDLite (section 6.3), or nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mnv3c.graph.activation import RELU, SIGMOID
from mnv3c.graph.networks.builder import Builder
from mnv3c.graph.networks.options import Head
from mnv3c.graph.networks.tables import TailLayer
from mnv3c.graph.ops import Activate, Add, Dense, Flatten, GlobalAveragePool, Multiply, Pair, Pool2d, Resize

LRASPP_FILTERS = 128
LRASPP_POOL: Pair = (49, 49)
LRASPP_POOL_STRIDE: Pair = (16, 20)


@dataclass(frozen=True)
class Features:
    """Names of the backbone's outputs that heads use.

    `low` has stride 8 (before any dilation), `c4` is the expansion in the first block of the last stage (stride 16),
    `last` is the layer before the pool (stride 32, less when dilated).
    """

    low: str
    c4: str
    last: str


@dataclass(frozen=True)
class HeadPlan:
    """What a head is built from."""

    features: Features
    classes: int
    after_pool: tuple[TailLayer, ...]


def classifier(builder: Builder, plan: HeadPlan) -> tuple[str, ...]:
    """Pool, the layers after it, and one dense layer of logits: (1, classes)."""
    x = builder.add("pool", GlobalAveragePool(), plan.features.last)
    for layer in plan.after_pool:
        x = builder.conv(layer.name, x, layer.channels, layer.activation, normalised=False)
    flat = builder.add("flatten", Flatten(), x)
    return (builder.add("classifier", Dense(plan.classes, bias=True), flat),)


def backbone(builder: Builder, plan: HeadPlan) -> tuple[str, ...]:
    """The last feature map."""
    return (plan.features.last,)


def ssdlite(builder: Builder, plan: HeadPlan) -> tuple[str, ...]:
    """The feature maps C4 and C5 on which SSDLite's predictors sit."""
    return plan.features.c4, plan.features.last


def lraspp(builder: Builder, plan: HeadPlan) -> tuple[str, ...]:
    """Lite R-ASPP, figure 10: logits at an eighth of the image's resolution."""
    deep, low = plan.features.last, plan.features.low
    projected = builder.conv("head.project", deep, LRASPP_FILTERS, RELU)
    gate = _lraspp_gate(builder, deep)
    gated = builder.add("head.scale", Multiply(), projected, gate)
    fine = builder.types[low].spatial
    if builder.types[gated].spatial != fine:
        gated = builder.add("head.upsample", Resize(fine), gated)
    from_deep = builder.conv("head.classify", gated, plan.classes, None, normalised=False)
    from_low = builder.conv("head.classify_low", low, plan.classes, None, normalised=False)
    return (builder.add("head.sum", Add(), from_deep, from_low),)


def _lraspp_gate(builder: Builder, x: str) -> str:
    size = builder.types[x].spatial
    windowed = size[0] >= LRASPP_POOL[0] and size[1] >= LRASPP_POOL[1]
    pool = Pool2d("average", LRASPP_POOL, LRASPP_POOL_STRIDE) if windowed else GlobalAveragePool()
    pooled = builder.add("head.pool", pool, x)
    squeezed = builder.conv("head.gate", pooled, LRASPP_FILTERS, None, normalised=False)
    gate = builder.add("head.gate.act", Activate(SIGMOID), squeezed)
    # A 1x1 gate broadcasts as it is: resizing it would only repeat one value.
    return gate if builder.types[gate].spatial == (1, 1) else builder.add("head.gate.upsample", Resize(size), gate)


HEADS: Mapping[Head, Callable[[Builder, HeadPlan], tuple[str, ...]]] = MappingProxyType(
    {"classifier": classifier, "none": backbone, "lraspp": lraspp, "ssdlite": ssdlite}
)
