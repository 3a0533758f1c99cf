"""From measured records to a profile that says how far to trust it."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from mnv3c.graph.errors import UserError
from mnv3c.profiles.block import Block
from mnv3c.profiles.metrics import Metrics, Predictions
from mnv3c.profiles.model.crossval import held_out
from mnv3c.profiles.model.dataset import Dataset, dataset_of
from mnv3c.profiles.model.fit import fit, log_evidence
from mnv3c.profiles.model.intervals import Intervals, conformal
from mnv3c.profiles.model.model import Model
from mnv3c.profiles.model.overhead import fit_overhead
from mnv3c.profiles.model.own_networks import fit_scale, is_own_network
from mnv3c.profiles.physics.base import Floats, Physics, family_names
from mnv3c.profiles.physics.compiled_cpu import CompiledCpuPhysics
from mnv3c.profiles.physics.compiled_device import compiled_physics
from mnv3c.profiles.physics.registry import own_runtime, physics_of, suits
from mnv3c.profiles.profile import (
    CrossValidation,
    Identity,
    NetworkOverhead,
    Profile,
    Provenance,
    joined_ranges,
    shape_ranges,
)
from mnv3c.profiles.record import OWN_NETWORK_TAG, UNKNOWN, Record
from mnv3c.targets.device import CpuDevice

FEWEST_ROWS = 3
_SHAPE_DIGITS, _ROW_DIGITS = 8, 4


@dataclass(frozen=True)
class Request:
    """What the user asks for.

    A name, priors, end-to-end records of networks whose kernels are calibrated, a kind of physics where the records do
    not tell, the device that our own code was compiled for, and the command line.
    """

    name: str
    priors: tuple[Profile, ...] = ()
    networks: tuple[Record, ...] = ()
    physics: Physics | None = None
    device: CpuDevice | None = None
    how: str = ""


def calibrate(records: Sequence[Record], request: Request) -> Profile:
    """The profile fitted to records of one device.

    End-to-end records of our own programs do not enter the fit: they tell by how much networks differ from the sum of
    their kernels.

    Raises UserError for fewer than `FEWEST_ROWS` records, for records of several devices or runtimes, for a processor
    that no physics knows, for priors that do not fit, and for records of our own code where the request has no device.
    """
    measured_beside = tuple(filter(is_own_network, records))
    records = [record for record in records if not is_own_network(record)]
    if len(records) < FEWEST_ROWS:
        raise UserError(f"{len(records)} records are too few to fit anything to: at least {FEWEST_ROWS} are needed")
    identity = common_identity(records)
    priors = [prior.model for prior in request.priors]
    if identity.processor == UNKNOWN and not priors and request.physics is None:
        raise UserError("nobody says what processor the rows are of: state it, as --set processor=cpu")
    own = own_runtime(identity.runtime) and request.physics is None
    physics = _own_physics(identity, request) if own else request.physics
    physics = physics or (priors[0].physics if priors else physics_of(identity.processor, identity.runtime))
    if priors and not own and request.physics is None and not suits(physics, identity.processor):
        raise UserError(
            f"a prior of the kind {physics.name} says nothing about the processor '{identity.processor}'; "
            f"--physics {physics.name} takes it all the same"
        )
    data, projected = _as_built(records, physics, priors)
    model = fit(data, physics, priors)
    families = family_names(physics, physics.family(data.table))
    predicted_ms = held_out(data, physics, priors)
    return Profile(
        request.name,
        identity,
        model,
        _intervals(data, families, _together(records, data), predicted_ms, physics.usual_error),
        joined_ranges([shape_ranges(data.table, families), *(prior.ranges for prior in request.priors)]),
        _overhead(records, request.networks, measured_beside, identity),
        _provenance(records, request),
        _cross_validation(data, predicted_ms),
        frozenset(map(row_digest, records)),
        projected,
        request.device.core_class if own and request.device else "",
    )


def _own_physics(identity: Identity, request: Request) -> Physics:
    if request.device is None:
        raise UserError(
            f"the records are of programs that mnv3c compiled, measured on {identity.device}: state the device that "
            "they were compiled for"
        )
    known = physics_of(identity.processor, identity.runtime)
    return compiled_physics(request.device, identity.threads) if isinstance(known, CompiledCpuPhysics) else known


def _overhead(
    records: Sequence[Record], networks: Sequence[Record], measured_beside: Sequence[Record], identity: Identity
) -> NetworkOverhead:
    if not own_runtime(identity.runtime):
        return fit_overhead(records, networks, identity) if networks else NetworkOverhead()
    scale = fit_scale((*networks, *measured_beside), records)
    if scale is None and networks:
        raise UserError(
            f"of none of the {len(networks)} networks are all kernels among the records: nothing tells by how much a "
            "network differs from the sum of its kernels"
        )
    return NetworkOverhead(scale=scale or 1.0)


def row_digest(record: Record) -> str:
    """A short digest of what was measured and what came out, by which a row is known again in another file.

    It begins with `shape_digest`.
    """
    row = hashlib.sha256(f"{record.work}|{record.latency_ms:.6g}".encode()).hexdigest()
    return shape_digest(record) + row[:_ROW_DIGITS]


def shape_digest(record: Record) -> str:
    """A short digest of what was measured."""
    return hashlib.sha256(str(record.work).encode()).hexdigest()[:_SHAPE_DIGITS]


def common_identity(records: Sequence[Record]) -> Identity:
    """What all records are of. Raises UserError naming what there is, where they are of several."""
    counts = Counter(Identity(r.device, r.processor, r.runtime, r.precision, r.threads) for r in records)
    if len(counts) > 1:
        devices = sorted({", ".join(map(str, vars(identity).values())) for identity in counts})
        raise UserError(
            f"the records are of {len(counts)} devices or runtimes ({'; '.join(devices[:4])}): choose one by --where"
        )
    return next(iter(counts))


def _as_built(records: Sequence[Record], physics: Physics, priors: Sequence[Model]) -> tuple[Dataset, bool]:
    """The rows, and whether blocks had projected shortcuts: tables of blocks do not tell, but latencies do."""
    plain = dataset_of(records, physics.unit)
    if not any(isinstance(record.work, Block) and not record.work.skip for record in records):
        return plain, False
    projected = dataset_of(records, physics.unit, projected_shortcuts=True)
    had = log_evidence(projected, physics, priors) > log_evidence(plain, physics, priors)
    return (projected if had else plain), had


def _together(records: Sequence[Record], data: Dataset) -> tuple[str, ...]:
    """(items,) whose errors go together as those of one network: kernels of one, where records say of which."""
    return tuple(record.tags.get(OWN_NETWORK_TAG, group) for record, group in zip(records, data.groups, strict=True))


def _intervals(
    data: Dataset, families: Sequence[str], together: Sequence[str], predicted_ms: Floats, usual: float
) -> Intervals:
    log_ratios = np.log(data.latency_ms / predicted_ms)
    return conformal(log_ratios, families if data.single else ["network"] * len(data), together, usual)


def _provenance(records: Sequence[Record], request: Request) -> Provenance:
    sources = sorted({" ".join(filter(None, (r.source, f"({r.licence})" if r.licence else ""))) for r in records})
    return Provenance(
        len(records),
        tuple(filter(None, sources)),
        tuple(prior.name for prior in request.priors),
        datetime.now(UTC).date().isoformat(),
        request.how,
    )


def _cross_validation(data: Dataset, predicted_ms: Floats) -> CrossValidation:
    metrics = Metrics.of(Predictions(data.latency_ms, predicted_ms))
    groups = len(set(data.groups))
    by = "resolution" if data.groups[0].startswith("resolution") else "shape"
    figures = (metrics.mape, metrics.rmspe, metrics.within_5, metrics.within_10, metrics.bias)
    return CrossValidation(f"held out by {by}", groups, *(float(figure or 0.0) for figure in figures))
