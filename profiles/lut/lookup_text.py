"""Keys of the once-for-all and ProxylessNAS look-up tables, written: the inverse of `readers/lookup_keys`."""

from mnv3c.graph.errors import UserError
from mnv3c.graph.layer import LayerKey
from mnv3c.graph.ops import Conv2d, Dense, GlobalAveragePool
from mnv3c.profiles.block import Block
from mnv3c.profiles.lut.units import Unit
from mnv3c.profiles.readers.lookup_keys import Scheme, parse_key


def lookup_key(unit: Unit, scheme: Scheme) -> str:
    """The key that the scheme's readers ask for. Raises UserError for a unit that the scheme has no key for.

    `expand` is the number of middle channels in once-for-all, their ratio to the input's in ProxylessNAS.
    """
    text = _block_key(unit, scheme) if isinstance(unit, Block) else _layer_key(unit.key)
    try:
        read = None if text is None else parse_key(text, scheme)
    except ValueError:
        read = None
    if text is None or read != unit:
        raise UserError(f"a table of {scheme} cannot hold '{unit}'; json, csv and parquet hold every unit")
    return text


def logits_key(pool: LayerKey, dense: LayerKey) -> str:
    """ProxylessNAS's key of the global average pool and the classifier together."""
    return f"Logits-input:{_shape(pool.inputs[0].shape)}-output:{dense.output.channels}"


def _block_key(block: Block, scheme: Scheme) -> str | None:
    expand, activations = block.c_expand, {"relu": 0, "hswish": 1}
    if scheme == "proxylessnas":
        if expand % block.c_in:
            return None
        expand //= block.c_in
    elif block.activation not in activations:
        return None
    text = (
        f"expanded_conv-input:{block.h_in}x{block.h_in}x{block.c_in}-output:{block.h_out}x{block.h_out}x{block.c_out}"
        f"-expand:{expand}-kernel:{block.kernel}-stride:{block.stride}-idskip:{block.skip:d}"
    )
    return text if scheme == "proxylessnas" else f"{text}-se:{block.se:d}-hs:{activations[block.activation]}"


def _layer_key(key: LayerKey) -> str | None:
    shapes = f"input:{_shape(key.inputs[0].shape)}-output:{_shape(key.output.shape)}"
    if isinstance(key.op, Dense):
        return f"Logits-input:1x1x{key.inputs[0].channels}-output:{key.output.channels}"
    if isinstance(key.op, GlobalAveragePool):
        return f"AvgPool2D-{shapes}"
    if not isinstance(key.op, Conv2d):
        return None
    if key.op.kernel != (1, 1):
        return f"Conv-{shapes}"
    return f"{'Conv_2' if key.inputs[0].spatial == (1, 1) else 'Conv_1'}-{shapes}"


def _shape(extents: tuple[int, ...]) -> str:
    return "x".join(map(str, extents[1:]))
