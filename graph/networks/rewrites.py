"""The network's options as rewrites of its table: each takes a table and gives the one to build."""

from collections.abc import Iterator
from dataclasses import replace

from mnv3c.graph.activation import HSWISH, RELU, Activation
from mnv3c.graph.networks.options import HSwish, NetworkOptions
from mnv3c.graph.networks.tables import TABLES, Block, Table, TailLayer


def make_divisible(value: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `value`, at least `divisor`, never below 0.9 `value`: the authors' rule."""
    nearest = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * value else nearest


def specialised(options: NetworkOptions) -> Table:
    """The table of the network that these options ask for, in channels as built."""
    table = TABLES[options.variant]
    if options.last_stage == "original":
        table = _with_original_last_stage(table)
    if options.stem_filters != table.stem:
        table = _with_wide_stem(table, options.stem_filters)
    if options.hswish != "paper":
        table = _with_hswish(table, options.hswish)
    if not options.se:
        table = replace(table, blocks=tuple(replace(block, se=False) for block in table.blocks))
    if options.minimalistic:
        table = _minimalistic(table)
    if options.reduce_tail:
        table = _with_half_tail(table)
    return _scaled(_dilated(table, options.stride), options.width)


def strides_before(table: Table) -> Iterator[int]:
    """For each block, the stride of its input with respect to the image, stem included."""
    stride = 2
    for block in table.blocks:
        yield stride
        stride *= block.stride


def last_stage_start(table: Table) -> int:
    """Index of the last block of stride 2: the 13th of Large, the 9th of Small."""
    return max(index for index, block in enumerate(table.blocks) if block.stride == 2)


def _with_original_last_stage(table: Table) -> Table:
    """Figure 5, above: expand, depthwise 3x3, project to twice the last block (320), 1280, and only then pool.

    The paper draws it for Large; Small's is made by the same proportions.
    """
    (last,), (head,) = table.before_pool, table.after_pool
    project = TailLayer("last.project", 2 * table.blocks[-1].out, activation=None)
    depthwise = replace(last, name="last.depthwise", kernel=3)
    return replace(table, before_pool=(replace(last, name="last.expand"), depthwise, project, head), after_pool=())


def _with_wide_stem(table: Table, filters: int) -> Table:
    """Section 5.1: before h-swish, 32 filters with ReLU. The first block, which does not expand, widens with them."""
    first, *others = table.blocks
    return replace(table, stem=filters, stem_activation=RELU, blocks=(replace(first, expansion=filters), *others))


def _with_hswish(table: Table, hswish: HSwish) -> Table:
    """Figure 6: h-swish everywhere, nowhere, or in the layers and blocks of at least so many (output) channels."""
    from_channels = {"all": 0, "none": 1 << 62}.get(str(hswish)) if isinstance(hswish, str) else hswish

    def choice(channels: int) -> Activation:
        return HSWISH if channels >= (from_channels or 0) else RELU

    def tail(layers: tuple[TailLayer, ...]) -> tuple[TailLayer, ...]:
        return tuple(replace(t, activation=t.activation and choice(t.channels)) for t in layers)

    return replace(
        table,
        stem_activation=choice(table.stem),
        blocks=tuple(replace(block, activation=choice(block.out)) for block in table.blocks),
        before_pool=tail(table.before_pool),
        after_pool=tail(table.after_pool),
    )


def _minimalistic(table: Table) -> Table:
    """The released minimalistic models: no squeeze-excite, ReLU throughout, 3x3 for every 5x5."""
    plain = tuple(replace(block, se=False, kernel=3) for block in table.blocks)
    return _with_hswish(replace(table, blocks=plain), "none")


def _with_half_tail(table: Table) -> Table:
    """Sections 6.3 and 6.4: half the channels from C4 to C5, that is from the projection of the last stage's first
    block to the last layer; expansions keep their ratio to their input.
    """
    start = last_stage_start(table)

    def halved(index: int, block: Block) -> Block:
        expansion = block.expansion if index == start else block.expansion // 2
        return replace(block, out=block.out // 2, expansion=expansion) if index >= start else block

    blocks = tuple(halved(index, block) for index, block in enumerate(table.blocks))
    tail = tuple(replace(layer, channels=layer.channels // 2) for layer in table.before_pool)
    return replace(table, blocks=blocks, before_pool=tail)


def _dilated(table: Table, output_stride: int) -> Table:
    """Section 6.4: blocks past the output stride lose their stride and reach as far by dilation."""

    def dilated(before: int, block: Block) -> Block:
        dilation = max(1, before * block.stride // output_stride)
        return replace(block, stride=min(block.stride, max(1, output_stride // before)), dilation=dilation)

    pairs = zip(strides_before(table), table.blocks, strict=True)
    return replace(table, blocks=tuple(dilated(before, block) for before, block in pairs))


def _scaled(table: Table, width: float) -> Table:
    """The width multiplier, as the authors' code has it: an expansion is the table's ratio times the scaled input.

    Scaling the table's expansion instead gives other rounding, and 141 M MACs at width 0.75 where the paper has 155 M.
    """
    stem = make_divisible(table.stem * width)
    blocks = []
    paper_in, channels = table.stem, stem
    for block in table.blocks:
        expansion = make_divisible(channels * block.expansion / paper_in)
        paper_in, channels = block.out, make_divisible(block.out * width)
        blocks.append(replace(block, expansion=expansion, out=channels))

    def tail(layers: tuple[TailLayer, ...]) -> tuple[TailLayer, ...]:
        factors = (width if layer.elastic else max(1.0, width) for layer in layers)
        return tuple(
            replace(layer, channels=make_divisible(layer.channels * factor))
            for layer, factor in zip(layers, factors, strict=True)
        )

    before, after = tail(table.before_pool), tail(table.after_pool)
    return replace(table, stem=stem, blocks=tuple(blocks), before_pool=before, after_pool=after)
