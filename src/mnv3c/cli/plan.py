"""`mnv3c measure --plan N`: the few layers or blocks worth measuring next."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mnv3c.graph.errors import UserError

if TYPE_CHECKING:
    from mnv3c.compiler.measure.job import Job
    from mnv3c.profiles.profile import Profile
    from mnv3c.profiles.record import RecordStore
    from mnv3c.profiles.work import Work


def planned_jobs(jobs: "Sequence[Job]", count: int, prior: str | None, store: "RecordStore | None") -> "list[Job]":
    """Of the different layers of the jobs the `count` most telling ones, each a job alone.

    Layers that `store` has are taken as known. Raises UserError without a prior and for too few layers.
    """
    from mnv3c.compiler.measure.job import Job
    from mnv3c.profiles.work import LayerWork, NetworkWork

    works = [
        work
        for job in jobs
        for work in (map(LayerWork, job.work.layers) if isinstance(job.work, NetworkWork) else [job.work])
    ]
    measured = [record.work for record in store.records] if store else ()
    picked = chosen(list(dict.fromkeys(works)), count, _prior(prior), measured)
    return [Job.of_layer(work.key) for work in picked if isinstance(work, LayerWork)]


def list_plan(pool: Path, count: int, prior: str | None, as_json: bool) -> None:
    """Print which `count` works of a file of records to measure, the most telling first."""
    picked = chosen(file_pool(pool), count, _prior(prior))
    if as_json:
        typer.echo(json.dumps({"plan": [str(work) for work in picked]}, indent=1))
    else:
        typer.echo("\n".join(map(str, picked)))


def _prior(name: str | None) -> "Profile":
    from mnv3c.profiles.library import find_profile

    if name is None:
        raise UserError(
            "--plan needs --prior PROFILE: a profile of another device, from which the new one's will start"
        )
    return find_profile(name)


def file_pool(path: Path) -> "tuple[Work, ...]":
    """The different works of a file of records. Raises UserError where it holds whole networks or tells no shapes."""
    from mnv3c.profiles.readers.detect import read_records
    from mnv3c.profiles.work import NetworkWork

    works = tuple(dict.fromkeys(record.work for record in read_records(path)))
    if any(isinstance(work, NetworkWork) for work in works):
        raise UserError(f"{path}: a plan chooses layers or blocks, not whole networks")
    if shapeless := next((work for work in works if not work.layer_keys()), None):
        raise UserError(f"{path}: of '{shapeless}' nobody says the shapes, so no plan can choose it")
    return works


def chosen(pool: "Sequence[Work]", count: int, prior: "Profile", measured: "Sequence[Work]" = ()) -> "tuple[Work, ...]":
    """The `count` works of the pool that tell a profile which starts from `prior` most, the most telling first.

    What was `measured` already is not chosen again. Raises UserError where the pool has not so many left.
    """
    from mnv3c.profiles.layer_table import LayerTable
    from mnv3c.profiles.plan import choose, transfer_features

    known = set(map(str, measured))
    table = LayerTable.of_items([work.layer_keys() for work in pool])
    done = [index for index, work in enumerate(pool) if str(work) in known]
    return tuple(pool[index] for index in choose(transfer_features(prior.model, table), count, measured=done))
