"""Which targets and devices there are: a target is a folder with `devices/`, a device is one YAML file in it.

Nothing here knows a target by name. A target whose machines can be detected has a module `detect` with `MACHINES` (as
`platform.machine()` spells them) and `detect_host(probe, devices)`; the detected device is called `host`.

Most callers work for CPUs and get a `CpuDevice`; others say by `kind` what they take, and `kind=Device` is any.
"""

import difflib
import platform
from collections.abc import Callable
from importlib import import_module, resources
from pathlib import Path
from typing import TypeVar, cast, overload

from mnv3c.graph.errors import MissingError, UserError
from mnv3c.targets.device import CpuDevice, Device, load_device, of_kind
from mnv3c.targets.probe import HostProbe, usable_cpus

HOST = "host"
_PACKAGE = "mnv3c.targets"
_Kind = TypeVar("_Kind", bound=Device)
_Detect = Callable[[HostProbe, tuple[CpuDevice, ...]], CpuDevice]


def target_names() -> tuple[str, ...]:
    """Every target, in alphabetical order."""
    return tuple(sorted(folder.name for folder in _targets_folder().iterdir() if (folder / "devices").is_dir()))


def device_paths(target: str) -> tuple[Path, ...]:
    """The device files of a target, by name. Raises UserError for an unknown target."""
    _check_target(target)
    return tuple(sorted((_targets_folder() / target / "devices").glob("*.yaml")))


@overload
def devices(target: str) -> tuple[CpuDevice, ...]: ...
@overload
def devices(target: str, kind: type[_Kind]) -> tuple[_Kind, ...]: ...
def devices(target: str, kind: type[Device] = CpuDevice) -> tuple[Device, ...]:
    """The devices of a kind that a target has a file of, by name; the host is not among them. Raises UserError."""
    known = (load_device(path, Device) for path in device_paths(target))
    return tuple(device for device in known if isinstance(device, kind))


def device_names(target: str | None = None) -> tuple[str, ...]:
    """The names that `find_device` takes: `host` first, then the files' names, by target. Raises UserError."""
    targets = target_names() if target is None else (target,)
    host = (HOST,) if target is None or _detects(target) else ()
    return host + tuple(path.stem for each in targets for path in device_paths(each))


@overload
def find_device(name: str, target: str | None = None) -> CpuDevice: ...
@overload
def find_device(name: str, target: str | None = None, *, kind: type[_Kind]) -> _Kind: ...
def find_device(name: str, target: str | None = None, *, kind: type[Device] = CpuDevice) -> Device:
    """Find a device by name, by `host`, or by the path of a device file (ending in .yaml or .yml).

    Raises UserError if there is no such device, if a file is not a valid device, or if the device is not one of
    `target` or of another kind; MissingError if `host` cannot be detected.
    """
    return of_kind(_find(name, target), kind)


def _find(name: str, target: str | None) -> Device:
    if target is not None:
        _check_target(target)
    if name == HOST:
        return _of_target(detect_host(), name, target)
    if name.endswith((".yaml", ".yml")):
        device = load_device(Path(name), Device)
        if device.target not in target_names():
            raise UserError(f"{name}: target: must be one of {', '.join(target_names())}, not '{device.target}'")
        return _of_target(device, name, target)
    for each in target_names():
        for path in device_paths(each):
            if path.stem == name:
                return _of_target(load_device(path, Device), name, target)
    raise UserError(_unknown("device", name, device_names(target)))


def default_device(target: str) -> str:
    """The name of the device to use when only the target is given.

    It is the device whose file says `default: true`; without one `host`, where the target can detect it; else the first
    by name. Raises UserError for an unknown target or one without devices.
    """
    known = devices(target, Device)
    marked = [device.name for device in known if device.default]
    if marked:
        return marked[0]
    if _detects(target):
        return HOST
    if not known:
        raise UserError(f"target '{target}' has no device: add a YAML file to its devices/ folder")
    return known[0].name


def host_target(machine: str | None = None) -> str:
    """The target that this machine (by default `platform.machine()`) belongs to. Raises MissingError if none does."""
    machine = platform.machine() if machine is None else machine
    for target in target_names():
        if _detects(target) and machine in import_module(f"{_PACKAGE}.{target}.detect").MACHINES:
            return target
    raise MissingError(
        f"the host cannot be detected: no target is made for the machine '{machine}'; name a device instead"
    )


def detect_host(root: Path = Path("/"), *, machine: str | None = None, cpus: frozenset[int] | None = None) -> CpuDevice:
    """Describe this machine as the device `host`.

    `root` is where `proc` and `sys` lie, `machine` defaults to `platform.machine()`, `cpus` to the processors that this
    process may use. Raises MissingError if the system or the processor is not one that can be detected.
    """
    target = host_target(machine)
    probe = HostProbe(root, usable_cpus() if cpus is None else cpus)
    detect = cast(_Detect, import_module(f"{_PACKAGE}.{target}.detect").detect_host)
    return detect(probe, devices(target))


def _targets_folder() -> Path:
    folder = resources.files(_PACKAGE)
    # Device files are data of the package; TVM itself cannot run from a zip archive either.
    assert isinstance(folder, Path)
    return folder


def _detects(target: str) -> bool:
    return (_targets_folder() / target / "detect.py").is_file()


def _check_target(target: str) -> None:
    if target not in target_names():
        raise UserError(_unknown("target", target, target_names()))


def _of_target(device: Device, name: str, target: str | None) -> Device:
    if target is not None and device.target != target:
        raise UserError(f"device '{name}' belongs to target '{device.target}', not to '{target}'")
    return device


def _unknown(kind: str, name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    path = ", or the path of a .yaml file" if kind == "device" else ""
    return f"there is no {kind} '{' '.join(name.split())[:80]}'; {hint}known: {', '.join(known)}{path}"
