"""`mnv3c calibrate`: a profile from measured rows."""

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnv3c.cli.profile_options import AsJson, RecordFiles, Stated, Where, read_files
from mnv3c.graph.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mnv3c.profiles.profile import Profile
    from mnv3c.profiles.record import Record
    from mnv3c.targets.device import CpuDevice


def calibrate(
    records: RecordFiles,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="X.yaml", help="Where to write the profile.")],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The profile's name. Default: the file's.")
    ] = None,
    prior: Annotated[
        list[str] | None,
        typer.Option("--prior", metavar="PROFILE", help="A profile to start from. Repeat to mix several."),
    ] = None,
    where: Where = None,
    stated: Stated = None,
    networks: Annotated[
        Path | None,
        typer.Option("--networks", metavar="FILE", help="End-to-end rows: what networks take beside their kernels."),
    ] = None,
    physics: Annotated[
        str | None,
        typer.Option("--physics", metavar="KIND", help="The kind of physics, where the processor does not tell."),
    ] = None,
    target_device: Annotated[
        str | None,
        typer.Option(
            "--target-device",
            metavar="NAME",
            help="For rows of mnv3c's own programs: what they were compiled for. Default: what the rows say.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fit a profile to measured rows, alone or starting from profiles of other devices.

    Example: mnv3c calibrate rows10.csv --prior pixel4-cpu-tflite -o mine.yaml
    """
    from mnv3c.profiles.calibrate import Request
    from mnv3c.profiles.calibrate import calibrate as fitted
    from mnv3c.profiles.library import find_profile
    from mnv3c.profiles.physics.registry import make_physics
    from mnv3c.profiles.profile_file import check_path, save_profile

    check_path(output)
    priors = tuple(find_profile(each) for each in prior or [])
    rows = read_files(records, where, stated)
    request = Request(
        name=name or output.stem,
        priors=priors,
        networks=read_files([networks], None) if networks else (),
        physics=make_physics(physics, {}) if physics else None,
        device=_compiled_for(rows, target_device),
        how=_command(records, output, prior or [], where or [], stated or [], networks, physics, target_device),
    )
    profile = fitted(rows, request)
    save_profile(profile, output)
    if as_json:
        typer.echo(json.dumps(_document(profile, output), indent=1))
    else:
        _print(profile, output)


def _compiled_for(rows: "Sequence[Record]", name: str | None) -> "CpuDevice | None":
    """The device that mnv3c's own programs were compiled for; None for rows of other runtimes."""
    from mnv3c.profiles.physics.registry import own_runtime
    from mnv3c.targets.registry import HOST, device_names, find_device

    if name is not None:
        return find_device(name)
    measured = sorted({row.device for row in rows if own_runtime(row.runtime)})
    if not measured:
        return None
    if len(measured) == 1 and measured[0] in device_names():
        return find_device(measured[0])
    host = find_device(HOST)
    if measured in ([host.processor_name], [host.core_class]):
        return host
    raise UserError(
        f"the rows are of programs that mnv3c compiled, measured on {', '.join(measured)}, which is not this machine: "
        "state what they were compiled for by --target-device"
    )


def _command(
    records: list[Path],
    output: Path,
    prior: list[str],
    where: list[str],
    stated: list[str],
    networks: Path | None,
    physics: str | None,
    target_device: str | None,
) -> str:
    """The command that was given; of a path only its name, which means the same on every machine."""
    words = ["mnv3c", "calibrate", *(path.name for path in records), "-o", output.name]
    for option, values in (("--prior", [Path(each).name for each in prior]), ("--where", where), ("--set", stated)):
        words += [word for value in values for word in (option, value)]
    words += ["--networks", networks.name] if networks else []
    words += ["--physics", physics] if physics else []
    words += ["--target-device", Path(target_device).name] if target_device else []
    return shlex.join(words)


def _document(profile: "Profile", output: Path) -> dict[str, object]:
    validation = profile.cross_validation
    return {
        "path": str(output),
        "name": profile.name,
        **asdict(profile.identity),
        "rows": profile.provenance.rows,
        "cross_validation": asdict(validation) if validation else None,
        "log_ratios_90": {name: list(ends) for name, ends in profile.intervals.ratios.items()},
    }


def _print(profile: "Profile", output: Path) -> None:
    identity, validation = profile.identity, profile.cross_validation
    typer.echo(
        f"{profile.name}: {identity.device} {identity.processor}, {identity.runtime}, {identity.precision}, "
        f"{identity.threads} thread{'s' if identity.threads > 1 else ''}; fitted to {profile.provenance.rows} rows"
    )
    if validation is not None:
        typer.echo(
            f"cross-validated ({validation.method}, {validation.groups} groups): MAPE {validation.mape:.2f} %, "
            f"within 10 % {validation.within_10:.1f} %, bias {validation.bias:+.2f} %"
        )
    typer.echo(str(output))
