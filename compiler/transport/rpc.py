"""A machine of a device farm: TVM's own tracker hands out a server, which runs our scripts.

The server loads a library of ours (`rpc_shell.c`) that runs a script from the session's folder. So a bench is measured
there exactly as on any other machine, in a process of its own and not inside the server.
"""

import re
import secrets
import shlex
import socket
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from mnv3c.compiler.transport.host import CompletedBench
from mnv3c.compiler.transport.machine import DeviceLostError, marked, place_script, placed, require_end
from mnv3c.compiler.tune.worker import IsolatedWorker, RequestFailedError, WorkerDiedError
from mnv3c.compiler.zig import Zig
from mnv3c.graph.errors import MissingError, UserError
from mnv3c.targets.toolchain import Toolchain

_ADDRESS = re.compile(r"(?P<host>[^\s:/]+):(?P<port>\d+)/(?P<key>\S+)")
_START_S = 60.0
_CONNECT_S = 10.0
_SLOWEST_BYTES_PER_S = 500e3
_RUNTIME = Path(__file__).parents[1] / "runtime"
_SOURCE = Path(__file__).with_name("rpc_shell.c")
_LIBRARY, _SCRIPT, _STDOUT, _STDERR = "mnv3c-shell.so", "mnv3c-script", "mnv3c-stdout", "mnv3c-stderr"


@dataclass(frozen=True)
class RpcAddress:
    """The tracker, and the key under which it knows the devices."""

    host: str
    port: int
    key: str

    @staticmethod
    def parse(text: str) -> "RpcAddress":
        """Raises UserError for what is no address."""
        found = _ADDRESS.fullmatch(text)
        if found is None or not 0 < int(found["port"]) < 65536:
            raise UserError(f"--on: 'rpc:{text}' is not rpc:HOST:PORT/KEY")
        return RpcAddress(found["host"], int(found["port"]), found["key"])


def build_shell_library(toolchain: Toolchain, folder: Path) -> Path:
    """The library that lets a TVM server of this kind run scripts. Raises MissingError without zig."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        zig = Zig(Path(work).resolve(), lambda text: None)
        built = zig.link(toolchain.triple, ("-shared", f"-I{_RUNTIME}", str(_SOURCE)), _LIBRARY)
        return built.replace(folder / _LIBRARY)


@dataclass(frozen=True)
class _Put:
    source: Path
    name: str


@dataclass(frozen=True)
class _Shell:
    script: str


class RpcMachine:
    """A device of a TVM tracker. It is ours from the first call until it is lost.

    TVM's client has no time limits and cannot be interrupted, so it works in a process of its own.
    """

    folder_root = '"${TMPDIR:-/tmp}"'

    def __init__(self, address: RpcAddress, shell_library: Callable[[], Path]) -> None:
        self.place = f"rpc:{address.host}:{address.port}/{address.key}"
        self._address, self._make_library = address, shell_library
        self._library: Path | None = None
        self._worker: IsolatedWorker | None = None

    def put(self, files: Mapping[str, Path], folder: str) -> None:
        uploads = {f"mnv3c-{secrets.token_hex(8)}": name for name in files}
        for upload, name in uploads.items():
            source = files[name]
            self._call(_Put(source, upload), _START_S + source.stat().st_size / _SLOWEST_BYTES_PER_S)
        part = f"{folder}/part"
        moves = [f"mv {upload} {shlex.quote(f'{part}/{name}')}" for upload, name in uploads.items()]
        fresh = f"rm -rf {shlex.quote(part)} && mkdir {shlex.quote(part)}"
        script = " && ".join([fresh, *moves, place_script(folder)])
        if not placed(self.shell(script, _START_S)):
            raise MissingError(f"{self.place}: cannot write to {folder}")

    def shell(self, script: str, limit_s: float) -> str:
        limit_s += _START_S
        done = cast(CompletedBench, self._call(_Shell(marked(script)), limit_s))
        return require_end(done, limit_s)

    def interrupt(self) -> None:
        worker = self._worker
        if worker is not None:
            worker.close()

    def _call(self, request: object, limit_s: float) -> object:
        if self._library is None:
            self._library = self._make_library()
        if self._worker is None:
            self._worker = IsolatedWorker(_Connector(self._address, self._library))
        try:
            return self._worker.call(request, limit_s)
        except (RequestFailedError, WorkerDiedError) as failure:
            # The session is of no more use; the next call asks the tracker for another.
            self._worker.close()
            self._worker = None
            raise DeviceLostError(str(failure)) from None


@dataclass(frozen=True)
class _Connector:
    """Makes what answers requests in the client's process."""

    address: RpcAddress
    library: Path

    def __call__(self) -> "_Client":
        return _Client(self.address, self.library)


class _Client:
    """Connects with the first request, so that the limit holds for that too."""

    def __init__(self, address: RpcAddress, library: Path) -> None:
        self._address, self._library = address, library
        self._session: Any = None
        self._run: Any = None

    def __call__(self, request: object) -> CompletedBench | None:
        if self._session is None:
            self._connect()
        if isinstance(request, _Put):
            self._session.upload(str(request.source), request.name)
            return None
        assert isinstance(request, _Shell)
        self._session.upload(bytearray(request.script.encode()), _SCRIPT)
        status = int(self._run())
        stdout, stderr = (self._downloaded(name) for name in (_STDOUT, _STDERR))
        return CompletedBench(stdout, stderr, status)

    def _connect(self) -> None:
        from tvm import rpc

        # TVM would try for a minute.
        with socket.create_connection((self._address.host, self._address.port), _CONNECT_S):
            pass
        tracker = rpc.connect_tracker(self._address.host, self._address.port)
        session = tracker.request(self._address.key, max_retry=1)
        session.upload(str(self._library), _LIBRARY)
        self._run = session.load_module(_LIBRARY)["mnv3c_shell"]
        self._session = session

    def _downloaded(self, name: str) -> str:
        return bytes(self._session.download(name)).decode("utf-8", "replace")
