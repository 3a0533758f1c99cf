"""benchmarks/gpu_peers.py on two small layers: both sides compute them, its sums add up. No test looks at a time."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from tests.compiler.tune.fakes import record

import mnv3c
from mnv3c.compiler.opencl.target import load_opencl_target
from mnv3c.compiler.opencl.tune.device import PoclDevice
from mnv3c.compiler.tune.record import Record
from mnv3c.compiler.tune.space import Space
from mnv3c.compiler.tune.store import write_records
from mnv3c.graph.errors import UserError
from mnv3c.graph.layer import LayerKey
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.registry import find_device

ROOT = Path(__file__).resolve().parents[2]
TINY = ("small", "--width", "0.35", "--resolution", "32", "--classes", "10")
DENSE = LayerKey.parse("dense 1x16->1x10 bias=yes")


@pytest.fixture
def race(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its modules, importable as the benchmark imports them."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def gpu_peers(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    paths = (str(Path(mnv3c.__file__).parents[1]), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = (sys.executable, str(ROOT / "benchmarks" / "gpu_peers.py"), *words)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def require_opencl() -> None:
    cl = pytest.importorskip("pyopencl", reason="pyopencl is not installed (extra gpu)")
    try:
        found = [device for platform in cl.get_platforms() for device in platform.get_devices()]
    except cl.Error:
        found = []
    if not found:
        pytest.skip("no OpenCL platform is installed (extra gpu brings PoCL)")


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_two_small_layers(tmp_path: Path, layout: str) -> None:
    require_opencl()
    write_records(tmp_path / "r.jsonl", [another_stem()])
    few = ("--layers", "2", "--rounds", "3", "--tune", "0", "--records", "r.jsonl", "--tvm-layout", layout)
    done = gpu_peers(tmp_path, *TINY, *few, "--json", "rows.json")
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert (document["tvm_layout"], document["rounds"]) == (layout, 3)
    rows = document["rows"]
    assert [row["kind"] for row in rows] == ["direct", "depthwise"]
    stem, depthwise = rows
    assert stem["tuned_kernel"] == another_stem().candidate != stem["first_kernel"]
    assert depthwise["tuned_kernel"] == depthwise["first_kernel"] and depthwise["tuned_us"] == depthwise["first_us"]
    for row in rows:
        assert row["tvm_launches"] == 1 and row["why_not"] == ""
        for side in ("tvm", "first", "tuned"):
            times = row["rounds_us"][side]
            assert len(times) == 3 and min(times) > 0 and row[f"{side}_us"] == median(times)
    header, rule, *lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {header.count("|")} == {rule.count("|")}
    sums_ms = (sum(row["count"] * row[f"{side}_us"] for row in rows) / 1e3 for side in ("tvm", "first", "tuned"))
    assert lines[-1].startswith(f"| all | 2 | {' | '.join(f'{each:.3f}' for each in sums_ms)} |")
    assert "this CPU, and no phone" in done.stdout and "Tuned: not tuned now" in done.stdout


def another_stem() -> Record:
    """A record by which the last candidate of the tiny network's stem is the one to take."""
    device, target = find_device("adreno-640", kind=GpuDevice), load_opencl_target("adreno")
    graph = mobilenet_v3("small", width=0.35, resolution=32, classes=10)
    stem, *_ = Space(graph, target, device, partial(target.tunable, device=device)).tasks
    last = stem.candidates[-1]
    return record(
        layer=stem.layer,
        storage=stem.key[1],
        target=device.target,
        device=device.name,
        device_class=PoclDevice.here(target, device).device_class,
        family=last.family,
        parameters=dict(last.parameters),
        baseline=stem.names[0],
    )


@pytest.mark.usefixtures("race")
def test_kernels_of_tvm_are_bound_to_work_items() -> None:
    pytest.importorskip("tvm")
    from gpu_race.tvm_default import default_kernels

    (launch,) = default_kernels(DENSE.op, dense_operands(), 10, "NCHW").launches
    assert f"{launch.name}(" in launch.source and "get_local_id" in launch.source
    assert sorted(launch.arguments) == ["bias", "input0", "output", "weight"]
    assert all(size % group == 0 for size, group in zip(launch.global_size, launch.local_size, strict=True))
    assert np.prod(launch.local_size) > 1


@pytest.mark.usefixtures("race")
def test_what_dlight_does_not_schedule_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tvm")
    from gpu_race.tvm_default import NotScheduledError, default_kernels
    from tvm.relax.backend import gpu_generic

    passes = gpu_generic.legalize_passes
    monkeypatch.setattr(gpu_generic, "legalize_passes", lambda target: passes(target)[:-1])
    with pytest.raises(NotScheduledError, match="no rule of dlight takes fused_matmul_add"):
        default_kernels(DENSE.op, dense_operands(), 10, "NCHW")


@pytest.mark.usefixtures("race")
def test_an_op_without_a_rule_is_named() -> None:
    pytest.importorskip("tvm")
    from gpu_race.relax_layer import relax_module

    softmax = LayerKey.parse("softmax 1x10->1x10").op
    with pytest.raises(UserError, match="softmax is not written in Relax here"):
        relax_module(softmax, {"input0": np.zeros((1, 10), np.float32)}, "NCHW")


def dense_operands() -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    shapes = {"input0": (1, 16), "weight": (16, 10), "bias": (10,)}
    return {name: np.ones(shape, np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tvm-layout", "NCHW4"), "--tvm-layout: 'NCHW4' is not NCHW or NHWC"),
        (("--device", "cortex-a76"), "device 'cortex-a76' is"),
    ],
)
def test_wrong_input_is_refused(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    done = gpu_peers(tmp_path, *words)
    assert done.returncode == 2 and message in done.stderr
    assert len(done.stderr.splitlines()) == 1
