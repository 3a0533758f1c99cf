"""`mnv3c tune --strategy metaschedule`, and what compile makes of the traces that it finds."""

from pathlib import Path

import pytest
from tests.cli.conftest import Mnv3c

from mnv3c.compiler.tune.store import RecordStore, user_store_path
from mnv3c.graph.activation import RELU
from mnv3c.graph.initialise import initialise
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import Concat, Conv2d, Input
from mnv3c.graph.yaml_io import save_graph
from mnv3c.targets.registry import find_device, host_target

# Machines differ: the first budget in which at least one schedule gets measured.
BUDGETS_S = (6, 20, 60, 180)


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pointwise layer, and a grouped one that no family takes."""
    nodes = (
        Node("x", Input((1, 6, 6, 8))),
        Node("wide", Conv2d(16, (1, 1), bias=True, activation=RELU), ("x",)),
        Node("grouped", Conv2d(16, (1, 1), groups=4, bias=True), ("wide",)),
    )
    path = tmp_path_factory.mktemp("graph") / "grouped.yaml"
    save_graph(initialise(Graph("grouped", nodes, ("grouped",)), 0), path)
    return path


def test_a_layer_outside_the_families_is_tuned_compiled_and_right(
    grouped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mnv3c: Mnv3c
) -> None:
    monkeypatch.setenv("MNV3C_DATA_DIR", str(tmp_path / "data"))
    before = mnv3c("compile", grouped, "-o", tmp_path / "before")
    assert before.code == 2 and "node 'grouped': target" in before.message
    words = ("tune", grouped, "--strategy", "metaschedule", "--json")
    outcomes = (mnv3c(*words, "--budget", budget_s) for budget_s in BUDGETS_S)
    document = next(
        outcome.document
        for outcome in outcomes
        if outcome.code == 0 and outcome.document["layers"][1]["metaschedule_ms"] is not None
    )
    plain, outside = document["layers"]
    assert plain["families_kernel"] != "metaschedule" and outside["families_kernel"] == "metaschedule"
    assert outside["ratio"] == pytest.approx(outside["metaschedule_ms"] / outside["families_ms"])
    compared = [layer for layer in document["layers"] if layer["ratio"] is not None]
    assert document["families_ms"] == pytest.approx(sum(layer["families_ms"] for layer in compared))
    records = RecordStore(user_store_path(find_device("host"))).records
    assert {record.status for record in records} == {"ok"}
    shown = mnv3c("tune", grouped, "--strategy", "metaschedule", "--budget", 0)
    assert shown.code == 0 and f"0 measured, 0 failed, {len(records)} reused" in shown.stdout
    assert "of 2 layers, without fused groups: families" in shown.stdout

    after = mnv3c("compile", grouped, "-o", tmp_path / "after", "--json").document
    (kernel,) = [layer for layer in after["layers"] if layer["name"] == "grouped"]
    assert (kernel["kernel"], kernel["chosen_by"]) == ("metaschedule", "records")
    ran = mnv3c("run", tmp_path / "after", "--json")
    assert ran.code == 0, ran.stderr


def test_nothing_measured_is_an_error(
    grouped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mnv3c: Mnv3c
) -> None:
    monkeypatch.setenv("MNV3C_DATA_DIR", str(tmp_path))
    outcome = mnv3c("tune", grouped, "--strategy", "metaschedule", "--budget", 0)
    assert (outcome.code, outcome.message) == (
        3,
        "not one schedule could be measured in 0 s; give it more of a --budget",
    )


def test_what_the_strategy_refuses(grouped: Path, tmp_path: Path, mnv3c: Mnv3c) -> None:
    other = "arm64" if host_target() == "x86_64" else "x86_64"
    only = "--strategy: metaschedule measures on this machine only"
    for words, message in (
        (("--target", other), f"{only}, which is {host_target()}, not {other}"),
        (("--on", "llvm-mca"), f"{only}, not --on llvm-mca"),
    ):
        outcome = mnv3c("tune", grouped, "--strategy", "metaschedule", *words)
        assert (outcome.code, outcome.message) == (2, message)
    nodes = (Node("x", Input((1, 4, 4, 8))), Node("both", Concat(), ("x", "x")))
    path = tmp_path / "concat.yaml"
    save_graph(Graph("concat", nodes, ("both",)), path)
    outcome = mnv3c("tune", path, "--strategy", "metaschedule")
    assert (outcome.code, outcome.message) == (
        2,
        "--strategy: metaschedule can search none of the layers of 'concat'",
    )
