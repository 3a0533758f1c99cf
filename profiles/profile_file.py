"""Profiles as YAML: readable, checked, and small enough to ship."""

from collections.abc import Iterable, Mapping
from operator import gt
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt, ValidationError

from mnv3c.graph.errors import UserError
from mnv3c.graph.whole_file import check_place
from mnv3c.graph.yaml_text import read_yaml
from mnv3c.profiles.jsonl_store import write_lines
from mnv3c.profiles.model.intervals import ALL, Intervals
from mnv3c.profiles.model.model import Model
from mnv3c.profiles.model.residual import Residual
from mnv3c.profiles.physics.base import UNIT_GROUP, Floats, Physics
from mnv3c.profiles.physics.registry import make_physics, settings_of
from mnv3c.profiles.profile import (
    CrossValidation,
    Identity,
    NetworkOverhead,
    Profile,
    Provenance,
    ShapeRange,
)
from mnv3c.targets.violations import first_violation

FORMAT = "mnv3c-profile/1"
# Of one line, without what would steer a terminal.
_Text = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"^[^\x00-\x1f\x7f]+$")]
# Far beyond what any fit finds, and near enough that nothing computed from it overflows.
_LARGEST_NUMBER, _SHORTEST_LENGTH, _LARGEST_LOG_RATIO = 1e9, 1e-6, 20.0
_Amount = Annotated[FiniteFloat, Field(ge=0, le=_LARGEST_NUMBER)]
_LogRatio = Annotated[FiniteFloat, Field(ge=-_LARGEST_LOG_RATIO, le=_LARGEST_LOG_RATIO)]
_LENGTH_DIGITS = 6


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _IdentityEntry(_Strict):
    device: _Text
    processor: _Text
    runtime: _Text
    precision: _Text
    threads: PositiveInt


class _ProvenanceEntry(_Strict):
    rows: PositiveInt
    sources: tuple[_Text, ...]
    priors: tuple[_Text, ...] = ()
    made: _Text
    how: str


class _CrossValidationEntry(_Strict):
    method: _Text
    groups: PositiveInt
    mape: FiniteFloat
    rmspe: FiniteFloat
    within_5: FiniteFloat
    within_10: FiniteFloat
    bias: FiniteFloat


class _IntervalsEntry(_Strict):
    correlation: Annotated[FiniteFloat, Field(ge=0, le=1)]
    log_ratios: dict[_Text, tuple[_LogRatio, _LogRatio]]


class _RangeEntry(_Strict):
    low: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]
    high: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]


class _ResidualEntry(_Strict):
    """`points` has a line for each inducing point: its weight, then where it lies."""

    family: _Text
    constant: Annotated[FiniteFloat, Field(ge=-_LARGEST_NUMBER, le=_LARGEST_NUMBER)]
    length: tuple[Annotated[float, Field(ge=_SHORTEST_LENGTH)], ...]
    points: str


class _PhysicsEntry(_Strict):
    kind: _Text
    settings: dict[_Text, int | FiniteFloat] = {}


class _ModelEntry(_Strict):
    """A model; `priors` are names of models that stand earlier in the file."""

    name: _Text
    physics: _PhysicsEntry
    priors: tuple[_Text, ...] = ()
    coefficients: dict[_Text, _Amount]
    residuals: tuple[_ResidualEntry, ...] = ()


class _OverheadEntry(_Strict):
    network_ms: _Amount
    unit_ms: _Amount
    scale: Annotated[FiniteFloat, Field(gt=0, le=_LARGEST_NUMBER)] = 1.0


class _Document(_Strict):
    format: Literal["mnv3c-profile/1"]
    name: _Text
    identity: _IdentityEntry
    provenance: _ProvenanceEntry
    cross_validation: _CrossValidationEntry | None = None
    intervals: _IntervalsEntry
    overhead: _OverheadEntry
    ranges: dict[_Text, _RangeEntry]
    models: Annotated[tuple[_ModelEntry, ...], Field(min_length=1)]
    projected_shortcuts: bool = False
    compiled_for: _Text | None = None
    seen: str = ""


def save_profile(profile: Profile, path: Path) -> None:
    """Write a profile, whole or not at all.

    Raises UserError for a path that `check_path` refuses and for what `load_profile` would not read again, such as a
    name of several lines; MissingError for a full disk.
    """
    check_path(path)
    document = _as_document(profile)
    _checked(document, path)
    write_lines(path, [_yaml(document).encode()])


def check_path(path: Path) -> None:
    """Raises UserError for a name without .yaml, for a folder, and for a folder that is not there."""
    if path.suffix != ".yaml":
        raise UserError(f"{path}: a profile is saved to a file that ends in .yaml")
    check_place(path)


def profile_text(profile: Profile) -> str:
    """The profile as YAML."""
    return _yaml(_as_document(profile))


def _as_document(profile: Profile) -> dict[str, Any]:
    validation = profile.cross_validation
    return {
        "format": FORMAT,
        "name": profile.name,
        "identity": vars(profile.identity),
        "provenance": _plain(vars(profile.provenance)),
        **({"cross_validation": _plain(vars(validation))} if validation is not None else {}),
        "intervals": {
            "correlation": _short(profile.intervals.correlation),
            "log_ratios": {name: [_short(low), _short(high)] for name, (low, high) in profile.intervals.ratios.items()},
        },
        "overhead": _plain(vars(profile.overhead)),
        "ranges": {name: {"low": list(each.low), "high": list(each.high)} for name, each in profile.ranges.items()},
        "models": [_model_entry(name, model, names) for name, model, names in _flattened(profile.model)],
        "projected_shortcuts": profile.projected_shortcuts,
        **({"compiled_for": profile.compiled_for} if profile.compiled_for else {}),
        "seen": "\n".join(_wrapped(sorted(profile.seen))) + "\n",
    }


def _yaml(document: Mapping[str, Any]) -> str:
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


def load_profile(path: Path) -> Profile:
    """The profile of a file. Raises UserError naming the file, the key and what is allowed."""
    document = read_yaml(path)
    if not isinstance(document, Mapping):
        raise UserError(f"{path}: a profile is a mapping of keys to values")
    checked = _checked(document, path)
    try:
        return _profile(checked)
    except (UserError, ValueError) as error:
        raise UserError(f"{path}: {error}") from None


def _checked(document: Mapping[str, Any], path: Path) -> _Document:
    try:
        return _Document.model_validate(document)
    except ValidationError as error:
        raise UserError(f"{path}: {first_violation(error, _Document, document)}") from None


class _Dumper(yaml.SafeDumper):
    """Long texts stand line by line, short lists in one line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)

    def represent_items(self, items: list[Any]) -> yaml.SequenceNode:
        return self.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=not any(_nested(x) for x in items))


_Dumper.add_representer(str, _Dumper.represent_text)
_Dumper.add_representer(list, _Dumper.represent_items)


def _nested(value: object) -> bool:
    return isinstance(value, list | dict) or (isinstance(value, str) and len(value) > 60)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else _short(value) if isinstance(value, float) else value
        for name, value in values.items()
    }


def _short(value: float) -> float:
    return float(f"{value:.{_LENGTH_DIGITS}g}")


def _wrapped(words: list[str]) -> Iterable[str]:
    return (" ".join(words[start : start + 12]) for start in range(0, len(words), 12))


def _flattened(model: Model) -> list[tuple[str, Model, tuple[str, ...]]]:
    """Every model under its name, priors before what was made of them, and the names of its priors."""
    found: list[tuple[str, Model, tuple[str, ...]]] = []

    def visit(each: Model) -> str:
        priors = tuple(visit(prior) for prior in each.priors)
        name = f"model{len(found)}"
        found.append((name, each, priors))
        return name

    visit(model)
    return found


def _model_entry(name: str, model: Model, priors: tuple[str, ...]) -> dict[str, Any]:
    physics = model.physics
    values = {**dict(zip(physics.term_names, model.coefficients, strict=True)), UNIT_GROUP: model.unit_coefficient}
    return {
        "name": name,
        "physics": {"kind": physics.name, "settings": settings_of(physics)},
        "priors": list(priors),
        "coefficients": {term: _short(value) for term, value in values.items()},
        "residuals": [_residual_entry(each, physics.families) for each in model.residuals],
    }


def _residual_entry(residual: Residual, families: tuple[str, ...]) -> dict[str, Any]:
    rows = np.hstack([residual.weights[:, None], residual.points])
    lines = (" ".join([f"{row[0]:.6g}", *(f"{value:.5g}" for value in row[1:])]) for row in rows)
    return {
        "family": families[residual.family],
        "constant": _short(residual.constant),
        "length": list(residual.length),
        "points": "\n".join(lines) + "\n",
    }


def _profile(document: _Document) -> Profile:
    log_ratios = document.intervals.log_ratios
    if ALL not in log_ratios:
        raise UserError(f"intervals.log_ratios: '{ALL}' is missing")
    if turned := [name for name, (low, high) in log_ratios.items() if low > high]:
        raise UserError(f"intervals.log_ratios: '{turned[0]}' must be the lower end, then the higher")
    if turned := [name for name, each in document.ranges.items() if any(map(gt, each.low, each.high))]:
        raise UserError(f"ranges: '{turned[0]}': low must not be above high")
    validation = document.cross_validation
    return Profile(
        document.name,
        Identity(**document.identity.model_dump()),
        _model(document.models),
        Intervals(log_ratios, document.intervals.correlation),
        {name: ShapeRange(each.low, each.high) for name, each in document.ranges.items()},
        NetworkOverhead(**document.overhead.model_dump()),
        Provenance(**document.provenance.model_dump()),
        CrossValidation(**validation.model_dump()) if validation is not None else None,
        frozenset(document.seen.split()),
        document.projected_shortcuts,
        document.compiled_for or "",
    )


def _model(entries: tuple[_ModelEntry, ...]) -> Model:
    known: dict[str, Model] = {}
    for entry in entries:
        if unknown := [prior for prior in entry.priors if prior not in known]:
            raise UserError(f"models: '{entry.name}': no model '{unknown[0]}' stands before it")
        physics = make_physics(entry.physics.kind, entry.physics.settings)
        names = (*physics.term_names, UNIT_GROUP)
        if set(entry.coefficients) != set(names):
            raise UserError(f"models: '{entry.name}': coefficients must be of {', '.join(names)}")
        if not any(entry.coefficients.values()):
            raise UserError(f"models: '{entry.name}': coefficients are all 0, and something must take time")
        *coefficients, unit = (entry.coefficients[name] for name in names)
        priors = tuple(known[prior] for prior in entry.priors)
        known[entry.name] = Model(physics, np.array(coefficients), unit, _residuals(entry, physics), priors)
    return known[entries[-1].name]


def _residuals(entry: _ModelEntry, physics: Physics) -> tuple[Residual, ...]:
    return tuple(_residual(each, entry.name, physics) for each in entry.residuals)


def _residual(entry: _ResidualEntry, name: str, physics: Physics) -> Residual:
    if entry.family not in physics.families:
        raise UserError(f"models: '{name}': no family '{entry.family}': allowed are {', '.join(physics.families)}")
    family = physics.families.index(entry.family)
    if len(entry.length) != (wanted := len(physics.beliefs[family].length)):
        raise UserError(f"models: '{name}': length of '{entry.family}' must be {wanted} numbers")
    rows = _numbers(entry.points, len(entry.length) + 1, f"models: '{name}': points of '{entry.family}'")
    return Residual(family, entry.length, entry.constant, rows[:, 1:], rows[:, 0])


def _numbers(text: str, columns: int, where: str) -> Floats:
    try:
        values = np.array(text.split(), np.float64)
    except ValueError:
        raise UserError(f"{where}: must be numbers") from None
    if len(values) % columns or not (np.abs(values) <= _LARGEST_NUMBER).all():
        raise UserError(f"{where}: must be lines of {columns} finite numbers, up to {_LARGEST_NUMBER:g}")
    return values.reshape(-1, columns)
