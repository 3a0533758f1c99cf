"""The kinds of physics by name, and their settings as data."""

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType

from mnv3c.graph.errors import UserError
from mnv3c.profiles.physics.accelerator import AcceleratorPhysics
from mnv3c.profiles.physics.base import Physics
from mnv3c.profiles.physics.compiled_cpu import CompiledCpuPhysics
from mnv3c.profiles.physics.cpu import CpuPhysics
from mnv3c.profiles.physics.gpu import GpuPhysics

Number = int | float
_ALL: tuple[type[Physics], ...] = (AcceleratorPhysics, CompiledCpuPhysics, CpuPhysics, GpuPhysics)
# No clock in Hz is slower; no clock, no memory in bytes, and no width is larger.
_LEAST_SETTING, _LARGEST_SETTING = 1e-3, 1e15
# What a processor may lack.
_MAY_BE_ABSENT = ("tile_bf16_macs",)
# The runtime of programs that mnv3c compiles, before its version.
OWN_RUNTIME = "mnv3c"
_KINDS: Mapping[str, type[Physics]] = MappingProxyType({kind.name: kind for kind in _ALL})


def physics_kinds() -> tuple[str, ...]:
    """The names that `make_physics` knows."""
    return tuple(_KINDS)


def own_runtime(runtime: str) -> bool:
    """Whether records of a runtime, as they name it, are of code that mnv3c compiles."""
    return runtime.partition(" ")[0] == OWN_RUNTIME


def physics_of(processor: str, runtime: str = "") -> Physics:
    """The physics of a processor under a runtime, as records name them.

    Raises UserError, naming what there is, where none is known.
    """
    if own_runtime(runtime):
        processor = f"compiled-{processor}"
    kinds = [kind for kind in _KINDS.values() if processor in kind.processors]
    if not kinds:
        known = sorted(processor for kind in _KINDS.values() for processor in kind.processors)
        raise UserError(
            f"no physics is known for the processor '{processor}': known are {', '.join(known)}; "
            f"--physics names one of {', '.join(_KINDS)}"
        )
    return kinds[0]()


def suits(physics: Physics, processor: str) -> bool:
    """Whether a physics may be that of a processor: it knows it, or no kind does."""
    return processor in physics.processors or all(processor not in kind.processors for kind in _ALL)


def make_physics(kind: str, settings: Mapping[str, Number]) -> Physics:
    """The physics of a kind with these settings. Raises UserError naming an unknown kind, setting, or a wrong value."""
    if kind not in _KINDS:
        raise UserError(f"physics '{kind}' is unknown: allowed are {', '.join(_KINDS)}")
    maker = _KINDS[kind]
    known = settings_of(maker())
    if unknown := sorted(settings.keys() - known.keys()):
        raise UserError(f"physics '{kind}' has no setting '{unknown[0]}': allowed are {', '.join(known)}")
    for name, value in settings.items():
        whole = isinstance(known[name], int)
        least = 0 if name in _MAY_BE_ABSENT else 1 if whole else _LEAST_SETTING
        if not least <= value <= _LARGEST_SETTING or (whole and not isinstance(value, int)):
            sort = "whole number" if whole else "number"
            raise UserError(
                f"physics '{kind}': setting '{name}' must be a {sort} from {least:g} to {_LARGEST_SETTING:g}, "
                f"not {value:g}"
            )
    return maker(**settings)


def settings_of(physics: Physics) -> dict[str, Number]:
    """The settings with which `make_physics` makes the same again."""
    return {field.name: getattr(physics, field.name) for field in fields(physics)}  # type: ignore[arg-type]
