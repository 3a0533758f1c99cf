"""`mnv3c run` of a GPU's program on devices far away: an sshd and an adb of this machine, whose OpenCL is PoCL."""

import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.cli.conftest import HOST_CPU, OTHER_CPU, Mnv3c, Outcome
from tests.compiler.transport.loopback import FakeAdb, SshServer, require, ssh_server

from mnv3c.compiler.opencl.execute import InstalledGpuArtifact

FOUND_BY = ("MNV3C_OPENCL", "PYOPENCL_HOME", "LD_LIBRARY_PATH", "MNV3C_OPENCL_DEVICE")


@pytest.fixture(scope="module")
def variables(pocl: Mapping[str, str]) -> Mapping[str, str]:
    """How PoCL is found there."""
    return {name: pocl[name] for name in FOUND_BY if name in pocl}


@pytest.fixture(scope="module")
def sshd(variables: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_server(tmp_path_factory.mktemp("sshd"), variables) as server:
        yield server


@pytest.fixture
def adb(variables: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeAdb:
    (tmp_path / "adb").mkdir()
    device = FakeAdb(tmp_path / "adb")
    device.install(monkeypatch)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return device


@pytest.fixture(scope="module")
def compiled(mnv3c: Mnv3c, tiny_yaml: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu") / "artifact"
    mnv3c("compile", tiny_yaml, "--target", "adreno", "--host-cpu", HOST_CPU, "-o", folder).require_success()
    return folder


@pytest.fixture
def run_there(mnv3c: Mnv3c, compiled: Path, sshd: SshServer) -> Any:
    """Run on the sshd, after which nothing is left there."""

    def run(*words: object, folder: Path = compiled) -> Outcome:
        options = [word for option in sshd.options for word in ("--ssh-option", option)]
        outcome: Outcome = mnv3c("run", folder, "--on", sshd.place, *options, *words)
        assert list(sshd.temporary.iterdir()) == []
        return outcome

    return run


def here(mnv3c: Mnv3c, compiled: Path, *words: object) -> Any:
    return mnv3c("run", compiled, "--on", "pocl", *words, "--json").document


def test_values_go_there_and_back(
    mnv3c: Mnv3c, compiled: Path, sshd: SshServer, run_there: Any, tmp_path: Path
) -> None:
    np.save(tmp_path / "in.npy", np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32))
    given = ("--input", tmp_path / "in.npy")
    document = run_there(*given, "--output", tmp_path / "there.npy", "--json").document
    here(mnv3c, compiled, *given, "--output", tmp_path / "here.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "there.npy"), np.load(tmp_path / "here.npy"))
    assert document["on"].startswith(f"PoCL on the CPU of {sshd.place} (no phone's latency): ")
    assert "measured_ms" not in document


def test_check_times_and_profile(run_there: Any, sshd: SshServer, compiled: Path) -> None:
    words = ("--runs", 3, "--check", "--profile")
    document = run_there(*words, "--json").document
    assert document["check"]["passed"] is True and document["measured_ms"] > 0
    layers = yaml.safe_load((compiled / "manifest.yaml").read_text())["layers"]
    assert [row["name"] for row in document["profile"]["layers"]] == [layer["name"] for layer in layers]
    outcome = run_there(*words)
    outcome.require_success()
    where = f"PoCL on the CPU of {sshd.place} (no phone's latency)"
    assert "  check passed: relative error " in outcome.stdout
    assert f"  measured on {where}: median " in outcome.stdout
    assert f"  profiled on {where}, in ms: input " in outcome.stdout
    assert outcome.stdout.count(" us  ") == len(layers)


def test_work_groups_are_tuned_there_and_kept_here(
    mnv3c: Mnv3c, compiled: Path, run_there: Any, tmp_path: Path
) -> None:
    plain = here(mnv3c, compiled)["outputs"]
    kept = tmp_path / "tuning.txt"
    tuned = run_there("--tune", kept, "--json").document
    assert tuned["tuned"] and tuned["outputs"] == plain
    assert kept.read_text().startswith("mnv3c-opencl-tuning/1\n")
    assert run_there("--tuning", kept, "--json").document["outputs"] == plain
    assert here(mnv3c, compiled, "--tuning", kept)["outputs"] == plain
    kept.write_text("something else\n")
    refused = run_there("--tuning", kept)
    assert (refused.code, refused.message) == (2, f"{kept}: not a file that --tune wrote")
    refused = run_there("--tuning", tmp_path / "absent")
    assert (refused.code, refused.message) == (2, f"cannot read {tmp_path / 'absent'}: there is no such file")
    refused = run_there("--tune", tmp_path / "absent" / "tuning")
    assert refused.code == 2 and str(tmp_path / "absent") in refused.message


def test_a_phone_by_adb(mnv3c: Mnv3c, compiled: Path, adb: FakeAdb, tmp_path: Path) -> None:
    words = ("--check", "--tune", tmp_path / "kept", "--runs", 2, "--json")
    document = mnv3c("run", compiled, "--on", adb.place, *words).document
    assert document["on"].startswith(f"PoCL on the CPU of {adb.place} (no phone's latency): ")
    assert document["check"]["passed"] is True and document["tuned"]
    assert document["outputs"] == here(mnv3c, compiled)["outputs"]
    assert list((adb.folder / "device").iterdir()) == []
    adb.unplug()
    lost = mnv3c("run", compiled, "--on", adb.place)
    assert (lost.code, lost.message) == (3, f"{adb.place} went away: adb: device '{adb.serial}' not found")


def test_no_opencl_there(
    mnv3c: Mnv3c, compiled: Path, adb: FakeAdb, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MNV3C_OPENCL", "/nowhere/libOpenCL.so")
    outcome = mnv3c("run", compiled, "--on", adb.place)
    message = "no OpenCL found: MNV3C_OPENCL is /nowhere/libOpenCL.so, which cannot be opened"
    assert (outcome.code, outcome.message) == (3, f"{adb.place}: {message}")
    assert list((adb.folder / "device").iterdir()) == []


def test_a_device_that_is_not_there(mnv3c: Mnv3c, compiled: Path) -> None:
    require("ssh", "install openssh-client")
    outcome = mnv3c("run", compiled, "--on", "ssh:127.0.0.1:1")
    assert outcome.code == 3
    assert outcome.message.startswith("ssh:127.0.0.1:1 went away: ssh: connect to host 127.0.0.1 port 1: ")


def test_a_bench_for_something_else(
    run_there: Any, mnv3c: Mnv3c, tiny_yaml: Path, sshd: SshServer, tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    mnv3c("compile", tiny_yaml, "--target", "mali", "--host-cpu", OTHER_CPU, "-o", folder).require_success()
    refused = run_there(folder=folder)
    assert refused.code == 2
    assert f"{sshd.place} has {platform.machine()}: compile the network again" in refused.message
    folder = tmp_path / "android"
    words = ("--target", "mali", "--host-cpu", HOST_CPU, "--os", "android", "-o", folder)
    mnv3c("compile", tiny_yaml, *words).require_success()
    refused = run_there(folder=folder)
    assert refused.code == 2
    assert f"was linked for android, {sshd.place} runs linux: compile the network again with --os" in refused.message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--on", "emulator"), "--on: 'emulator' is not one of host, pocl, ssh:[USER@]HOST[:PORT], adb:SERIAL"),
        (("--on", "rpc:a:1/b"), "--on: 'rpc:a:1/b' is not one of host, pocl, ssh:"),
        (("--on", "ssh:-x"), "--on: 'ssh:-x' is not ssh:[USER@]HOST[:PORT]"),
        (("--on", "adb:"), "--on: 'adb:' is not one of host, pocl, ssh:[USER@]HOST[:PORT], adb:SERIAL, the places"),
        (("--on", "ssh"), "--on: 'ssh' is not one of host, pocl, ssh:[USER@]HOST[:PORT], adb:SERIAL, the places"),
        (("--ssh-option", "A=b"), "--ssh-option is for --on ssh:[USER@]HOST[:PORT]"),
        (("--on", "ssh:a", "--tune", "a", "--tuning", "b"), "--tune makes what --tuning reads: leave one out"),
    ],
)
def test_refusals(mnv3c: Mnv3c, compiled: Path, words: tuple[str, ...], message: str) -> None:
    outcome = mnv3c("run", compiled, *words)
    assert outcome.code == 2 and outcome.message.startswith(message)


@pytest.mark.parametrize("words", [("--on", "ssh:a"), ("--on", "adb:a"), ("--check",), ("--profile",)])
def test_a_program_for_cpus_takes_none_of_it(mnv3c: Mnv3c, tiny: Path, words: tuple[str, ...]) -> None:
    outcome = mnv3c("run", tiny, *words)
    assert (outcome.code, outcome.message) == (2, f"{' '.join(words)} is for programs of GPUs, and {tiny} holds none")


def test_wrong_outputs_there(run_there: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"passed": False, "relative_error": 0.5, "tolerance": 1e-4}
    monkeypatch.setattr(InstalledGpuArtifact, "check", lambda self: wrong)
    outcome = run_there("--check", "--json")
    assert (outcome.code, outcome.message) == (3, "check failed: relative error 0.5, at most 0.0001 is allowed")


def test_a_dropped_connection(run_there: Any, sshd: SshServer) -> None:
    """It is said, and what ran on meanwhile is ended and removed, since the device can be reached again."""

    def drop() -> None:
        end = time.monotonic() + 120
        while time.monotonic() < end and not (any(sshd.temporary.glob("*/pids")) and sshd.drop()):
            time.sleep(0.05)

    dropping = threading.Thread(target=drop)
    dropping.start()
    outcome = run_there("--runs", 100000)
    dropping.join()
    assert outcome.code == 3 and outcome.message.startswith(f"{sshd.place} went away: ")


def test_an_interrupt_leaves_nothing_there(compiled: Path, sshd: SshServer) -> None:
    options = [word for option in sshd.options for word in ("--ssh-option", option)]
    command = (sys.executable, "-m", "mnv3c", "run", str(compiled), "--on", sshd.place, *options, "--runs", "1000000")
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    end = time.monotonic() + 120
    while len(ids := _ids_there(sshd)) < 2:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and said == "mnv3c: interrupted; finished work is kept\n"
    assert list(sshd.temporary.iterdir()) == []
    while _runs(ids[1]):
        assert time.monotonic() < end
        time.sleep(0.05)


def _ids_there(sshd: SshServer) -> list[str]:
    """Of the shell and of the bench, once both run."""
    return [word for path in sshd.temporary.glob("*/pids") for word in path.read_text().split()]


def _runs(process_id: str) -> bool:
    """Whether it does; what was killed may wait for its parent yet, and has no command line any more."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process_id}/cmdline").read_bytes() != b""
    return False
