"""Campaigns over real programs on real connections that break: every job ends, and none twice."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.compiler.transport.loopback import FakeAdb, SshServer, TvmFarm

from mnv3c.compiler.measure.campaign import Campaign
from mnv3c.compiler.measure.job import Job, Program
from mnv3c.compiler.measure.outcome import Outcome
from mnv3c.compiler.measure.places import find_machines
from mnv3c.compiler.measure.settings import Patience, Settings
from mnv3c.compiler.transport.local import HostMachine
from mnv3c.compiler.transport.machine import DeviceLostError, Machine
from mnv3c.graph.errors import MissingError
from mnv3c.profiles.record import RecordStore
from mnv3c.profiles.work import LayerWork, Work

MakeProgram = Callable[[int], Program]
# These programs take microseconds, so their times are as noisy as can be: nothing here is about noise.
SETTINGS = Settings(runs=5, rounds=4, most_rounds=8, max_noise=1e6)
PATIENCE = Patience(attempts=5, first_attempts=2, first_wait_s=0.02, most_wait_s=0.1)
RANDOM = random.Random(8)


def campaign(
    machines: Sequence[Machine],
    programs: Sequence[Program | str],
    jobs: Sequence[Job],
    store: RecordStore | None = None,
    settings: Settings = SETTINGS,
    patience: Patience = PATIENCE,
    said: list[str] | None = None,
    compiled: list[Work] | None = None,
) -> tuple[Outcome, ...]:
    by_work = {job.work: program for job, program in zip(jobs, programs, strict=True)}

    def prepare(wanted: Sequence[Job]) -> dict[Work, Program | str]:
        if compiled is not None:
            compiled.extend(job.work for job in wanted)
        return {job.work: by_work[job.work] for job in wanted}

    message = (said if said is not None else []).append
    return Campaign(machines, "cpu-x", settings, patience, prepare, store, message).run(jobs)


def of(programs: Sequence[Program]) -> list[Job]:
    return [program.job for program in programs]


def states(outcomes: Sequence[Outcome]) -> list[str]:
    return [outcome.state for outcome in outcomes]


def lines_per_work(path: Path) -> Counter[str]:
    """How often a work stands in a file of records, by its line and not by its key."""
    return Counter(json.loads(line)["work"] for line in path.read_text().splitlines())


class FlakyMachine(HostMachine):
    """This machine, which goes away in the middle of some calls, by their number."""

    def __init__(self, breaks: Sequence[int]) -> None:
        super().__init__()
        self.breaks, self.calls = set(breaks), 0

    def shell(self, script: str, limit_s: float) -> str:
        self.calls += 1
        text = super().shell(script, limit_s)
        if self.calls in self.breaks:
            raise DeviceLostError("pulled the plug", text[: len(text) // 2])
        return text


def test_a_network_and_its_layers(network_program: Program, tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "records.jsonl")
    (outcome,) = campaign([HostMachine()], [network_program], of([network_program]), store)
    assert outcome.state == "measured" and not outcome.reason
    assert [str(record.work) for record in outcome.records] == [
        *(str(row.work) for row in network_program.rows if row.work),
        str(network_program.job.work),
    ]
    own = outcome.records[-1]
    assert (own.device, own.processor, own.precision, own.threads) == ("cpu-x", "cpu", "fp32", 1)
    # A round that was still warming up does not count.
    assert own.tags == {"on": "host"} and own.n in (5 * 2, 5 * 3, 5 * 4)
    assert own.latency_ms == outcome.network_median_ms
    assert outcome.records[0].tags == {"on": "host", "network": "net", "layer": "stem", "ahead_bytes": "0"}
    assert outcome.records[0].how.endswith("; kernel scale")
    # The sum counts the conversion too, which has no record.
    layers_ms = sum(record.latency_ms for record in outcome.records[:-1])
    assert outcome.layer_sum_ms is not None and outcome.layer_sum_ms >= layers_ms
    assert outcome.additivity_error == pytest.approx(outcome.layer_sum_ms / own.latency_ms - 1)
    assert RecordStore(store.path).records == outcome.records


def test_each_place_on_its_own(
    layer_program: MakeProgram, sshd: SshServer, adb: FakeAdb, farm: TvmFarm, shell_library: Path
) -> None:
    """Host, ssh, adb (a fake one, which runs the program here) and TVM's farm at the same time."""
    programs = [layer_program(number) for number in range(10)]
    places = ["host", sshd.place, adb.place, farm.place]
    machines = find_machines(places, sshd.options, lambda: shell_library)
    outcomes = campaign(machines, programs, of(programs))
    assert states(outcomes) == ["measured"] * 40
    assert [outcome.where.place for outcome in outcomes[::10]] == places
    assert {outcome.record.tags["on"] for outcome in outcomes if outcome.record} == set(places)
    assert list(sshd.temporary.iterdir()) == [] == list((adb.folder / "device").iterdir()), "nothing is left there"


def test_a_place_that_is_not_there(layer_program: MakeProgram, sshd: SshServer) -> None:
    sshd.stop()
    programs = [layer_program(number) for number in range(10)]
    said: list[str] = []
    machines = find_machines([sshd.place, "host"], sshd.options, Path)
    outcomes = campaign(machines, programs, of(programs), said=said)
    assert states(outcomes) == ["failed"] * 10 + ["measured"] * 10
    assert all("went away: ssh: connect to host" in outcome.reason for outcome in outcomes[:10])
    assert len(said) == PATIENCE.first_attempts - 1 and "next attempt in 0.02 s" in said[0]


@pytest.mark.parametrize("breaks", [[1], [2], [3], [4], [5, 6, 7], [3, 5, 8, 12, 14], list(range(2, 60, 3))])
def test_a_device_that_goes_away_in_any_call(
    breaks: list[int], layer_program: MakeProgram, network_program: Program, tmp_path: Path
) -> None:
    programs = [network_program, *(layer_program(number) for number in range(10))]
    machine = FlakyMachine(breaks)
    store = RecordStore(tmp_path / "records.jsonl")
    outcomes = campaign([machine], programs, of(programs), store)
    assert states(outcomes) == ["measured"] * 11
    assert machine.calls >= min(breaks)
    assert set(lines_per_work(store.path).values()) == {1}


def test_a_device_that_never_gets_further_is_given_up(layer_program: MakeProgram) -> None:
    """It answers, but what matters never ends: the batch fails, and the next one is tried."""

    class Stuck(HostMachine):
        def shell(self, script: str, limit_s: float) -> str:
            if "bench-3" in script and "--check" in script:
                raise DeviceLostError("stuck")
            return super().shell(script, limit_s)

    programs = [layer_program(number) for number in range(10)]
    outcomes = campaign([Stuck()], programs, of(programs))
    assert states(outcomes) == ["failed"] * 8 + ["measured"] * 2
    assert "went away: stuck (" in outcomes[0].reason


def test_a_dropping_ssh_connection(layer_program: MakeProgram, sshd: SshServer, tmp_path: Path) -> None:
    """The device drops its connections ten times, and is off for a while twice, at moments that nobody chose."""
    programs = [layer_program(number) for number in range(32)]
    store = RecordStore(tmp_path / "records.jsonl")
    (machine,) = find_machines([sshd.place], sshd.options, Path)
    drops: list[str] = []
    done = threading.Event()

    def disturb() -> None:
        while len(drops) < 10 and not done.wait(RANDOM.uniform(0.05, 0.3)):
            if len(drops) in (3, 7):
                sshd.stop()
                time.sleep(0.3)
                sshd.start()
                drops.append("off")
            elif sshd.drop():
                drops.append("dropped")

    thread = threading.Thread(target=disturb)
    thread.start()
    patience = replace(PATIENCE, attempts=20, first_attempts=20)
    # Long enough to be hit ten times.
    settings = replace(SETTINGS, rounds=20, most_rounds=40)
    try:
        outcomes = campaign([machine], programs, of(programs), store, settings, patience)
    finally:
        done.set()
        thread.join()
    assert len(drops) == 10
    assert all(outcome.state == "measured" or outcome.reason for outcome in outcomes)
    assert states(outcomes) == ["measured"] * 32
    assert lines_per_work(store.path) == Counter({str(program.job.work): 1 for program in programs})
    assert list(sshd.temporary.iterdir()) == []


def test_what_is_measured_is_skipped(layer_program: MakeProgram, network_program: Program, tmp_path: Path) -> None:
    programs = [network_program, *(layer_program(number) for number in range(4))]
    store = RecordStore(tmp_path / "records.jsonl")
    first = campaign([HostMachine()], programs[:3], of(programs[:3]), store)
    before = store.path.read_bytes()
    compiled: list[Work] = []
    again = RecordStore(store.path)
    outcomes = campaign([HostMachine()], programs, of(programs), again, compiled=compiled)
    assert states(outcomes) == ["skipped"] * 3 + ["measured"] * 2
    assert compiled == [program.job.work for program in programs[3:]]
    assert outcomes[0].reason.startswith("already measured 20")
    assert outcomes[0].records == first[0].records and outcomes[0].network_median_ms == first[0].network_median_ms
    assert store.path.read_bytes().startswith(before)
    assert set(lines_per_work(store.path).values()) == {1}
    # Other settings are other work.
    other = campaign([HostMachine()], programs, of(programs), again, replace(SETTINGS, threads=2))
    assert states(other) == ["measured"] * 5


def test_a_failed_job_is_tried_again(layer_program: MakeProgram, tmp_path: Path) -> None:
    program = layer_program(1)
    store = RecordStore(tmp_path / "records.jsonl")
    (failed,) = campaign([HostMachine()], ["target 'x' has no kernel for it"], [program.job], store)
    assert (failed.state, failed.reason) == ("failed", "target 'x' has no kernel for it")
    assert states(campaign([HostMachine()], [program], [program.job], store)) == ["measured"]


def test_one_bad_program_spoils_no_other(layer_program: MakeProgram) -> None:
    programs = [layer_program(number) for number in range(5)]
    other = "aarch64" if programs[0].architecture == "x86_64" else "x86_64"
    programs[0] = replace(programs[0], architecture=other)
    _script(programs[1], 'case "$*" in *--check*) exit 1;; esac; echo {}')
    _script(programs[2], "kill -ILL $$")
    _script(programs[3], 'case "$*" in *--check*) exit 0;; esac; echo "no JSON"')
    programs[1:4] = [replace(each, size_bytes=each.bench.stat().st_size) for each in programs[1:4]]
    outcomes = campaign([HostMachine()], programs, of(programs))
    assert states(outcomes) == ["failed"] * 4 + ["measured"]
    for outcome, reason in zip(
        outcomes,
        (f"compiled for {other}, the device is", "outputs are wrong", "lacks instructions", "printed no report"),
        strict=False,
    ):
        assert reason in outcome.reason


def _script(program: Program, text: str) -> None:
    program.bench.write_text(f"#!/bin/sh\n{text}\n")


def test_noise_beyond_the_bound_is_refused(network_program: Program, tmp_path: Path) -> None:
    """No timing of microseconds is certain to a millionth of a per cent."""
    program, store = network_program, RecordStore(tmp_path / "records.jsonl")
    settings = replace(SETTINGS, max_noise=1e-9)
    (outcome,) = campaign([HostMachine()], [program], [program.job], store, settings)
    assert outcome.state == "failed" and outcome.records == () == store.records
    assert "after 8 rounds; the bound is 0.0%" in outcome.reason and outcome.noise is not None


def test_a_full_disk_ends_the_campaign(layer_program: MakeProgram, tmp_path: Path) -> None:
    programs = [layer_program(number) for number in range(3)]

    class Full(RecordStore):
        def append(self, record: object) -> bool:
            raise MissingError("cannot write the records: No space left on device")

    with pytest.raises(MissingError, match="No space left"):
        campaign([HostMachine()], programs, of(programs), Full(tmp_path / "records.jsonl"))


def test_equal_jobs_count_once(layer_program: MakeProgram) -> None:
    program = layer_program(1)
    assert states(campaign([HostMachine()], [program, program], of([program, program]))) == ["measured"]


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from mnv3c.compiler.measure.job import Job, Program, Row
from mnv3c.profiles.record import RecordStore
from mnv3c.compiler.transport.local import HostMachine
from tests.compiler.measure.conftest import GRAPH, key
from tests.compiler.measure.test_campaign import SETTINGS, campaign, of
from mnv3c.profiles.work import LayerWork

def program(number):
    work = LayerWork(key(number))
    rows = (Row("stem", None, "a"), Row("layer", work, "b"), Row("head", None, "c"))
    path = Path({folder!r}) / f"bench{{number}}"
    return Program(Job(f"layer {{number}}", work, GRAPH), path, path.name, path.stat().st_size, {architecture!r}, rows)

programs = [program(number) for number in range({count})]
campaign([HostMachine()], programs, of(programs), RecordStore(Path({store!r})))
print("complete")
"""


def test_killed_at_any_moment_nothing_is_lost_or_measured_twice(layer_program: MakeProgram, tmp_path: Path) -> None:
    """kill -9, again and again: the file only grows, no line is torn or doubled, and in the end all is there."""
    count = 30
    programs = [layer_program(number) for number in range(count)]
    path = tmp_path / "records.jsonl"
    root = str(Path(__file__).parents[3])
    code = KILLED.format(
        root=root, folder=str(tmp_path), architecture=programs[0].architecture, count=count, store=str(path)
    )
    before, kills = b"", 0
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    for _ in range(60):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
        grown = _wait_for_growth(path, process, RANDOM.uniform(0.0, 0.2))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        said, _ = process.communicate()
        assert path.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
        before = path.read_bytes()
        if "complete" in said:
            break
        assert grown, "a run that was not killed must end"
    assert kills >= 2
    assert lines_per_work(path) == Counter({str(program.job.work): 1 for program in programs})
    assert all(isinstance(record.work, LayerWork) for record in RecordStore(path).records)


def _wait_for_growth(path: Path, process: "subprocess.Popen[str]", longer_s: float) -> bool:
    """Wait until a record has come, and a little longer."""
    size = path.stat().st_size if path.exists() else 0
    end = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < end:
        if path.exists() and path.stat().st_size > size:
            time.sleep(longer_s)
            return True
        time.sleep(0.005)
    return process.poll() is not None
