"""`mnv3c profiles`: which profiles ship, and what each is worth."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnv3c.cli.profile_options import AsJson
from mnv3c.cli.wide_console import wide_console

if TYPE_CHECKING:
    from mnv3c.profiles.profile import Profile

_TABLE_WIDTH = 140


def profiles(
    name: Annotated[
        str | None, typer.Argument(metavar="[PROFILE]", help="A shipped profile or a profile's file; all if left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the profiles that ship with mnv3c, or show one: provenance, error, range, coefficients.

    Example: mnv3c profiles pixel4-cpu-tflite
    """
    from mnv3c.profiles.library import find_profile, shipped_profiles

    if name is None:
        known = [find_profile(each) for each in shipped_profiles()]
        typer.echo(json.dumps({"profiles": list(map(_summary, known))}, indent=1)) if as_json else _print_table(known)
        return
    profile = find_profile(name)
    typer.echo(json.dumps(_details(profile), indent=1)) if as_json else _print_details(profile)


def _summary(profile: "Profile") -> dict[str, Any]:
    validation = profile.cross_validation
    return {
        "name": profile.name,
        **asdict(profile.identity),
        "rows": profile.provenance.rows,
        "cross_validation": asdict(validation) if validation else None,
    }


def _details(profile: "Profile") -> dict[str, Any]:
    from mnv3c.profiles.profile import SHAPE_NAMES

    return {
        **_summary(profile),
        "provenance": asdict(profile.provenance),
        "log_ratios_90": {name: list(ends) for name, ends in profile.intervals.ratios.items()},
        "correlation": profile.intervals.correlation,
        "overhead": asdict(profile.overhead),
        "compiled_for": profile.compiled_for or None,
        "ranges": {
            family: {name: [low, high] for name, low, high in zip(SHAPE_NAMES, each.low, each.high, strict=True)}
            for family, each in profile.ranges.items()
        },
        "coefficients": _coefficients(profile),
    }


def _coefficients(profile: "Profile") -> dict[str, float]:
    model = profile.model
    return dict(zip(model.physics.term_names, map(float, model.coefficients), strict=True))


def _print_table(known: "list[Profile]") -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for header in ("profile", "device", "processor", "runtime", "precision"):
        table.add_column(header, no_wrap=True)
    for header in ("threads", "rows", "MAPE %", "within 10 %"):
        table.add_column(header, justify="right", no_wrap=True)
    for profile in known:
        identity, validation = profile.identity, profile.cross_validation
        errors = (f"{validation.mape:.2f}", f"{validation.within_10:.1f}") if validation else ("-", "-")
        table.add_row(
            profile.name,
            identity.device,
            identity.processor,
            identity.runtime,
            identity.precision,
            str(identity.threads),
            str(profile.provenance.rows),
            *errors,
        )
    wide_console(_TABLE_WIDTH).print(table)
    typer.echo("Errors are of cross-validation, grouped by shape or resolution.")


def _print_details(profile: "Profile") -> None:
    document = _details(profile)
    for key in ("name", "device", "processor", "runtime", "precision", "threads", "rows"):
        typer.echo(f"{key:<18} {document[key]}")
    provenance = profile.provenance
    for title, value in (
        ("made", provenance.made),
        ("by", provenance.how),
        ("from", "; ".join(provenance.sources)),
        ("starting from", ", ".join(provenance.priors)),
    ):
        if value:
            typer.echo(f"{title:<18} {value}")
    if (validation := profile.cross_validation) is not None:
        typer.echo(
            f"{'cross-validated':<18} {validation.method}, {validation.groups} groups: MAPE {validation.mape:.2f} %, "
            f"within 5 % {validation.within_5:.1f} %, within 10 % {validation.within_10:.1f} %, "
            f"bias {validation.bias:+.2f} %"
        )
    for family, ends in document["log_ratios_90"].items():
        low, high = (f"{value:+.3f}" for value in ends)
        typer.echo(f"{'90 % interval':<18} {family}: log ratio {low} to {high}")
    for family, numbers in document["ranges"].items():
        seen = ", ".join(f"{name} {low:g} to {high:g}" for name, (low, high) in numbers.items())
        typer.echo(f"{'seen':<18} {family}: {seen}")
    for term, value in document["coefficients"].items():
        typer.echo(f"{'coefficient':<18} {term} {value:.4g}")
