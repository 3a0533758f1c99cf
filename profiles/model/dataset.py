"""Measured rows as arrays: units, the items that they form, and the groups that stay together in cross-validation."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mnv3c.graph.errors import UserError
from mnv3c.graph.layer import LayerKey
from mnv3c.profiles.block import Block
from mnv3c.profiles.layer_table import KINDS, VARIANTS, Integers, LayerTable, concatenated
from mnv3c.profiles.physics.base import Floats, Unit
from mnv3c.profiles.record import AHEAD_TAG, OWN_NETWORK_TAG, Record
from mnv3c.profiles.work import GroupWork, KernelWork, LayerWork, NetworkWork, NodeWork

# One letter a kind, so that a block is a pattern in a string: expand, depthwise, squeeze-excite, project.
_LETTERS = {"pointwise": "p", "depthwise": "d", "global_pool": "g", "linear": "l", "gate": "x"}
# Fewer are the stages of one network, of which none tells what the next is like.
_ENOUGH_RESOLUTIONS = 8
_BLOCK = re.compile("p?d(?:gllx)?p")
# A layer that runs alone, again and again, finds its weights where it left them, up to about so many (an assumption:
# half of the second-level cache of a server core).
_STAYING_BYTES = 1 << 20


@dataclass(frozen=True)
class Dataset:
    """Items that were measured, each of one or more units.

    `unit_item` (units,) is the item of each unit, `latency_ms` and `groups` have one entry an item.
    """

    table: LayerTable
    unit_item: Integers
    latency_ms: Floats
    groups: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.latency_ms)

    @property
    def single(self) -> bool:
        """True if each item is one unit."""
        return len(self.unit_item) == len(self.latency_ms)

    def take(self, items: npt.NDArray[np.bool_]) -> "Dataset":
        """The items where the mask is true."""
        units = items[self.unit_item]
        table = self.table.take(units[self.table.owner])
        unit_number, item_number = np.cumsum(units) - 1, np.cumsum(items) - 1
        return Dataset(
            replace(table, owner=unit_number[table.owner]),
            item_number[self.unit_item[units]],
            self.latency_ms[items],
            tuple(group for group, taken in zip(self.groups, items, strict=True) if taken),
        )


def dataset_of(records: Sequence[Record], unit: Unit, projected_shortcuts: bool = False) -> Dataset:
    """The records as a dataset; `unit` says what a network is a sum of.

    `projected_shortcuts` says whether measured blocks had them, of which no table of blocks tells.

    Raises UserError for no records, and for a network whose layers nobody says.
    """
    if not records:
        raise UserError("there are no records")
    tables = [_table(record, unit, projected_shortcuts) for record in records]
    units = np.array([int(table.owner[-1]) + 1 for table in tables])
    table = concatenated(tables)
    latency_ms = np.array([record.latency_ms for record in records])
    return Dataset(table, np.repeat(np.arange(len(records)), units), latency_ms, groups_of(records))


def groups_of(records: Sequence[Record]) -> tuple[str, ...]:
    """What must not be on both sides of a split, a name for each record.

    Blocks of one resolution stay together where there are enough resolutions to learn from the others: a random split
    would flatter, since each row has a near twin. Anything else stays with rows of its own shape.
    """
    heights = [record.work.h_in if isinstance(record.work, Block) else None for record in records]
    by_height = len(set(heights) - {None}) >= _ENOUGH_RESOLUTIONS
    return tuple(
        str(record.work) if height is None or not by_height else f"resolution {height}"
        for record, height in zip(records, heights, strict=True)
    )


def network_table(keys: Sequence[LayerKey], unit: Unit) -> LayerTable:
    """The layers of a network, in order; those of a block are one unit where a unit is a block."""
    table = LayerTable.of_items([(key,) for key in keys])
    return replace(table, owner=_block_owners(table)) if unit == "block" else table


def _block_owners(table: LayerTable) -> Integers:
    """(layers,) the number of each layer's unit, a layer a unit on entry."""
    letters = "".join(_LETTERS.get(KINDS[kind], "-") for kind in table.kind)
    begins = np.ones(len(table), np.int64)
    for match in _BLOCK.finditer(letters):
        first, end = match.span()
        # A projection of the block before is no expansion of this one.
        if letters[first] == "p" and table.c_out[first] != table.c_in[first + 1]:
            first += 1
        begins[first + 1 : end] = 0
    return np.cumsum(begins) - 1


def _table(record: Record, unit: Unit, projected_shortcuts: bool) -> LayerTable:
    work = record.work
    if unit == "kernel" and isinstance(work, LayerWork | GroupWork):
        table = LayerTable.of_kernels([work.layer_keys()], [0])
        ahead = np.zeros(len(table), np.int64)
        ahead[-1] = _ahead_bytes(record, table)
        return replace(table, ahead_bytes=ahead)
    if isinstance(work, Block):
        return LayerTable.of_items([work.layer_keys(projected_shortcuts)])
    if isinstance(work, NetworkWork):
        if not work.layers:
            raise UserError(
                f"network '{work.name}': nobody says its layers, so no model can be fitted to it or judged by it"
            )
        return network_table(work.layers, unit)
    if isinstance(work, NodeWork):
        raise UserError(f"'{work}': of a node nobody says the shapes, so no model can be fitted to it or judged by it")
    if not isinstance(work, KernelWork):
        return LayerTable.of_items([work.layer_keys()])
    variant = next((variant for variant in VARIANTS[1:] if variant in work.family), "")
    table = LayerTable.of_items([work.layer_keys()], [variant])
    return replace(table, linked=np.full(len(table), len(work.linked)))


def _ahead_bytes(record: Record, table: LayerTable) -> int:
    """Bytes of a kernel's weights that are near before it begins: the record says so, or it ran alone."""
    text = record.tags.get(AHEAD_TAG)
    if text is None:
        own = 4 * int(table.weights[-1])
        return own if OWN_NETWORK_TAG not in record.tags and own <= _STAYING_BYTES else 0
    if not (text.isascii() and text.isdecimal()) or len(text) > 15:
        raise UserError(f"'{record.work}': tag '{AHEAD_TAG}' must be a number of bytes, not '{text}'")
    return int(text)
