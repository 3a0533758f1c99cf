"""The option `--cluster` of the commands whose work can be spread."""

from typing import Annotated

import typer

ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="local|tcp://...|slurm",
        help="Work on a Dask cluster: local[:N], tcp://HOST:PORT, slurm[:JOBS]. Default: processes of this machine.",
    ),
]
