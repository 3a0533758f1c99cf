"""The OpenCL of a machine far away whose connection ends while the folder there is made."""

from pathlib import Path
from typing import Any

import pytest

from mnv3c.compiler.opencl.place import BenchCall
from mnv3c.compiler.opencl.remote import remote_opencl
from mnv3c.compiler.transport.local import HostMachine
from mnv3c.compiler.transport.machine import DeviceLostError
from mnv3c.graph.errors import MissingError

# No bench is brought anywhere, so nothing is asked of its manifest.
NO_MANIFEST: Any = None


class Losing(HostMachine):
    """This machine. Its first script ends with an error of the connection, after it has run if `reached`."""

    def __init__(self, error: BaseException, reached: bool) -> None:
        super().__init__()
        self.error, self.reached, self.scripts = error, reached, 0

    def shell(self, script: str, limit_s: float) -> str:
        self.scripts += 1
        if self.scripts > 1:
            return super().shell(script, limit_s)
        said = super().shell(script, limit_s) if self.reached else ""
        if isinstance(self.error, DeviceLostError):
            raise DeviceLostError(str(self.error), said)
        raise self.error


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def run_on(machine: Losing) -> None:
    with remote_opencl(machine) as place:
        place.run(Path("bench"), NO_MANIFEST, BenchCall(("--check",)))


def test_a_folder_of_which_little_was_heard_is_removed(temporary: Path) -> None:
    machine = Losing(DeviceLostError("no answer"), reached=True)
    with pytest.raises(MissingError, match=r"^host went away: no answer$"):
        run_on(machine)
    assert machine.scripts == 2 and list(temporary.iterdir()) == []


def test_an_interrupt_before_anything_was_heard_leaves_no_folder(temporary: Path) -> None:
    machine = Losing(KeyboardInterrupt(), reached=True)
    with pytest.raises(KeyboardInterrupt):
        run_on(machine)
    assert machine.scripts == 2 and list(temporary.iterdir()) == []


def test_a_device_that_never_answered_is_not_waited_for_again(temporary: Path) -> None:
    machine = Losing(DeviceLostError("no route"), reached=False)
    with pytest.raises(MissingError, match=r"^host went away: no route$"):
        run_on(machine)
    assert machine.scripts == 1 and list(temporary.iterdir()) == []
