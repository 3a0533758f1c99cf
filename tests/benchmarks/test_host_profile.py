"""benchmarks/host_profile.py on rows that physics itself made up: what was put in has to come out."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mnv3c
from mnv3c.compiler.lower import lower
from mnv3c.compiler.plan_table import call_work
from mnv3c.graph.ir import Graph
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.profiles.model.own_networks import whole_networks
from mnv3c.profiles.physics.compiled_device import compiled_physics
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device

ROOT = Path(__file__).resolve().parents[2]
# The made-up machine: each term takes so much of its nominal time, and a network a tenth more than its kernels.
SPEED, ADDITIVITY = 1.7, 1.1


@pytest.fixture
def kernel_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its modules, importable as the benchmark imports them."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def made_up_rows(path: Path) -> None:
    """Rows of Large, Small and a few random networks, with latencies by physics."""
    from kernel_space.campaign import Timed, Whole, write_rows
    from kernel_space.kernels import kernels_of, table_of
    from kernel_space.networks import paper_network, varied_network

    device = find_device("host")
    graphs: dict[str, Graph] = {"large": mobilenet_v3("large", seed=None), "small": mobilenet_v3("small", seed=None)}
    graphs |= {f"{name}_guessed": graph for name, graph in graphs.items()}
    graphs |= {f"learn{number:02d}": varied_network(number) for number in range(6)}
    graphs |= {"judge00": varied_network(1000), "judge01": paper_network(1001)}
    physics, wholes = compiled_physics(device), []
    for name, graph in graphs.items():
        kernels = kernels_of(lower(run_passes(graph, default_passes()), load_target(device.target), device), device)
        table = table_of(kernels)
        ms = SPEED * (table.per_unit_sum(physics.terms(table).sum(1)) + physics.unit_ms)
        timed = tuple(Timed(name, kernel, 1, us, us, us, 25, 1) for kernel, us in zip(kernels, 1e3 * ms, strict=True))
        wholes.append(Whole(name, 1, ADDITIVITY * float(np.sum(ms)), timed))
    write_rows(path, wholes)


@pytest.mark.usefixtures("kernel_space")
def test_what_was_put_in_comes_out(tmp_path: Path) -> None:
    made_up_rows(tmp_path / "rows.jsonl")
    paths = (str(Path(mnv3c.__file__).parents[1]), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = (
        sys.executable,
        str(ROOT / "benchmarks" / "host_profile.py"),
        "--rows-file",
        "rows.jsonl",
        "--draws",
        "2",
    )
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *table, _, last = done.stdout.splitlines()
    figures = {cells[1].strip(): [float(cell) for cell in cells[2:-1]] for cells in (r.split("|") for r in table[2:])}
    assert len(figures) == 5 and last.startswith("150 of ") and last.endswith(f"takes {ADDITIVITY:.3f} of its kernels")
    for what, (count, mape, within_10, *_) in figures.items():
        assert count >= 2 and mape < 2.0 and within_10 > 97.0, what


@pytest.mark.usefixtures("kernel_space")
def test_rows_become_records(tmp_path: Path) -> None:
    """They do not say what a group's parts read, yet the same works come out as from the network."""
    from kernel_space.campaign import Timed, Whole
    from kernel_space.kernels import kernels_of
    from kernel_space.networks import varied_network
    from kernel_space.records import records_of

    device = find_device("sapphire-rapids")
    for graph in (mobilenet_v3("large", seed=None), *map(varied_network, range(3))):
        network = lower(run_passes(graph, default_passes()), load_target(device.target), device)
        kernels = kernels_of(network, device)
        timed = tuple(Timed("one", kernel, 1, 2.0, 1.5, 2.5, 25, 1) for kernel in kernels)
        *rows, whole = records_of([Whole("one", 1, 3.0, timed)], device)
        assert [row.work for row in rows] == [call_work(call, network.graph) for call in network.calls if call.nodes]
        assert [int(row.tags["ahead_bytes"]) for row in rows] == [kernel.ahead_bytes for kernel in kernels]
        assert {row.device for row in rows} == {"x86_64-sapphirerapids"} and whole.latency_ms == 3.0
        assert [each.record for each in whole_networks([whole], rows)] == [whole]


@pytest.mark.usefixtures("kernel_space")
def test_a_torn_file_is_named(tmp_path: Path) -> None:
    from kernel_space.campaign import read_rows

    from mnv3c.graph.errors import UserError

    (tmp_path / "rows.jsonl").write_text('{"network": "large"\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"rows\.jsonl:1: not a measured kernel"):
        read_rows(tmp_path / "rows.jsonl")
