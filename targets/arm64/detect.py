"""An Arm machine at hand as a device: the nearest device with a file, with the caches and clocks that /sys reports."""

from collections.abc import Mapping

from mnv3c.graph.errors import MissingError
from mnv3c.targets.device import CpuDevice, device_from_document
from mnv3c.targets.probe import HostProbe

MACHINES = ("aarch64", "arm64")


def detect_host(probe: HostProbe, devices: tuple[CpuDevice, ...]) -> CpuDevice:
    """Describe the machine's fastest kind of core as the device `host`, from the one of `devices` that names its part.

    Raises MissingError where /proc/cpuinfo cannot be read, or where none of its cores is among the devices.
    """
    processors = probe.processors()
    named = {
        (device.cpuinfo.implementer, part): device
        for device in devices
        if device.cpuinfo
        for part in device.cpuinfo.parts
    }
    known = [(named[_identity(found)], found) for found in processors if _identity(found) in named]
    if not known:
        implementer, part = _identity(processors[0])
        raise MissingError(
            "the host cannot be detected: "
            f"no arm64 device has CPU implementer {implementer or '?'} and part {part or '?'}; name one of "
            f"{', '.join(device.name for device in devices)}, or write a device file (docs/adding-a-target.md)"
        )
    nearest = max((device for device, _ in known), key=lambda device: (device.peak_flops, device.name))
    cpus = frozenset(int(found["processor"]) for device, found in known if device == nearest)
    return device_from_document(_described(nearest, probe, cpus), "the detected host")


def _identity(processor: Mapping[str, str]) -> tuple[str, str]:
    return processor.get("CPU implementer", "").lower(), processor.get("CPU part", "").lower()


def _described(nearest: CpuDevice, probe: HostProbe, cpus: frozenset[int]) -> dict[str, object]:
    document = nearest.document() | {
        "name": "host",
        "title": f"this machine, taken as {nearest.title}",
        "default": False,
    }
    document["references"] = {
        **dict(nearest.references),
        "affinity": "the processors this process may run on",
        "sysfs": "/sys/devices/system/cpu of this machine",
    }
    cpu = min(cpus)
    document["cores"] = {"value": probe.core_count(cpus), "source": "affinity: cores of this kind among them"}
    document["clock_hz"] = _section(document, "clock_hz") | _clocks(probe, cpu)
    document["cache"] = _section(document, "cache") | _caches(probe, cpu)
    return document


def _section(document: Mapping[str, object], name: str) -> dict[str, object]:
    section = document[name]
    assert isinstance(section, dict)
    return section


def _clocks(probe: HostProbe, cpu: int) -> dict[str, object]:
    bounds = {bound: probe.scaling_hz(cpu, bound) for bound in ("min", "max")}
    if None in bounds.values():
        return {}
    return {bound: {"value": hertz, "source": f"sysfs: cpuinfo_{bound}_freq"} for bound, hertz in bounds.items()}


def _caches(probe: HostProbe, cpu: int) -> dict[str, object]:
    levels = probe.data_caches(cpu)
    if not {1, 2} <= set(levels):
        return {}
    sizes = {"l1d_bytes": 1, "l2_bytes": 2, "l3_bytes": 3}
    found: dict[str, object] = {
        key: {
            "value": levels[level].size_bytes if level in levels else None,
            "source": f"sysfs: cache of level {level}",
        }
        for key, level in sizes.items()
    }
    shared = bool(levels[2].shared_cpus - probe.siblings(cpu))
    found["l2_shared"] = {"value": shared, "source": "sysfs: shared_cpu_list"}
    return found
