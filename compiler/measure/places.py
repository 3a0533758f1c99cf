"""What `--on` names: a way to a device."""

from collections.abc import Callable, Sequence
from pathlib import Path

from mnv3c.compiler.transport.adb import AdbMachine
from mnv3c.compiler.transport.local import HostMachine
from mnv3c.compiler.transport.machine import Machine
from mnv3c.compiler.transport.rpc import RpcAddress, RpcMachine
from mnv3c.compiler.transport.ssh import SshAddress, SshMachine
from mnv3c.graph.errors import UserError

FORMS = "host, ssh:[USER@]HOST[:PORT], adb:SERIAL, rpc:HOST:PORT/KEY"
_MOST_CHARACTERS = 200


def find_machines(
    places: Sequence[str], ssh_options: Sequence[str], shell_library: Callable[[], Path]
) -> tuple[Machine, ...]:
    """The machines that the texts name, each once. `shell_library` builds what a TVM server needs to run a script.

    Raises UserError for what is no place, and for a place named twice.
    """
    machines = tuple(_machine(place, ssh_options, shell_library) for place in places)
    names = [machine.place for machine in machines]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"--on: '{twice[0]}' is named twice")
    return machines


def _machine(place: str, ssh_options: Sequence[str], shell_library: Callable[[], Path]) -> Machine:
    # Records tell the place, in a field of text.
    if len(place) > _MOST_CHARACTERS or not place.isprintable() or place != place.strip():
        raise UserError(f"--on: {place!r:.60} must be printable, at most {_MOST_CHARACTERS} characters long")
    kind, colon, rest = place.partition(":")
    match kind:
        case "host" if not colon:
            return HostMachine()
        case "ssh" if colon:
            return SshMachine(SshAddress.parse(rest), ssh_options, rest)
        case "adb" if rest:
            return AdbMachine(rest)
        case "rpc" if colon:
            return RpcMachine(RpcAddress.parse(rest), shell_library)
        case "emulator":
            raise UserError("--on: an emulator's time is no latency; measure on a device")
        case _:
            raise UserError(f"--on: '{place}' is not one of {FORMS}")
