"""Devices on this machine: an sshd of our own, TVM's tracker and server, and an adb that runs what it is given here."""

import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_PATIENCE_S = 60.0
_SSHD = "/usr/sbin/sshd"
# What sshd needs to exist where it runs as root, and refuses to make.
_PRIVILEGE_SEPARATION = Path("/run/sshd")

ADB = """#!/bin/sh
# Push is a copy and shell is a shell, with this folder in the place of /data/local/tmp.
[ -e "{folder}/away" ] && { echo "adb: device '$2' not found" >&2; exit 1; }
[ "$1 $2" = "-s {serial}" ] || { echo "adb: device '$2' not found" >&2; exit 1; }
case "$3" in
push) cp "$4" "$(echo "$5" | sed "s#^/data/local/tmp#{folder}#")" && echo "$4: 1 file pushed" ;;
shell) sed_out() { sed "s#{folder}#/data/local/tmp#g"; }
    script=$(echo "$4" | sed "s#/data/local/tmp#{folder}#g")
    for file in {folder}/*.sh; do [ -f "$file" ] && sed -i "s#/data/local/tmp#{folder}#g" "$file"; done
    sh -c "$script" | sed_out ;;
*) exit 1 ;;
esac
"""


def require(program: str, why: str) -> None:
    """Skip where a program is missing; fail on CI."""
    if not (Path(program).exists() or shutil.which(program)):
        assert os.environ.get("CI") != "true", f"{program} is missing: {why}"
        pytest.skip(f"{program} is missing: {why}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise AssertionError(f"nothing listens on port {port}")


def children(pid: int) -> list[int]:
    """The processes below this one, youngest generation last."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                text = (entry / "stat").read_text()
                parents.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found = []
    todo = [pid]
    while todo:
        below = parents.get(todo.pop(0), [])
        found += below
        todo += below
    return found


@dataclass
class SshServer:
    """An sshd for the current user on 127.0.0.1. `temporary` is TMPDIR of its sessions, `environment` is theirs too."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def place(self) -> str:
        return f"ssh:127.0.0.1:{self.port}"

    @property
    def options(self) -> tuple[str, ...]:
        """For the client: our key, and no memory of this server."""
        known = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "IdentityAgent=none")
        return (*known, f"IdentityFile={self.folder / 'key'}", "IdentitiesOnly=yes")

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    def prepare(self) -> None:
        require(_SSHD, "install openssh-server")
        if os.geteuid() == 0:
            _PRIVILEGE_SEPARATION.mkdir(exist_ok=True)
        self.temporary.mkdir()
        for name in ("key", "host_key"):
            words = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name))
            subprocess.run(words, check=True)
        shutil.copy(self.folder / "key.pub", self.folder / "authorized_keys")
        variables = {"TMPDIR": str(self.temporary), **self.environment}
        words = [f'"{name}={value}"' for name, value in variables.items()]
        (self.folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {self.folder}/host_key\nPidFile none\n"
            f"AuthorizedKeysFile {self.folder}/authorized_keys\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n"
            f"PasswordAuthentication no\nMaxStartups 100\nSetEnv {' '.join(words)}\n"
        )

    def start(self) -> None:
        words = (_SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config"))
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(words, stderr=log, start_new_session=True)
        wait_for_port(self.port, self.process)

    def drop(self) -> bool:
        """Cut every connection, as a pulled cable would; the server stays. False where none is at work: none is cut."""
        assert self.process is not None
        below = children(self.process.pid)
        # Only sshd's own processes: what runs in the sessions goes on, as it would on a device.
        own = [pid for pid in below if _name(pid) == "sshd"]
        if len(own) == len(below):
            return False
        _kill(own)
        return True

    def stop(self) -> None:
        """Be off, with all connections."""
        if self.process is not None:
            own = [pid for pid in children(self.process.pid) if _name(pid) == "sshd"]
            self.process.kill()
            self.process.wait()
            _kill(own)
            self.process = None


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _name(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


@contextmanager
def ssh_server(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[SshServer]:
    """A running server, whose sessions have these variables; skips where there is no sshd."""
    server = SshServer(folder, environment or {})
    server.prepare()
    server.start()
    try:
        yield server
    finally:
        server.stop()


@dataclass
class TvmFarm:
    """TVM's own tracker, and a server that offers this machine under a key."""

    folder: Path
    port: int = field(default_factory=free_port)
    server_port: int = field(default_factory=free_port)
    key: str = "here"
    processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    @property
    def place(self) -> str:
        return f"rpc:127.0.0.1:{self.port}/{self.key}"

    def start_tracker(self) -> None:
        self._start("tvm.exec.rpc_tracker", port=self.port)

    def start_server(self) -> None:
        words = ("--tracker", f"127.0.0.1:{self.port}", "--key", self.key)
        self._start("tvm.exec.rpc_server", *words, port=self.server_port)

    def stop_server(self) -> None:
        """The server goes away, with its sessions."""
        _kill_group(self.processes.pop())

    def stop(self) -> None:
        while self.processes:
            _kill_group(self.processes.pop())

    def _start(self, module: str, *words: str, port: int) -> None:
        environment = {**os.environ, "TMPDIR": str(self.folder)}
        ports = ("--port", str(port), "--port-end", str(port + 1))
        # A terminated server leaves a worker that keeps the port: the group is signalled, not the process.
        with (self.folder / f"{module}.log").open("ab") as log:
            process = subprocess.Popen(
                (sys.executable, "-m", module, "--host", "127.0.0.1", *ports, *words),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=environment,
            )
        self.processes.append(process)
        wait_for_port(port, process)


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def tvm_farm(folder: Path) -> Iterator[TvmFarm]:
    """A tracker with one server; skips without what they need and apache-tvm does not bring."""
    for module in ("cloudpickle", "tornado"):
        if importlib.util.find_spec(module) is None:
            assert os.environ.get("CI") != "true", f"{module} is missing"
            pytest.skip(f"TVM's tracker and server need {module}: pip install {module}")
    farm = TvmFarm(folder)
    try:
        farm.start_tracker()
        farm.start_server()
        yield farm
    finally:
        farm.stop()


@dataclass(frozen=True)
class FakeAdb:
    """An `adb` that copies and runs on this machine: what it shows is our side of the protocol, not a phone's."""

    folder: Path
    serial: str = "ABC123"

    @property
    def place(self) -> str:
        return f"adb:{self.serial}"

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        (self.folder / "bin").mkdir()
        (self.folder / "device").mkdir()
        path = self.folder / "bin" / "adb"
        path.write_text(ADB.replace("{folder}", str(self.folder / "device")).replace("{serial}", self.serial))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}")

    def unplug(self) -> None:
        (self.folder / "device" / "away").touch()

    def plug(self) -> None:
        (self.folder / "device" / "away").unlink()
