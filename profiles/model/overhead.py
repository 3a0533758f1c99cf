"""What whole networks take beside their kernels: launches, read-back, whatever else happens once an inference."""

from collections.abc import Sequence

import numpy as np

from mnv3c.graph.errors import UserError
from mnv3c.profiles.profile import Identity, NetworkOverhead
from mnv3c.profiles.record import Record
from mnv3c.profiles.work import NetworkWork

# The tag by which a record of a kernel says of which network it is.
NETWORK_TAG = "model"


def fit_overhead(kernels: Sequence[Record], networks: Sequence[Record], identity: Identity) -> NetworkOverhead:
    """Milliseconds once a network, and for each of its kernels, by which networks exceed the sum of their kernels.

    `networks` are end-to-end records; those of other processors, and of networks of which `kernels` has none, do not
    enter. Least squares of relative errors, both numbers at least 0. Raises UserError where fewer than three match.
    """
    from scipy.optimize import nnls

    rows: list[tuple[float, float]] = []
    target: list[float] = []
    by_network: dict[str, list[float]] = {}
    for record in kernels:
        if NETWORK_TAG in record.tags:
            by_network.setdefault(record.tags[NETWORK_TAG], []).append(record.latency_ms)
    for record in networks:
        parts = by_network.get(record.work.name, []) if isinstance(record.work, NetworkWork) else []
        if parts and (record.device, record.processor) == (identity.device, identity.processor):
            rows.append((1 / record.latency_ms, len(parts) / record.latency_ms))
            target.append(1 - sum(parts) / record.latency_ms)
    if len(rows) < 3:
        raise UserError(
            f"{len(rows)} of the networks are of {identity.device} {identity.processor} and have kernels among the "
            "records; 3 are needed for what a network takes beside its kernels"
        )
    (once_ms, each_ms), _ = nnls(np.array(rows), np.array(target))
    return NetworkOverhead(float(once_ms), float(each_ms))
