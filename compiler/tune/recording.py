"""What a measurement or an estimate becomes in the records."""

from datetime import UTC, datetime
from typing import Any

from mnv3c.compiler.tune.measure import Measurement
from mnv3c.compiler.tune.record import Basis, Record
from mnv3c.compiler.tune.space import Task
from mnv3c.compiler.tune.static_measure import Estimate
from mnv3c.compiler.tune.tuned_device import TunedDevice
from mnv3c.compiler.tune.work import HASH_DIGITS, candidate_name, kernels_fingerprint
from mnv3c.compiler.tune.worker import printable
from mnv3c.targets.target import Candidate

_REASON_CHARACTERS = 1000


def measured_record(measurement: Measurement, device: TunedDevice, threads: int, host: str) -> Record:
    """The record of what was measured just now; `host` says on which machine."""
    task, candidate, times = measurement.task, measurement.candidate, measurement.times
    return Record(
        **_about(task, candidate, device, host),
        threads=threads,
        status=measurement.status,
        reason=printable(measurement.reason, _REASON_CHARACTERS),
        median_us=round(times.median_us, 3) if times else None,
        min_us=round(times.min_us, 3) if times else None,
        baseline=candidate_name(times.baseline) if times else "",
        baseline_us=round(times.baseline_us, 3) if times else None,
        ratio=round(times.ratio, 5) if times else None,
        ratio_error=round(times.ratio_error, 5) if times else None,
        n=times.n if times else 0,
    )


def estimated_record(estimate: Estimate, basis: Basis, model: str, device: TunedDevice, host: str) -> Record:
    """The record of what was estimated just now, by the scheduling model of the processor `model`."""
    task, candidate = estimate.offer.task, estimate.offer.candidate
    per_mac = None if estimate.instructions is None or not task.macs else estimate.instructions / task.macs
    return Record(
        **_about(task, candidate, device, host),
        threads=1,
        status=estimate.status,
        reason=printable(estimate.reason, _REASON_CHARACTERS),
        basis=basis,
        model=model,
        estimated_cycles=None if estimate.cycles is None else round(estimate.cycles, 1),
        instructions_per_mac=None if per_mac is None else round(per_mac, 5),
    )


def _about(task: Task, candidate: Candidate, device: TunedDevice, host: str) -> dict[str, Any]:
    """What every record says: the layer, the candidate, the device, the present sources and time."""
    return {
        "layer": task.layer,
        "storage": task.key[1],
        "target": device.target,
        "device": device.name,
        "device_class": device.device_class,
        "device_fingerprint": device.fingerprint[:HASH_DIGITS],
        "kernels": kernels_fingerprint(),
        "family": candidate.family,
        "parameters": dict(candidate.parameters),
        "when": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "host": host,
    }
