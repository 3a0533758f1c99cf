"""The OpenCL of a machine far away: the bench is brought there, run, and what it wrote is brought back."""

import base64
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from mnv3c.compiler.measure.script import (
    Opened,
    Ran,
    open_script,
    opened,
    ran,
    remove_folder_script,
    require_opened,
    run_script,
)
from mnv3c.compiler.opencl.manifest import GpuManifest
from mnv3c.compiler.opencl.place import BenchCall, require_architecture
from mnv3c.compiler.transport.host import CompletedBench
from mnv3c.compiler.transport.machine import DeviceLostError, Machine
from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.whole_file import check_place, whole_file

_OPEN_LIMIT_S = 60.0
# What an Android system starts programs with.
_ANDROID = "@android"
_SYSTEM_SCRIPT = f"[ -e /system/bin/linker64 ] && echo {_ANDROID}\n"
# Compiled kernels are kept as long as the folder is.
_BENCH_SCRIPT = 'export MNV3C_OPENCL_CACHE="$PWD"; exec "$0" "$@" >stdout 2>messages'
_NOT_STARTED = 126  # the least of a shell's statuses for what did not start, or was ended by a signal


@dataclass
class RemoteOpenCl:
    """The OpenCL of a machine that takes files and runs scripts; made by `remote_opencl`.

    The first call makes a folder `folder_name` there, which holds the bench.
    """

    machine: Machine
    folder_name: str = field(default_factory=lambda: f"mnv3c-run-{secrets.token_hex(8)}")
    _found: Opened | None = None
    _made: bool = False

    @property
    def name(self) -> str:
        """How the user named the machine."""
        return self.machine.place

    def run(self, bench: Path, manifest: GpuManifest, call: BenchCall) -> CompletedBench:
        """As `OpenClPlace.run`; also MissingError where the device goes away, without another try."""
        for path in call.given.values():
            if not path.is_file():
                raise UserError(f"cannot read {path}: there is no such file")
        for path in call.wanted.values():
            check_place(path)
        try:
            folder = self._folder(bench, manifest)
            given = {_there(option): path for option, path in call.given.items()}
            if given:
                self.machine.put(given, folder)
            text = self.machine.shell(_script(folder, bench, call), call.limit_s)
        except DeviceLostError as lost:
            raise MissingError(f"{self.name} went away: {lost}") from None
        return self._completed({run.tag: run for run in ran(text)}, bench, call)

    def close(self) -> None:
        """End what runs there still, and remove the folder, also one that was made when the connection ended."""
        if self._made:
            self.machine.shell(remove_folder_script(self.machine.folder_root, self.folder_name), _OPEN_LIMIT_S)

    def _folder(self, bench: Path, manifest: GpuManifest) -> str:
        if self._found is None:
            self._made = True
            try:
                text = self.machine.shell(
                    open_script(self.machine.folder_root, self.folder_name) + _SYSTEM_SCRIPT, _OPEN_LIMIT_S
                )
            except DeviceLostError as lost:
                # A device that never answered is not waited for once more.
                self._made = opened(lost.stdout) is not None
                raise
            self._found = require_opened(text, self.name, self.machine.folder_root)
            require_architecture(bench, manifest, self._found.architecture, self.name)
            _require_system(bench, manifest, "android" if _ANDROID in text.split() else "linux", self.name)
            self.machine.put({bench.name: bench}, self._found.folder)
        return self._found.folder

    def _completed(self, runs: Mapping[str, Ran], bench: Path, call: BenchCall) -> CompletedBench:
        ended = runs["bench"]
        messages = self._content(runs, "messages").decode("utf-8", "replace")
        if ended.status >= _NOT_STARTED:
            said = messages.strip().splitlines()[-1:] or [ended.problem or f"exit status {ended.status}"]
            raise MissingError(f"{self.name} cannot run {bench.name}: {said[0]}")
        if ended.status == 0:
            for option, path in call.wanted.items():
                with whole_file(path) as temporary:
                    temporary.write_bytes(self._content(runs, option))
        for option, path in call.given.items():
            messages = messages.replace(_there(option), str(path))
        return CompletedBench(self._content(runs, "stdout").decode("utf-8", "replace"), messages, ended.status)

    def _content(self, runs: Mapping[str, Ran], tag: str) -> bytes:
        run = runs[tag]
        if run.status != 0:
            raise MissingError(f"{self.name}: what the bench wrote cannot be brought back: {run.problem}")
        return base64.b64decode(run.text)


@contextmanager
def remote_opencl(machine: Machine) -> Iterator[RemoteOpenCl]:
    """A machine's OpenCL, whose folder goes at the end, also after an error or Ctrl-C, as far as it can be reached."""
    place = RemoteOpenCl(machine)
    try:
        yield place
    finally:
        machine.interrupt()
        with suppress(DeviceLostError, MissingError):
            place.close()


def _there(option: str) -> str:
    """What the file of an option is called there."""
    return f"mnv3c{option}"


def _script(folder: str, bench: Path, call: BenchCall) -> str:
    """Run the bench; print what it said and wrote, as text that every way to a device carries whole."""
    files = [word for option in (*call.given, *call.wanted) for word in (option, _there(option))]
    words = ("sh", "-c", _BENCH_SCRIPT, f"./{bench.name}", *call.words, *files)
    back = [("stdout", "stdout"), ("messages", "messages"), *((option, _there(option)) for option in call.wanted)]
    return run_script(folder, [("bench", words), *((tag, ("base64", name)) for tag, name in back)])


def _require_system(bench: Path, manifest: GpuManifest, found: str, where: str) -> None:
    if found != manifest.operating_system:
        raise UserError(
            f"{bench.name} was linked for {manifest.operating_system}, {where} runs {found}: compile the network again"
            f" with --os {found}"
        )
