"""The points of a sweep in a file of JSON lines, so that one that was interrupted goes on where it stopped."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mnv3c.graph.errors import UserError
from mnv3c.profiles.jsonl_store import JsonlStore, LineFormat
from mnv3c.search.sweep import Place, sweep
from mnv3c.search.workers import Workers, work_kept_in
from mnv3c.targets.edgetpu.device import AcceleratorDevice
from mnv3c.targets.edgetpu.sweep import Point, Setting, Workload

_Key = tuple[str, str, tuple[Setting, ...]]
_NUMBERS = (
    "total_cycles", "total_ms", "energy_uj", "area_mm2", "utilization", "dram_bytes", "peak_sram_bytes"
)  # fmt: skip


@dataclass(frozen=True)
class StoredPoint:
    """A point, and of what: digests of the network's work and of the device that its settings start from."""

    workload: str
    device: str
    point: Point

    @property
    def key(self) -> _Key:
        """Points with one key are the same."""
        return self.workload, self.device, self.point.settings


def resumed_sweep(
    path: Path, workloads: Sequence[Workload], device: AcceleratorDevice, places: Sequence[Place], workers: Workers
) -> Iterator[tuple[Place, Point]]:
    """The points of `sweep`, those in the file first; new ones are appended to it as they are done.

    Raises UserError where the file holds something else, MissingError where it cannot be written or workers are lost.
    """
    store = JsonlStore(
        path, LineFormat(_encode, _decode, lambda stored: stored.key, lambda _, newer: newer, b'{"point"')
    )
    store.require_writable()
    known = {stored.key: stored.point for stored in store.records}
    digests = [workload.digest for workload in workloads]
    missing: list[Place] = []
    for place in places:
        found = known.get((digests[place.workload], device.fingerprint, place.settings))
        if found is not None:
            yield place, found
        else:
            missing.append(place)
    with work_kept_in(path):
        for place, point in sweep(workloads, device, missing, workers):
            store.append(StoredPoint(digests[place.workload], device.fingerprint, point))
            yield place, point


def _encode(stored: StoredPoint) -> bytes:
    document = {"point": asdict(stored.point), "workload": stored.workload, "device": stored.device}
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _decode(line: bytes, origin: str) -> StoredPoint:
    try:
        document = json.loads(line)
        point = document["point"]
        settings = tuple((str(key), str(value)) for key, value in point["settings"])
        numbers = {name: point[name] for name in _NUMBERS}
        if not all(isinstance(value, int | float) for value in numbers.values()):
            raise ValueError
        read = Point(str(point["network"]), settings, **numbers, problem=str(point["problem"]))
        return StoredPoint(str(document["workload"]), str(document["device"]), read)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{origin}: is not a point of a sweep") from None
