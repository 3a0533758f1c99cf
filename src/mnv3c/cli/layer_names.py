"""Names of layers in tables. Those of groups have a line's length for each part."""

# Room for a table whose layers are short; wider than any terminal, so that rich takes no other column's place.
TABLE_WIDTH = 400
_CHARACTERS = 100


def short(layer: str) -> str:
    """The beginning of a layer's name."""
    return layer if len(layer) <= _CHARACTERS else f"{layer[: _CHARACTERS - 1]}…"
