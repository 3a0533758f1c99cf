"""Warm-up, scripts, readings, and what benches say."""

import json
import math
from pathlib import Path

import pytest

from mnv3c.compiler.measure.readings import READINGS_SCRIPT, Readings, changed_clock, parse_readings
from mnv3c.compiler.measure.samples import parse_report
from mnv3c.compiler.measure.script import open_script, opened, ran, run_script
from mnv3c.compiler.measure.settings import Patience, Settings
from mnv3c.compiler.measure.warm_up import probe_counts, steady_after
from mnv3c.compiler.transport.local import HostMachine

COUNTS = (0, 1, 2, 4, 8, 16, 32, 64)


@pytest.mark.parametrize(
    ("times_ms", "warm_up"),
    [
        ([5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0], 2),
        ([9.0, 8.0, 7.0, 5.0, 5.0, 5.0, 5.0, 5.0], 4),
        ([9.0, 8.0, 7.0, 6.0, 5.5, 5.3, 5.0, 5.0], 32),
        # A processor that speeds up until the end, and one that slows down as it gets hot.
        ([9.0, 8.0, 7.0, 6.5, 6.0, 5.5, 5.2, 5.0], 32),
        ([5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 6.0], 64),
    ],
)
def test_steady_after(times_ms: list[float], warm_up: int) -> None:
    assert steady_after(COUNTS, times_ms) == warm_up


def test_probes_of_slow_programs_are_few() -> None:
    assert probe_counts(1e-4) == COUNTS
    assert probe_counts(0.1) == (0, 1, 2, 4, 8)
    assert probe_counts(60.0) == (0, 1, 2)


def test_runs_of_a_round() -> None:
    assert Settings().runs_of(1e-6) == 1000
    assert Settings().runs_of(0.001) == 20
    assert Settings().runs_of(10.0) == 10
    assert Settings(runs=3).runs_of(1e-6) == 3


def test_patience_doubles() -> None:
    patience = Patience(first_wait_s=1.0, most_wait_s=10.0)
    assert [patience.wait_s(n) for n in range(1, 7)] == [1, 2, 4, 8, 10, 10]
    assert patience.wait_s(10_000) == 10


class TestScripts:
    def test_commands_of_every_kind(self, tmp_path: Path) -> None:
        commands = {
            "good": ("echo", "a 'quoted' $word"),
            "bad": ("sh", "-c", "echo out; echo why >&2; exit 7"),
            "silent": ("false",),
            "killed": ("sh", "-c", "kill -9 $$"),
            "absent": ("./not-there",),
            "reader": ("cat",),
        }
        found = ran(HostMachine().shell(run_script(str(tmp_path), commands.items()), 30))
        assert [run.tag for run in found] == list(commands)
        assert [run.status for run in found] == [0, 7, 1, 137, 127, 0]
        assert found[0].text == "a 'quoted' $word\n" and found[0].problem is None
        assert [run.problem for run in found[1:4]] == ["why", "exit status 1", "was ended by signal 9"]

    def test_a_cut_off_script_keeps_what_ended(self) -> None:
        text = "@begin 0.whole\n{}\n@status 0.whole 0\n@begin 1.whole\n{}\n@status 1.wh"
        assert [run.tag for run in ran(text)] == ["0.whole"]

    def test_the_folder_is_ours_alone(self, tmp_path: Path) -> None:
        machine = HostMachine()
        script = open_script(f"'{tmp_path}'", "mnv3c-x")
        found = opened(machine.shell(script, 30))
        assert found is not None and found.folder == f"{tmp_path}/mnv3c-x" and found.sizes_bytes == {}
        machine.shell(f"cd {found.folder}; printf 12345 > bench", 30)
        again = opened(machine.shell(f"{script}ls -ld .", 30))
        assert again is not None and again.sizes_bytes == {"bench": 5}
        assert "drwx------" in machine.shell(f"ls -ld {found.folder}", 30)
        assert opened("") is None

    def test_who_comes_back_ends_what_it_left_running(self, tmp_path: Path) -> None:
        machine = HostMachine()
        script = open_script(f"'{tmp_path}'", "mnv3c-x")
        found = opened(machine.shell(script, 30))
        assert found is not None
        # As a dropped connection leaves it: a shell with its command, which nobody waits for.
        left = run_script(found.folder, [("long", ("sleep", "300")), ("more", ("sleep", "301"))])
        inner = f"setsid sh -s >/dev/null 2>&1 <<'LEFT' &\n{left}LEFT\nsleep 1; cat {found.folder}/pids"
        pids = machine.shell(inner, 30).split()
        assert len(pids) == 2
        alive = f"for p in {' '.join(pids)}; do [ -e /proc/$p ] && grep -q '[)] [^Z]' /proc/$p/stat && echo $p; done"
        assert machine.shell(alive, 30).split() == pids
        machine.shell(script, 30)
        assert machine.shell(f"sleep 0.2; {alive}", 30) == ""


class TestReadings:
    LINES = (
        "@reading /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor schedutil",
        "@reading /sys/devices/system/cpu/cpu4/cpufreq/scaling_governor performance",
        "@reading /sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq 1800000",
        "@reading /sys/devices/system/cpu/cpu4/cpufreq/scaling_cur_freq 2400000",
        "@reading /sys/class/thermal/thermal_zone0/type cpu-thermal",
        "@reading /sys/class/thermal/thermal_zone0/temp 48250",
        "@reading /sys/class/thermal/thermal_zone1/temp -273000",
        "@reading /sys/class/thermal/thermal_zone2/temp",
        "@reading /proc/loadavg 0.25 0.50 0.75 1/234 5678",
        "@begin something else",
    )

    def test_what_a_board_shows(self) -> None:
        found = parse_readings(self.LINES)
        assert found == Readings(
            ("performance", "schedutil"), (1.8e9, 2.4e9), (("thermal_zone0 (cpu-thermal)", 48.25),), 0.25
        )
        assert found.text == (
            "governor performance/schedutil, clock 1800-2400 MHz, hottest thermal_zone0 (cpu-thermal) 48 C, load 0.25"
        )

    def test_what_shows_nothing(self) -> None:
        assert parse_readings(()) == Readings()
        assert Readings().text == "no clock, governor or temperature shown"

    def test_this_machine_shows_its_load(self) -> None:
        found = parse_readings(HostMachine().shell(READINGS_SCRIPT, 30).splitlines())
        assert found.load is not None and found.load >= 0

    def test_a_throttled_clock(self) -> None:
        cool, hot = Readings(clocks_hz=(1e9, 2e9)), Readings(clocks_hz=(1e9, 1.5e9))
        assert changed_clock(cool, hot) and changed_clock(hot, cool)
        assert not changed_clock(cool, Readings(clocks_hz=(2e9, 1.98e9)))
        assert not changed_clock(cool, Readings()) and not changed_clock(Readings(), hot)


DOCUMENT = {"median_ms": 2.0, "p10_ms": 1.0, "p90_ms": 3.0, "cpu_model": "x", "frequency_hz": None, "layers": []}


class TestReports:
    def test_units(self) -> None:
        layer = {"median_us": 1500.0, "p10_us": 1000.0, "p90_us": 2000.0}
        report = parse_report(json.dumps({**DOCUMENT, "layers": [layer]}), 1)
        assert report.whole.median_ms == 2.0 and report.rows[0].median_ms == 1.5 and report.clock_hz is None

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "Expecting value"),
            ("[]", "lacks"),
            ("{}", "lacks 'median_ms'"),
            (json.dumps({**DOCUMENT, "layers": [{}, {}]}), "lacks 'median_us'"),
            (json.dumps({**DOCUMENT, "median_ms": 0.0}), "the network took 0 ms"),
            (json.dumps({**DOCUMENT, "p90_ms": math.inf}), "the network took 2 ms"),
            (json.dumps({**DOCUMENT, "median_ms": "2"}), "lacks"),
            (json.dumps(DOCUMENT), None),
        ],
    )
    def test_what_is_no_report(self, text: str, message: str | None) -> None:
        if message is None:
            assert parse_report(text, 3).rows == ()
            return
        with pytest.raises(ValueError, match=message):
            parse_report(text, 3)
