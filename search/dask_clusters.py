"""Dask clusters: one on this machine, one that runs somewhere, jobs of Slurm."""

import logging
import math
import shutil
import socket
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mnv3c.graph.errors import MissingError
from mnv3c.search.dask_workers import INSTALL, DaskWorkers, code_digest
from mnv3c.search.workers import Workers, WorkersLostError

if TYPE_CHECKING:
    from distributed import Client

_CONNECT_S = 5
_CLOSE_S = 10
_SUBMIT = "sbatch"
# Ctrl-C reaches all processes of a terminal; workers leave it to this one.
_DEAF_TO_INTERRUPTS = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"


@contextmanager
def local_cluster(count: int) -> Iterator[Workers]:
    """A scheduler in this process, heard on the loopback alone, and processes of one thread each."""
    _require_dask()
    from distributed import LocalCluster

    name = "--cluster local"
    with _quiet(), tempfile.TemporaryDirectory(prefix="mnv3c-dask-") as folder, ExitStack() as stack:
        with _failing(f"{name}: Dask cannot start its processes"):
            cluster = stack.enter_context(
                LocalCluster(
                    n_workers=count,
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    dashboard_address=None,
                    memory_limit=0,
                    local_directory=folder,
                    preload=_DEAF_TO_INTERRUPTS,
                    silence_logs=logging.CRITICAL,
                )
            )
        yield DaskWorkers(stack.enter_context(_client(cluster.scheduler_address, name)), name, count)


@contextmanager
def joined_cluster(address: str) -> Iterator[Workers]:
    """The workers of a scheduler that runs at an address. Raises MissingError where none answers."""
    _require_dask()
    name = f"--cluster {address}"
    _require_answer(address, name)
    with _quiet(), _client(address, name) as client:
        _require_same_code(client, name)
        yield DaskWorkers(client, name, sum(client.nthreads().values()))


@contextmanager
def slurm_cluster(jobs: int) -> Iterator[Workers]:
    """So many jobs of Slurm, which Dask's own configuration (`jobqueue.slurm`) describes; a worker a core of each.

    Jobs may wait for hours: having no workers is no error.
    """
    _require_dask()
    try:
        from dask_jobqueue import SLURMCluster
    except ModuleNotFoundError:
        raise MissingError("--cluster slurm needs dask-jobqueue: pip install 'mnv3c[slurm]'") from None
    if shutil.which(_SUBMIT) is None:
        raise MissingError(f"--cluster slurm: there is no {_SUBMIT} on this machine")
    import dask

    cores = dask.config.get("jobqueue.slurm.cores", None)
    if not cores:
        raise MissingError("--cluster slurm: Dask's configuration does not say jobqueue.slurm.cores and .memory")
    name = "--cluster slurm"
    with _quiet(), ExitStack() as stack:
        with _failing(f"{name}: Dask cannot submit jobs"):
            cluster = stack.enter_context(
                SLURMCluster(processes=cores, silence_logs=logging.CRITICAL, scheduler_options={"dashboard": False})
            )
            cluster.scale(jobs=jobs)
        client = stack.enter_context(_client(cluster.scheduler_address, name))
        yield DaskWorkers(client, name, jobs * cores, math.inf)


@contextmanager
def _client(address: str, name: str) -> "Iterator[Client]":
    from distributed import Client

    with _failing(f"{name}: no scheduler answers"):
        client = Client(address, timeout=_CONNECT_S, set_as_default=False)
    try:
        yield client
    finally:
        client.close(timeout=_CLOSE_S)


def _require_answer(address: str, name: str) -> None:
    """Dask would wait for ever for a port that takes connections and says nothing; its schedulers speak first."""
    parts = urlsplit(address)
    place = (parts.hostname, parts.port)
    with _failing(f"{name}: no scheduler answers"), socket.create_connection(place, _CONNECT_S) as connection:
        if parts.scheme == "tcp" and not connection.recv(1):
            raise ConnectionError("the connection was closed")


def _require_same_code(client: "Client", name: str) -> None:
    """Of the scheduler, which reads our pickles too, and of the workers that there are by now."""
    with _failing(f"{name}: does not say its versions"):
        versions = client.get_versions()
    own = versions["client"]["packages"]
    for where, other in (("the scheduler", versions["scheduler"]), *versions["workers"].items()):
        for package, digits in (("python", 2), ("distributed", 3)):
            theirs, ours = (".".join(str(each[package]).split(".")[:digits]) for each in (other["packages"], own))
            if theirs != ours:
                raise WorkersLostError(f"{name}: {package} is {theirs} at {where} and {ours} here; install the same")
    try:
        with _failing(f"{name}: the scheduler went away"):
            client.run_on_scheduler(code_digest)
            digests = client.run(code_digest, on_error="return")
    except (ImportError, AttributeError):
        raise WorkersLostError(f"{name}: the scheduler cannot import this mnv3c; {INSTALL}") from None
    for worker, digest in digests.items():
        if digest != code_digest():
            raise WorkersLostError(f"{name}: the worker {worker} has another mnv3c, or none; {INSTALL}")


def _require_dask() -> None:
    try:
        import distributed  # noqa: F401
    except ModuleNotFoundError:
        raise MissingError("--cluster needs dask.distributed: pip install 'mnv3c[distributed]'") from None


@contextmanager
def _failing(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        first_line = str(error).partition("\n")[0]
        raise WorkersLostError(f"{what}: {first_line}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """What Dask logs of workers that come and go would stand between our own lines; versions are compared by us."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="distributed")
            yield
    finally:
        logging.disable(before)
