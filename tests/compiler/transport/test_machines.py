"""Every way to a device: it takes files, runs scripts, and says when the device has gone."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.compiler.transport.loopback import FakeAdb, SshServer, TvmFarm, free_port

from mnv3c.compiler.link import ArtifactFiles
from mnv3c.compiler.measure.places import find_machines
from mnv3c.compiler.transport.local import HostMachine
from mnv3c.compiler.transport.machine import DeviceLostError, Machine
from mnv3c.compiler.transport.rpc import RpcAddress, RpcMachine
from mnv3c.compiler.transport.ssh import SshAddress, SshMachine
from mnv3c.graph.errors import MissingError, UserError

KINDS = ("host", "ssh", "adb", "rpc")
LIMIT_S = 30.0


@pytest.fixture(params=KINDS)
def machine(request: pytest.FixtureRequest, shell_library: Path) -> Iterator[Machine]:
    """A machine of each kind; the TVM farm's is slow to start, so it takes what the others do in one test each."""
    place, options = "host", ()
    if request.param != "host":
        server = request.getfixturevalue({"ssh": "sshd", "adb": "adb", "rpc": "farm"}[request.param])
        place, options = server.place, getattr(server, "options", ())
    (found,) = find_machines([place], options, lambda: shell_library)
    assert found.place == place
    yield found
    found.interrupt()


def test_a_bench_runs_there(machine: Machine, artifact: ArtifactFiles) -> None:
    text = machine.shell(f'd={machine.folder_root}/"mnv3c test"; mkdir -p "$d" && cd "$d" && pwd', LIMIT_S)
    folder = text.strip()
    assert folder.endswith("/mnv3c test")
    try:
        machine.put({"the bench": artifact.bench, "other": artifact.header}, folder)
        assert machine.shell(f"cd '{folder}' && ls && cmp 'the bench' {artifact.bench} && echo same", LIMIT_S) == (
            "other\nthe bench\nsame\n"
        )
        assert "passed" in machine.shell(f"cd '{folder}' && './the bench' --check", LIMIT_S)
    finally:
        machine.shell(f"rm -r '{folder}'", LIMIT_S)
    # The status of a script is its own business, and its errors do not mix with its output.
    assert machine.shell("echo one; echo two >&2; false", LIMIT_S) == "one\n"


def test_what_takes_too_long_is_lost() -> None:
    start = time.monotonic()
    with pytest.raises(DeviceLostError, match="no answer within 1 s") as lost:
        HostMachine().shell("echo before; sleep 60; echo after", 0.5 + 0.5)
    assert lost.value.stdout == "before\n"
    assert time.monotonic() - start < 30


def test_an_interrupt_ends_the_script() -> None:
    machine = HostMachine()
    timer = threading.Timer(0.5, machine.interrupt)
    timer.start()
    with pytest.raises(DeviceLostError):
        machine.shell("echo before; sleep 60", LIMIT_S)
    assert machine.shell("echo again", LIMIT_S) == "again\n"


def test_a_script_that_ends_itself_is_not_complete() -> None:
    with pytest.raises(DeviceLostError, match="status 3") as lost:
        HostMachine().shell("echo @end of nothing; exit 3", LIMIT_S)
    assert lost.value.stdout == "@end of nothing\n"


class TestSsh:
    def machine(self, server: SshServer) -> SshMachine:
        return SshMachine(SshAddress.parse(server.place.removeprefix("ssh:")), server.options)

    def test_a_dropped_connection_is_lost_and_the_next_works(self, sshd: SshServer) -> None:
        machine = self.machine(sshd)
        started = sshd.temporary / "started"

        def drop() -> None:
            wait_until(started.exists)
            sshd.drop()

        threading.Thread(target=drop).start()
        with pytest.raises(DeviceLostError) as lost:
            machine.shell("echo before; touch $TMPDIR/started; sleep 60; echo after", LIMIT_S)
        assert lost.value.stdout == "before\n"
        assert machine.shell("echo here", LIMIT_S) == "here\n"

    def test_a_server_that_is_off_is_lost(self, sshd: SshServer) -> None:
        machine = self.machine(sshd)
        sshd.stop()
        with pytest.raises(DeviceLostError, match="Connection refused"):
            machine.shell("echo here", LIMIT_S)
        with pytest.raises(DeviceLostError, match="Connection refused"):
            machine.put({"file": Path(__file__)}, "/tmp/mnv3c-never")

    def test_no_key_no_waiting(self, sshd: SshServer) -> None:
        """Nobody is asked for a password, and asking again will not help."""
        machine = SshMachine(
            SshAddress("127.0.0.1", port=sshd.port), (*sshd.options[:3], "IdentityFile=/dev/null", "IdentitiesOnly=yes")
        )
        with pytest.raises(MissingError, match="Permission denied"):
            machine.shell("echo here", LIMIT_S)

    def test_a_folder_that_cannot_be_written(self, sshd: SshServer) -> None:
        with pytest.raises(MissingError, match="part"):
            self.machine(sshd).put({"file": Path(__file__)}, "/sys")
        # One that has vanished can be made again.
        with pytest.raises(DeviceLostError, match="/nowhere"):
            self.machine(sshd).put({"file": Path(__file__)}, "/nowhere")

    @pytest.mark.parametrize(
        ("text", "address"),
        [
            ("board", SshAddress("board")),
            ("me@board:2222", SshAddress("board", "me", 2222)),
            ("[fe80::1%eth0]:22", SshAddress("fe80::1%eth0", None, 22)),
        ],
    )
    def test_addresses(self, text: str, address: SshAddress) -> None:
        assert SshAddress.parse(text) == address

    @pytest.mark.parametrize(
        "text", ["", "-oProxyCommand=x", "a b", "me@", "-me@host", "host:", "host:0", "host:65536", "a:b:c"]
    )
    def test_what_is_no_address(self, text: str) -> None:
        with pytest.raises(UserError, match=r"is not ssh:\[USER@\]HOST\[:PORT\]"):
            SshAddress.parse(text)


class TestAdb:
    def test_unplugged_is_lost(self, adb: FakeAdb) -> None:
        (machine,) = find_machines([adb.place], (), unused)
        assert machine.shell("echo here", LIMIT_S) == "here\n"
        adb.unplug()
        with pytest.raises(DeviceLostError, match="device 'ABC123' not found"):
            machine.shell("echo here", LIMIT_S)
        adb.plug()
        assert machine.shell("echo here", LIMIT_S) == "here\n"
        assert list((adb.folder / "device").iterdir()) == [], "scripts remove themselves"

    def test_no_adb(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (machine,) = find_machines(["adb:ABC123"], (), unused)
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(MissingError, match="cannot run adb: No such file"):
            machine.shell("echo here", LIMIT_S)


class TestRpc:
    def test_a_server_that_goes_away_comes_back(self, farm: TvmFarm, shell_library: Path) -> None:
        machine = RpcMachine(RpcAddress.parse(farm.place.removeprefix("rpc:")), lambda: shell_library)
        assert machine.shell("echo here", LIMIT_S) == "here\n"
        farm.stop_server()
        with pytest.raises(DeviceLostError):
            machine.shell("echo here", LIMIT_S)
        farm.start_server()
        assert machine.shell("echo here", LIMIT_S) == "here\n"
        machine.interrupt()

    def test_no_tracker(self, shell_library: Path) -> None:
        machine = RpcMachine(RpcAddress("127.0.0.1", free_port(), "key"), lambda: shell_library)
        with pytest.raises(DeviceLostError, match="Connection refused"):
            machine.shell("echo here", LIMIT_S)
        machine.interrupt()

    @pytest.mark.parametrize("text", ["", "host", "host:1", "host:1/", "host:99999/key", "host/key"])
    def test_what_is_no_address(self, text: str) -> None:
        with pytest.raises(UserError, match="is not rpc:HOST:PORT/KEY"):
            RpcAddress.parse(text)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (["emulator"], "an emulator's time is no latency"),
        (["emulator:qemu"], "an emulator's time is no latency"),
        (["phone"], "'phone' is not one of host, ssh:"),
        (["host:1"], "'host:1' is not one of"),
        (["adb:"], "'adb:' is not one of"),
        (["host", "host"], "'host' is named twice"),
        (["rpc:h:9190/k", "rpc:h:09190/k"], "'rpc:h:9190/k' is named twice"),
        (["adb:a\nb"], "must be printable"),
        (["ssh:" + "h" * 300], "at most 200 characters"),
    ],
)
def test_what_is_no_place(places: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_machines(places, (), unused)


def unused() -> Path:
    raise AssertionError("no TVM server is asked for")


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
