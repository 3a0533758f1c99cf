"""A profile held against measured records: how far off, and whether it had seen them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mnv3c.graph.errors import UserError
from mnv3c.profiles.calibrate import FEWEST_ROWS, row_digest, shape_digest
from mnv3c.profiles.metrics import Metrics, Predictions, metrics_by_group
from mnv3c.profiles.model.crossval import held_out
from mnv3c.profiles.model.dataset import Dataset, dataset_of
from mnv3c.profiles.model.own_networks import is_own_network, whole_networks
from mnv3c.profiles.physics.base import Floats
from mnv3c.profiles.predict import predict_units, sum_interval, summed_widths
from mnv3c.profiles.profile import Profile
from mnv3c.profiles.record import Record
from mnv3c.profiles.work import NetworkWork

_FEWEST_SEEN_SHARE = 0.1


@dataclass(frozen=True)
class Validation:
    """Predictions of records; `seen` (n,) is true where the profile was fitted to the row.

    Such a row is predicted by a fit to the other seen rows, those of its group held out as well. `new_shape` (n,) is
    true where the profile was fitted to no row of the very same work.
    """

    records: tuple[Record, ...]
    predictions: Predictions
    seen: np.ndarray
    new_shape: np.ndarray
    families: tuple[str, ...]

    @cached_property
    def metrics(self) -> Metrics:
        """The figures of all rows."""
        return Metrics.of(self.predictions)

    @property
    def new_shapes(self) -> Metrics:
        """The figures of rows of whose very work no row was fitted."""
        return Metrics.of(self.predictions.take(self.new_shape))

    @property
    def by_family(self) -> dict[str, Metrics]:
        """The figures of each family of rows."""
        return metrics_by_group(self.families, self.predictions)

    @property
    def totals(self) -> Metrics | None:
        """The figures of sums by the tag `model`, the network that a row is of; None where rows have no such tag."""
        names = [record.tags.get("model") for record in self.records]
        if not any(names):
            return None
        networks = sorted({name for name in names if name})
        index = np.array([networks.index(name) if name else -1 for name in names])
        known, rows = index >= 0, self.predictions
        measured, predicted = (
            np.bincount(index[known], values[known], len(networks)).astype(np.float64)
            for values in (rows.measured, rows.predicted)
        )
        return Metrics.of(Predictions(measured, predicted))


def rows_of_device(profile: Profile, records: Sequence[Record]) -> tuple[Record, ...]:
    """The records of the profile's device, where they are of several; all of them where they are of one.

    Raises UserError where they are of several and none is the profile's: no profile stands for two devices.
    """
    devices = sorted({record.device for record in records})
    if len(devices) < 2:
        return tuple(records)
    if profile.identity.device not in devices:
        raise UserError(
            f"the rows are of {len(devices)} devices ({', '.join(devices[:6])}), none of them the profile's "
            f"'{profile.identity.device}': choose one by --where device=..."
        )
    return tuple(record for record in records if record.device == profile.identity.device)


def validate(profile: Profile, records: Sequence[Record]) -> Validation:
    """Predict every record and compare; networks of our own programs by their kernels, where all of these are given.

    Raises UserError for no records, for networks whose layers nobody says, and where the rows that the profile was
    fitted to are too few to be held out of a fit to the others.
    """
    own = tuple(filter(is_own_network, records))
    if own and len(own) == len(records):
        raise UserError("networks that mnv3c compiled are judged by their kernels: give the records of these too")
    found = _compared(profile, [record for record in records if not is_own_network(record)])
    return _with_networks(profile, found, own) if own else found


def _compared(profile: Profile, records: Sequence[Record]) -> Validation:
    data = dataset_of(records, profile.model.physics.unit, profile.projected_shortcuts)
    seen = np.array([row_digest(record) in profile.seen for record in records])
    # Timers are coarse: a few rows of other networks agree with fitted ones to the last digit.
    seen &= seen.mean() >= _FEWEST_SEEN_SHARE
    if seen.any() and len(set(data.take(seen).groups)) < FEWEST_ROWS:
        raise UserError(
            f"the profile '{profile.name}' was fitted to {int(seen.sum())} of these rows, and they are too few for "
            "cross-validation: give all the rows that it was fitted to, or none"
        )
    predicted, low, high, families = _predictions(profile, data, records)
    if seen.any():
        out_of_fold = held_out(data.take(seen), profile.model.physics, profile.model.priors)
        scale = out_of_fold / predicted[seen]
        for values in (predicted, low, high):
            values[seen] *= scale
    shapes = {digest[: len(shape_digest(records[0]))] for digest in profile.seen}
    new_shape = np.array([shape_digest(record) not in shapes for record in records])
    return Validation(tuple(records), Predictions(data.latency_ms, predicted, low, high), seen, new_shape, families)


def _with_networks(profile: Profile, found: Validation, networks: Sequence[Record]) -> Validation:
    """With the networks all of whose kernels have been predicted: what these take in sum, rows seen held out."""
    wholes, rows = whole_networks(networks, found.records), found.predictions
    if not wholes or rows.low is None or rows.high is None:
        return found
    owner = np.repeat(np.arange(len(wholes)), [len(whole.kernels) for whole in wholes])
    index = np.concatenate([np.array(whole.kernels) for whole in wholes])
    predicted, low, high = rows.predicted[index], rows.low[index], rows.high[index]
    below, above = summed_widths(profile, (predicted - low, high - predicted), owner, len(wholes))
    sums = np.bincount(owner, predicted, len(wholes)).astype(np.float64)
    total, scale = profile.overhead.network_total_ms(sums, np.bincount(owner)), profile.overhead.scale
    measured = np.array([whole.record.latency_ms for whole in wholes])
    return Validation(
        (*found.records, *(whole.record for whole in wholes)),
        Predictions(
            np.append(rows.measured, measured),
            np.append(rows.predicted, total),
            np.append(rows.low, np.maximum(total - scale * below, 0.0)),
            np.append(rows.high, total + scale * above),
        ),
        np.append(found.seen, [bool(found.seen[list(whole.kernels)].any()) for whole in wholes]),
        np.append(found.new_shape, [bool(found.new_shape[list(whole.kernels)].any()) for whole in wholes]),
        (*found.families, *("network" for _ in wholes)),
    )


def _predictions(
    profile: Profile, data: Dataset, records: Sequence[Record]
) -> tuple[Floats, Floats, Floats, tuple[str, ...]]:
    units = predict_units(profile, data.table)
    count = len(data)
    sums_ms = np.bincount(data.unit_item, units.latency_ms, count).astype(np.float64)
    below, above = sum_interval(profile, units, data.unit_item, count)
    number = np.bincount(data.unit_item, minlength=count)
    whole = np.array([isinstance(record.work, NetworkWork) for record in records])
    total_ms = np.where(whole, profile.overhead.network_total_ms(sums_ms, number), sums_ms)
    first = np.searchsorted(data.unit_item, np.arange(count))
    families = tuple("network" if whole[item] else units.families[first[item]] for item in range(count))
    return total_ms, np.maximum(total_ms - below, 0.0), total_ms + above, families
