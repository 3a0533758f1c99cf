"""Grouped cross-validation: what a predictor says of rows that it has not seen."""

import zlib
from collections.abc import Sequence

import numpy as np

from mnv3c.graph.errors import UserError
from mnv3c.profiles.layer_table import Integers
from mnv3c.profiles.model.dataset import Dataset
from mnv3c.profiles.model.fit import fit
from mnv3c.profiles.model.model import Model
from mnv3c.profiles.physics.base import Floats, Physics

# Up to so many groups each is a fold of its own; more are dealt out to so few.
_MOST_FOLDS = 20
_FOLDS = 10


def folds(groups: Sequence[str]) -> Integers:
    """(items,) the fold of each item: groups stay together, in an order that no order of rows changes."""
    names = sorted(set(groups))
    if len(names) > _MOST_FOLDS:
        names.sort(key=lambda name: (zlib.crc32(name.encode()), name))
        number = {name: index % _FOLDS for index, name in enumerate(names)}
    else:
        number = {name: index for index, name in enumerate(names)}
    return np.array([number[group] for group in groups], np.int64)


def held_out(data: Dataset, physics: Physics, priors: Sequence[Model] = ()) -> Floats:
    """(items,) milliseconds predicted for each item by a model fitted to the other folds.

    Raises UserError where all items are of one group: then there is nothing to learn from.
    """
    fold = folds(data.groups)
    if len(set(data.groups)) < 2:
        raise UserError(f"all {len(data)} rows are of one shape: at least 2 are needed to tell the error on a new one")
    predicted = np.zeros(len(data))
    for number in np.unique(fold):
        out = fold == number
        predicted[out] = item_ms(fit(data.take(~out), physics, priors), data.take(out))
    return predicted


def item_ms(model: Model, data: Dataset) -> Floats:
    """(items,) milliseconds predicted: the sums over their units."""
    unit_ms = model.costs(data.table).unit_ms
    return np.asarray(np.bincount(data.unit_item, unit_ms, len(data)), np.float64)
