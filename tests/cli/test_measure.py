"""`mnv3c measure`: its document, its file of records, its refusals. No test looks at how long a thing takes."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Mnv3c
from tests.compiler.transport.loopback import SshServer, ssh_server

from mnv3c.profiles.record import RecordStore

# Few rounds, whatever the noise.
QUICK = ("--rounds", "4", "--runs", "4", "--max-noise", "100%")
LAYERS = (
    "conv2d 1x7x7x32->1x7x7x48 bias=yes activation=relu",
    "conv2d 1x8x8x24->1x8x8x24 kernel=3x3 padding=1x1x1x1 groups=24 bias=yes activation=relu",
)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_server(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def layers(tmp_path: Path) -> Path:
    path = tmp_path / "layers.txt"
    path.write_text("\n".join(LAYERS) + "\n")
    return path


def document(text: str) -> Any:
    return json.loads(text)


def test_a_network_on_this_host(mnv3c: Mnv3c, tiny_yaml: Path) -> None:
    found = mnv3c("measure", tiny_yaml, *QUICK, "--json").document
    assert set(found) == {"records", "network_median_ms", "layer_sum_ms", "additivity_error", "jobs"}
    assert found["network_median_ms"] > 0 and found["layer_sum_ms"] > 0
    error = found["layer_sum_ms"] / found["network_median_ms"] - 1
    assert found["additivity_error"] == pytest.approx(error)
    (job,) = found["jobs"]
    assert (job["on"], job["kind"], job["state"], job["reason"]) == ("host", "network", "measured", None)
    assert job["ci_low_ms"] <= job["median_ms"] <= job["ci_high_ms"]
    *rows, network = found["records"]
    assert network["work"].startswith("network ") and network["latency_ms"] == found["network_median_ms"]
    assert len(rows) > 10 and all(row["tags"]["network"] == job["name"] for row in rows)
    assert all("measure on host" in record["how"] and record["when"] and record["who"] for record in found["records"])


def test_the_table_says_what_was_measured_and_where(mnv3c: Mnv3c, tiny_yaml: Path, layers: Path) -> None:
    outcome = mnv3c("measure", tiny_yaml, "--layers", layers, *QUICK)
    outcome.require_success()
    header, *rows = outcome.stdout.splitlines()
    assert header.split()[:2] == ["median", "ms"]
    assert [("host" in row, "measured" in row) for row in rows[:3]] == [(True, True)] * 3
    assert "measured on host (" in outcome.stdout


def test_ssh_and_the_file_of_records(mnv3c: Mnv3c, sshd: SshServer, layers: Path, tmp_path: Path) -> None:
    options = [word for option in sshd.options for word in ("--ssh-option", option)]
    path = tmp_path / "records.jsonl"
    words = ("measure", "--layers", layers, "--on", sshd.place, "--on", "host", *options, *QUICK, "-o", path, "--json")
    first = mnv3c(*words).document
    assert first["records"] == str(path) and first["network_median_ms"] is None
    assert [(job["on"], job["state"]) for job in first["jobs"]] == [
        (place, "measured") for place in (sshd.place, "host") for _ in LAYERS
    ]
    records = RecordStore(path).records
    assert sorted(str(record.work) for record in records) == sorted(LAYERS * 2)
    # Who does not say which device has the place's own name, not this host's.
    assert {record.device for record in records if record.tags["on"] == sshd.place} == {sshd.place}
    before = path.read_bytes()
    again = mnv3c(*words).document
    assert {job["state"] for job in again["jobs"]} == {"skipped"} and path.read_bytes() == before
    assert [job["median_ms"] for job in again["jobs"]] == [job["median_ms"] for job in first["jobs"]]


def test_a_device_that_is_not_there(mnv3c: Mnv3c, layers: Path, tmp_path: Path) -> None:
    """What could be measured is, and is kept; the exit code says that something is missing."""
    path = tmp_path / "records.jsonl"
    gone = "ssh:127.0.0.1:1"
    outcome = mnv3c(
        "measure", "--layers", layers, "--on", gone, "--on", "host", "--retries", 0, *QUICK, "-o", path, "--json"
    )
    assert outcome.code == 3
    assert "2 of 4 jobs failed" in outcome.stderr and f"{gone} went away" in outcome.stderr
    jobs = document(outcome.stdout)["jobs"]
    assert [job["state"] for job in jobs] == ["failed", "failed", "measured", "measured"]
    assert all(gone in job["reason"] and "median_ms" not in job for job in jobs[:2])
    assert len(RecordStore(path).records) == 2


def test_a_layer_that_cannot_be_compiled_fails_alone(mnv3c: Mnv3c, tmp_path: Path) -> None:
    path = tmp_path / "layers.txt"
    path.write_text(f"softmax 2x10->2x10\n{LAYERS[0]}\n")
    outcome = mnv3c("measure", "--layers", path, *QUICK, "--json")
    assert outcome.code == 3 and "1 of 2 jobs failed" in outcome.stderr
    failed, measured = document(outcome.stdout)["jobs"]
    assert failed["state"] == "failed" and failed["reason"] and measured["state"] == "measured"


def test_code_for_another_processor_is_refused(mnv3c: Mnv3c, layers: Path) -> None:
    outcome = mnv3c("measure", "--layers", layers, "--device", "sifive-u74", *QUICK, "--json")
    assert outcome.code == 3
    assert {job["reason"].partition(",")[0] for job in document(outcome.stdout)["jobs"]} == {"compiled for riscv64"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--on", "emulator"), "--on: an emulator's time is no latency"),
        (("--on", "laptop"), "--on: 'laptop' is not one of host, ssh:"),
        (("--on", "ssh:-x"), "--on: 'ssh:-x' is not ssh:"),
        (("--on", "host", "--on", "host"), "--on: 'host' is named twice"),
        (("--max-noise", "0"), "--max-noise: '0' is not a percentage"),
        (("--max-noise", "few"), "--max-noise: 'few' is not a percentage"),
        (("--max-noise", "nan"), "--max-noise: 'nan' is not a percentage"),
        (("--layers", "absent.txt"), "absent.txt: there is no such file"),
        (("medium",), "unknown model 'medium'"),
        (("--device", "abacus"), "abacus"),
        (("--rounds", "0"), "--rounds"),
    ],
)
def test_wrong_input_is_refused(mnv3c: Mnv3c, words: tuple[str, ...], message: str) -> None:
    outcome = mnv3c("measure", *words)
    assert outcome.code == 2 and message in outcome.message


def test_a_wrong_line_is_named(mnv3c: Mnv3c, tmp_path: Path) -> None:
    path = tmp_path / "layers.txt"
    path.write_text(f"{LAYERS[0]}\nconv2d 1x7x7x32->1x7x7x48 colour=red\n")
    outcome = mnv3c("measure", "--layers", path)
    assert outcome.code == 2 and f"{path}:2: layer key" in outcome.message


def test_an_interrupt_leaves_nothing_running(tiny_yaml: Path, sshd: SshServer, tmp_path: Path) -> None:
    """Ctrl-C in the middle of a long measurement on two devices: both stop, and the far one is cleaned."""
    options = [word for option in sshd.options for word in ("--ssh-option", option)]
    command = (sys.executable, "-m", "mnv3c", "measure", str(tiny_yaml), "--on", sshd.place, "--on", "host", *options)
    process = subprocess.Popen(
        (*command, "--rounds", "1000", "--runs", "50000"), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    end = time.monotonic() + 120
    while not any(sshd.temporary.glob("*/pids")):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and said == "mnv3c: interrupted; finished work is kept\n"
    assert list(sshd.temporary.iterdir()) == []
