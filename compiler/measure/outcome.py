"""What became of a job on a device, and the records that it leaves."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Literal

from mnv3c.compiler.measure.job import Job, Program
from mnv3c.compiler.measure.readings import Readings, changed_clock
from mnv3c.compiler.measure.samples import Samples, Timing
from mnv3c.compiler.measure.settings import Settings
from mnv3c.profiles.physics.registry import OWN_RUNTIME
from mnv3c.profiles.record import AHEAD_TAG, OWN_NETWORK_TAG, Record, RecordKey
from mnv3c.profiles.work import NetworkWork, Work

State = Literal["measured", "failed", "skipped"]
ALREADY_MEASURED = "already measured"
# Something else had the processor: it cuts into whole runs, not into most layers, and no interval over rounds shows it.
SUM_DIFFERS = "sum-differs"
_ADDITIVE = 0.15


@dataclass(frozen=True)
class Where:
    """What is measured on: the place as --on names it, and the device that the program was compiled for."""

    place: str
    device: str


@dataclass(frozen=True)
class Outcome:
    """The end of a job: measured, failed or skipped, and why.

    `records` are of the job itself and, for a network, of its layers; `refused` names layers whose noise exceeded the
    bound. `layer_sum_ms` is the sum over all of a network's calls; None where it is not known.
    """

    job: Job
    where: Where
    state: State
    reason: str = ""
    records: tuple[Record, ...] = ()
    refused: tuple[str, ...] = ()
    layer_sum_ms: float | None = None
    noise: float | None = None

    @property
    def record(self) -> Record | None:
        """The job's own record."""
        return next((each for each in self.records if each.work == self.job.work), None)

    @property
    def network_median_ms(self) -> float | None:
        """The whole network's latency; None for a layer."""
        record = self.record
        return record.latency_ms if record is not None and isinstance(self.job.work, NetworkWork) else None

    @property
    def additivity_error(self) -> float | None:
        """By how much the sum of the layers exceeds the network, relative to the network."""
        network_ms = self.network_median_ms
        return None if network_ms is None or self.layer_sum_ms is None else self.layer_sum_ms / network_ms - 1


@dataclass(frozen=True)
class RecordMaker:
    """Makes the records of one device in one campaign."""

    where: Where
    settings: Settings

    def key(self, work: Work) -> RecordKey:
        """The key of a job's own record, to see whether there is one already."""
        return self._record(work, 1.0, {}).key

    def outcome(self, program: Program, samples: Samples, readings: Sequence[Readings]) -> Outcome:
        """The outcome of a job whose rounds are complete: measured, or failed for noise."""
        job, bound = program.job, self.settings.max_noise
        main = samples.main(bound)
        if "noisy" in main.summary.flags:
            reason = (
                f"its median of {main.summary.median:.6g} ms is uncertain by {main.summary.noise:.1%} after "
                f"{samples.rounds} rounds; the bound is {bound:.1%}"
            )
            return Outcome(job, self.where, "failed", reason, noise=main.summary.noise)
        own = self._measured(job.work, main, samples, readings)
        if not program.whole:
            return Outcome(job, self.where, "measured", records=(own,), noise=main.summary.noise)
        rows = [samples.row(index, bound) for index in range(len(program.rows))]
        records, refused = self._layers(program, samples, rows, readings)
        layer_sum_ms = sum(timing.summary.median for timing in rows)
        if abs(layer_sum_ms / own.latency_ms - 1) > _ADDITIVE:
            own = own.model_copy(update={"flags": (*own.flags, SUM_DIFFERS)})
        return Outcome(job, self.where, "measured", "", (*records, own), refused, layer_sum_ms, main.summary.noise)

    def skipped(self, job: Job, records: Mapping[RecordKey, Record]) -> Outcome | None:
        """The outcome of a job that an earlier run has finished, from its records; None where it has not."""
        own = records.get(self.key(job.work))
        if own is None:
            return None
        reason = f"{ALREADY_MEASURED} {own.when}"
        if not isinstance(job.work, NetworkWork):
            return Outcome(job, self.where, "skipped", reason, (own,))
        layers = tuple(record for record in records.values() if self._is_layer_of(record, job))
        found = sorted(str(key) for record in layers for key in record.work.layer_keys())
        # What was too noisy has no record, and conversions have none.
        complete = found == sorted(map(str, job.work.layers))
        layer_sum_ms = sum(record.latency_ms for record in layers) if complete else None
        return Outcome(job, self.where, "skipped", reason, (*layers, own), layer_sum_ms=layer_sum_ms)

    def _layers(
        self, program: Program, samples: Samples, rows: Sequence[Timing], readings: Sequence[Readings]
    ) -> tuple[tuple[Record, ...], tuple[str, ...]]:
        records, refused = [], []
        for row, timing in zip(program.rows, rows, strict=True):
            if row.work is None:
                continue
            if "noisy" in timing.summary.flags:
                refused.append(row.name)
                continue
            tags = self._layer_tags(program.job, row.name) | {AHEAD_TAG: str(row.ahead_bytes)}
            records.append(self._measured(row.work, timing, samples, readings, tags, f"; kernel {row.kernel}"))
        return tuple(records), tuple(refused)

    def _is_layer_of(self, record: Record, job: Job) -> bool:
        """Whether a record is of a layer in a network that was measured so."""
        layer = record.tags.get("layer")
        if layer is None or record.tags.get(OWN_NETWORK_TAG) != job.name:
            return False
        ahead = {name: text for name, text in record.tags.items() if name == AHEAD_TAG}
        return self._record(record.work, 1.0, {}, self._layer_tags(job, layer) | ahead).key == record.key

    def _layer_tags(self, job: Job, layer: str) -> dict[str, str]:
        return {OWN_NETWORK_TAG: job.name, "layer": layer}

    def _measured(
        self,
        work: Work,
        timing: Timing,
        samples: Samples,
        readings: Sequence[Readings],
        tags: dict[str, str] | None = None,
        remark: str = "",
    ) -> Record:
        summary = timing.summary
        flags = [*summary.flags, *(["clock-changed"] if _clock_changed(readings) else [])]
        how = (
            f"mnv3c measure on {self.where.place} ({samples.cpu_model}): {summary.n} rounds of {samples.runs} runs "
            f"after {samples.warmup}, each round in a process of its own; median of the rounds' medians, p10 and p90 "
            f"of the runs (median over rounds), std and 95 % interval over rounds; "
            f"{readings[-1].text if readings else 'no readings'}{remark}"
        )
        values: dict[str, object] = {
            "n": timing.runs,
            "p10_ms": timing.p10_ms,
            "p90_ms": timing.p90_ms,
            "std_ms": summary.std,
            "ci_low_ms": summary.ci_low,
            "ci_high_ms": summary.ci_high,
            "clock_hz": samples.clock_hz,
            "flags": tuple(flags),
            "who": f"mnv3c on {platform.node()}"[:200],
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "how": how[:2000],
        }
        return self._record(work, summary.median, values, tags)

    def _record(
        self, work: Work, latency_ms: float, values: dict[str, object], tags: dict[str, str] | None = None
    ) -> Record:
        cpu = {"cpu": str(self.settings.cpu)} if self.settings.cpu is not None else {}
        fields: dict[str, object] = {
            "work": work,
            "device": self.where.device,
            "processor": "cpu",
            "runtime": f"{OWN_RUNTIME} {version(OWN_RUNTIME)}",
            "precision": "fp32",
            "threads": self.settings.threads,
            "latency_ms": latency_ms,
            "tags": {"on": self.where.place, **cpu, **(tags or {})},
            **values,
        }
        return Record.model_validate(fields)


def _clock_changed(readings: Sequence[Readings]) -> bool:
    return len(readings) > 1 and changed_clock(readings[0], readings[-1])
