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
_KINDS: Mapping[str, type[Physics]] = MappingProxyType({kind.name: kind for kind in _ALL})


def physics_kinds() -> tuple[str, ...]:
    """The names that `make_physics` knows."""
    return tuple(_KINDS)


def physics_of(processor: str) -> Physics:
    """The physics of a processor, as records name it. Raises UserError, naming what there is, where none is known."""
    kinds = [kind for kind in _KINDS.values() if processor in kind.processors]
    if not kinds:
        known = sorted(processor for kind in _KINDS.values() for processor in kind.processors)
        raise UserError(
            f"no physics is known for the processor '{processor}': known are {', '.join(known)}; "
            f"--physics names one of {', '.join(_KINDS)}"
        )
    return kinds[0]()


def make_physics(kind: str, settings: Mapping[str, Number]) -> Physics:
    """The physics of a kind with these settings. Raises UserError naming an unknown kind or setting."""
    if kind not in _KINDS:
        raise UserError(f"physics '{kind}' is unknown: allowed are {', '.join(_KINDS)}")
    maker = _KINDS[kind]
    known = settings_of(maker())
    if unknown := sorted(settings.keys() - known.keys()):
        raise UserError(f"physics '{kind}' has no setting '{unknown[0]}': allowed are {', '.join(known)}")
    return maker(**settings)


def settings_of(physics: Physics) -> dict[str, Number]:
    """The settings with which `make_physics` makes the same again."""
    return {field.name: getattr(physics, field.name) for field in fields(physics)}  # type: ignore[arg-type]
