"""`mnv3c tune` for a GPU, measured on PoCL and labelled so, and `compile --tuned-on pocl`, which takes its records."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from tests.cli.conftest import HOST_CPU, Mnv3c

from mnv3c.compiler.tune.session import host_title
from mnv3c.compiler.tune.store import RecordStore
from mnv3c.graph import reference
from mnv3c.graph.initialise import initialise
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import Conv2d, Input
from mnv3c.graph.yaml_io import load_graph, save_graph

pytestmark = pytest.mark.usefixtures("own_folders")
LABEL = f"measured on PoCL ({host_title()}), no GPU's latency"


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stem, a depthwise and a pointwise layer as a graph file."""
    nodes = (
        Node("x", Input((1, 12, 12, 3))),
        Node("stem", Conv2d(16, (3, 3), padding=(1, 1, 1, 1), bias=True), ("x",)),
        Node("deep", Conv2d(16, (3, 3), padding=(1, 1, 1, 1), groups=16, bias=True), ("stem",)),
        Node("narrow", Conv2d(8, (1, 1), bias=True), ("deep",)),
    )
    path = tmp_path_factory.mktemp("graph") / "three.yaml"
    save_graph(initialise(Graph("three", nodes, ("narrow",)), 0), path)
    return path


@pytest.fixture(scope="module")
def tuned(net: Path, data_folder: Path, mnv3c: Mnv3c, pocl: object) -> Path:
    """The records of first guesses and a few more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNV3C_DATA_DIR", str(data_folder))
        document = mnv3c("tune", net, "--target", "adreno", "--budget", 6, "--json").document
    assert document["on"] == f"PoCL ({host_title()})"
    assert set(document) == {"on", "sum_ms", "layers", "measured", "failed", "reused", "seconds"}
    assert document["measured"] >= 3 and document["failed"] == document["reused"] == 0
    assert document["sum_ms"] == pytest.approx(sum(row["count"] * row["latency_ms"] for row in document["layers"]))
    assert all(row["candidates"] > 3 and "local_x" in row["parameters"] for row in document["layers"])
    path = data_folder / "tuned" / "adreno-640.pocl.jsonl"
    assert len(RecordStore(path).records) == document["measured"]
    return path


def test_a_second_run_measures_nothing_twice_and_says_what_it_is(tuned: Path, net: Path, mnv3c: Mnv3c) -> None:
    before = RecordStore(tuned).records
    shown = mnv3c("tune", net, "--device", "adreno-640", "--budget", 0)
    shown.require_success()
    first, *_, total, records = shown.stdout.splitlines()
    assert first == LABEL and records == f"records: {tuned}"
    assert f" ms, {LABEL}; 0 measured, 0 failed, {len(before)} reused" in total
    assert RecordStore(tuned).records == before


def test_the_records_name_pocl(tuned: Path, mnv3c: Mnv3c) -> None:
    shown = mnv3c("records", "show", tuned).stdout
    assert shown.count("adreno/adreno-640 on PoCL") == 3


def test_compile_takes_them_only_when_asked(tuned: Path, net: Path, tmp_path: Path, mnv3c: Mnv3c) -> None:
    words = ("--target", "adreno", "--host-cpu", HOST_CPU)
    plain = mnv3c("compile", net, *words, "-o", tmp_path / "plain", "--json").document
    assert plain["tuned_on"] is None and {row["chosen_by"] for row in plain["layers"]} == {"estimate"}
    by = mnv3c("compile", net, *words, "--tuned-on", "pocl", "-o", tmp_path / "by", "--json").document
    assert by["tuned_on"] == "pocl" and {row["chosen_by"] for row in by["layers"]} == {"pocl-records"}
    known = [(record.family, record.parameters) for record in RecordStore(tuned).records]
    assert all((row["kernel"], row["parameters"]) in known for row in by["layers"])
    manifest = yaml.safe_load((tmp_path / "by" / "manifest.yaml").read_text(encoding="utf-8"))
    assert [layer["chosen_by"] for layer in manifest["layers"]] == ["pocl-records"] * 3
    shown = mnv3c("compile", net, *words, "--tuned-on", "pocl", "-o", tmp_path / "by")
    assert "3 of 3 kernels chosen by records measured on PoCL, which is a CPU and no GPU" in shown.stdout


def test_the_network_still_computes_what_it_should(tuned: Path, net: Path, tmp_path: Path, mnv3c: Mnv3c) -> None:
    words = ("--target", "adreno", "--host-cpu", HOST_CPU, "--tuned-on", "pocl")
    mnv3c("compile", net, *words, "-o", tmp_path / "net").require_success()
    values = np.random.default_rng(0).uniform(-1, 1, (1, 12, 12, 3)).astype(np.float32)
    np.save(tmp_path / "in.npy", values)
    given = ("--input", tmp_path / "in.npy", "--output", tmp_path / "out.npy")
    assert mnv3c("run", tmp_path / "net", "--on", "pocl", *given).code == 0
    (expected,) = reference.run(load_graph(net), values).values()
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, rtol=1e-4, atol=1e-5)


def test_halves_have_records_of_their_own(tuned: Path, net: Path, tmp_path: Path, mnv3c: Mnv3c) -> None:
    words = ("--target", "adreno", "--storage", "fp16")
    compiled = mnv3c("compile", net, *words, "--tuned-on", "pocl", "-o", tmp_path / "net", "--json")
    assert compiled.code == 0
    assert compiled.stderr == (
        f"hint: --tuned-on pocl: no records of 'adreno-640' with storage fp16, sums fp32 in {tuned}, so first guesses"
        " are taken; mnv3c tune MODEL --device adreno-640 --storage fp16 makes some\n"
    )
    document = mnv3c("tune", net, *words, "--budget", 0, "--records", tmp_path / "r.jsonl", "--json").document
    assert (document["measured"], document["failed"], document["reused"]) == (3, 0, 0)
    assert {record.device_class for record in RecordStore(tmp_path / "r.jsonl").records} == {"pocl:fp16-fp32"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--threads", "2"), "--threads: 'adreno-640' is a GPU, whose driver decides about threads"),
        (("--strategy", "metaschedule"), "--strategy: metaschedule is for CPUs, and 'adreno-640' is a GPU"),
        (("--storage", "int8"), "--storage: 'int8' is not one of fp32, fp16"),
        (
            ("--on", "llvm-mca"),
            "--on: llvm-mca is for CPUs; 'adreno-640' is a GPU, whose kernels --on host measures on PoCL",
        ),
        (("--on", "phone"), "--on: 'phone' is not one of host, llvm-mca"),
    ],
)
def test_refusals(net: Path, mnv3c: Mnv3c, words: tuple[str, ...], message: str) -> None:
    outcome = mnv3c("tune", net, "--target", "adreno", *words)
    assert (outcome.code, outcome.message) == (2, message)


def test_refusals_of_other_devices(net: Path, tmp_path: Path, mnv3c: Mnv3c) -> None:
    outcome = mnv3c("tune", net, "--device", "cortex-a55", "--storage", "fp16")
    assert (outcome.code, outcome.message) == (2, "--storage is for GPUs, and 'cortex-a55' is none")
    outcome = mnv3c("compile", net, "--device", "cortex-a55", "--tuned-on", "pocl", "-o", tmp_path / "net")
    assert (outcome.code, outcome.message) == (2, "--tuned-on is for GPUs, and 'cortex-a55' is none")
    outcome = mnv3c("compile", net, "--device", "adreno-640", "--tuned-on", "phone", "-o", tmp_path / "net")
    assert (outcome.code, outcome.message) == (2, "--tuned-on: 'phone' is not one of pocl")
    halves = ("--storage", "fp16", "--accumulate", "fp16")
    outcome = mnv3c("compile", net, "--device", "adreno-640", *halves, "--tuned-on", "pocl", "-o", tmp_path / "net")
    message = "--tuned-on: pocl has no records with --accumulate fp16, since it cannot run such kernels"
    assert (outcome.code, outcome.message) == (2, message)


def test_without_an_opencl(net: Path, tmp_path: Path, mnv3c: Mnv3c, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyopencl.py").write_text("raise ImportError('not there')")
    monkeypatch.syspath_prepend(str(tmp_path))
    outcome = mnv3c("tune", net, "--target", "mali", "--records", tmp_path / "r.jsonl")
    assert (outcome.code, outcome.message) == (3, "no PoCL found: pip install 'mnv3c[gpu]'")
