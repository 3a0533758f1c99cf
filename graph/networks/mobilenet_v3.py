"""MobileNetV3-Large and -Small with the paper's options, as the unfused graph a framework would hold."""

from typing import Literal

from mnv3c.graph.initialise import initialise
from mnv3c.graph.ir import Graph, Preprocessing
from mnv3c.graph.networks.builder import Builder
from mnv3c.graph.networks.heads import HEADS, Features, HeadPlan, classifier
from mnv3c.graph.networks.options import NetworkOptions
from mnv3c.graph.networks.rewrites import last_stage_start, specialised, strides_before
from mnv3c.graph.networks.tables import TABLES, Block, Table, Variant
from mnv3c.graph.ops import Add, Input


def mobilenet_v3(
    variant: Variant = "large",
    *,
    width: float = 1.0,
    resolution: int | tuple[int, int] = 224,
    minimalistic: bool = False,
    head: Literal["classifier", "none", "lraspp", "ssdlite"] = "classifier",
    classes: int | None = None,
    last_stage: Literal["efficient", "original"] = "efficient",
    stem_filters: int = 16,
    hswish: Literal["paper", "all", "none"] | int = "paper",
    se: bool = True,
    output_stride: int | None = None,
    reduce_tail: bool = False,
    batch_norm: bool = True,
    seed: int | None = 0,
) -> Graph:
    """MobileNetV3 ("Searching for MobileNetV3", arXiv 1905.02244v5) for one RGB image in NHWC.

    variant        "large" or "small", tables 1 and 2.
    width          multiplier of the channels, above 0 and up to 10.
    resolution     side in pixels, or (height, width); multiples of 32.
    minimalistic   no squeeze-excite, ReLU throughout, 3x3 for every 5x5.
    head           "classifier": logits (1, classes). "none": the last feature map. "lraspp": logits (1, height / 8,
                   width / 8, classes), section 6.4. "ssdlite": the feature maps C4 and C5, section 6.3.
    classes        1000 for the classifier and 19 (Cityscapes) for lraspp unless given.
    last_stage     "efficient" pools before the 1280 layer; "original" is the costlier one of figure 5.
    stem_filters   16 with h-swish, or 32 with ReLU.
    hswish         "paper" as in the tables, "all", "none", or N: h-swish in blocks and layers of at least N (output)
                   channels at width 1, ReLU below.
    se             squeeze-excite where the tables have it, or nowhere.
    output_stride  32; 16 or 8 by dilation for the heads lraspp (16 unless given) and none.
    reduce_tail    half the channels from C4 to C5, for detection and segmentation.
    batch_norm     separate batch norms, or a bias in each convolution.
    seed           of the weights (see `initialise`); None for a graph without weights.

    Raises UserError that names the option, the value and what is allowed.
    """
    options = NetworkOptions(
        variant=variant,
        width=width,
        resolution=resolution,
        minimalistic=minimalistic,
        head=head,
        classes=classes,
        last_stage=last_stage,
        stem_filters=stem_filters,
        hswish=hswish,
        se=se,
        output_stride=output_stride,
        reduce_tail=reduce_tail,
        batch_norm=batch_norm,
    )
    graph = _built(options)
    return graph if seed is None else initialise(graph, seed)


def classifier_of_table(table: Table, size: tuple[int, int], classes: int, name: str) -> Graph:
    """The classifier that a table of any widths describes, without weights; `size` is its input (height, width)."""
    builder = Builder()
    last = _trunk(builder, table, size)[-1]
    outputs = classifier(builder, HeadPlan(Features(low=last, c4=last, last=last), classes, table.after_pool))
    return Graph(name, tuple(builder.nodes), outputs, preprocessing=Preprocessing())


def _built(options: NetworkOptions) -> Graph:
    table = specialised(options)
    builder = Builder(options.batch_norm)
    features = _backbone(builder, table, options)
    plan = HeadPlan(features, options.class_count, table.after_pool)
    outputs = HEADS[options.head](builder, plan)
    return Graph(options.name, tuple(builder.nodes), outputs, preprocessing=Preprocessing())


def _backbone(builder: Builder, table: Table, options: NetworkOptions) -> Features:
    *outs, last = _trunk(builder, table, options.size)
    # Taps keep their place when dilation has taken strides away, so they are read off the paper's table.
    paper = TABLES[options.variant]
    low = max(index for index, stride in enumerate(strides_before(paper)) if stride == 8) - 1
    return Features(low=outs[low], c4=f"block{last_stage_start(paper) + 1}.expand.act", last=last)


def _trunk(builder: Builder, table: Table, size: tuple[int, int]) -> list[str]:
    """Adds what comes before the pool; the outputs of each block, and of the last layer."""
    x = builder.add("input", Input((1, *size, 3)))
    x = builder.conv("stem", x, table.stem, table.stem_activation, kernel=3, stride=2)
    outs = []
    for number, block in enumerate(table.blocks, start=1):
        x = _block(builder, f"block{number}", x, block)
        outs.append(x)
    for layer in table.before_pool:
        if layer.kernel > 1:
            x = builder.depthwise(layer.name, x, layer.activation, kernel=layer.kernel)
        else:
            x = builder.conv(layer.name, x, layer.channels, layer.activation)
    return [*outs, x]


def _block(builder: Builder, name: str, x: str, block: Block) -> str:
    """Section 5.3 and figure 4: expand, depthwise, squeeze-excite, project; the input is added where it fits."""
    channels = builder.types[x].channels
    y = x if block.expansion == channels else builder.conv(f"{name}.expand", x, block.expansion, block.activation)
    y = builder.depthwise(
        f"{name}.depthwise", y, block.activation, kernel=block.kernel, stride=block.stride, dilation=block.dilation
    )
    if block.se:
        y = builder.squeeze_excite(f"{name}.se", y)
    y = builder.conv(f"{name}.project", y, block.out, None)
    return builder.add(f"{name}.add", Add(), x, y) if block.stride == 1 and block.out == channels else y
