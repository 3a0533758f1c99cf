"""Accuracies from functions and tables, and what is refused."""

from pathlib import Path

import pytest

from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph
from mnv3c.graph.networks import mobilenet_v3
from mnv3c.search.accuracy import Candidate, FunctionAccuracy, TableAccuracy

GRAPH = mobilenet_v3("small", resolution=32, seed=None)
CANDIDATE = Candidate("16-8", GRAPH, None, "start", 0)


def test_a_function_is_loaded_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "judge_of_size.py").write_text("def size(graph):\n    return min(1.0, graph.total_params / 1e7)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    judged = FunctionAccuracy.load("judge_of_size:size").judge(CANDIDATE)
    assert judged.accuracy == GRAPH.total_params / 1e7
    assert judged.graph is GRAPH


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("judge", "accuracy is MODULE:FUNCTION, not 'judge'"),
        ("no_such_module_at_all:f", "module 'no_such_module_at_all' cannot be imported"),
        ("math:no_such_function", "module 'math' has no function 'no_such_function'"),
    ],
)
def test_a_function_that_is_not_there_is_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        FunctionAccuracy.load(name)


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan"), "high", None])
def test_what_is_no_accuracy_is_refused(value: object) -> None:
    judge = FunctionAccuracy("here:judge", lambda graph: value)  # type: ignore[arg-type,return-value]
    with pytest.raises(UserError, match=r"'here:judge': accuracy must be a number in 0\.\.1"):
        judge.judge(CANDIDATE)


def test_a_function_that_fails_is_named() -> None:
    def broken(graph: Graph) -> float:
        raise KeyError("top1")

    with pytest.raises(UserError, match=r"'here:broken' fails for '16-8': KeyError: 'top1'"):
        FunctionAccuracy("here:broken", broken).judge(CANDIDATE)


def test_a_table_is_looked_up(tmp_path: Path) -> None:
    path = tmp_path / "known.csv"
    path.write_text("accuracy,note,subnet\n0.5,a,16-8\n0.25,b,16-4\n")
    table = TableAccuracy.read(path)
    assert table.judge(CANDIDATE).accuracy == 0.5
    path.write_text("subnet,accuracy\n16-4,0.25\n16-8,0.5\n")
    assert TableAccuracy.read(path).identity == table.identity
    with pytest.raises(UserError, match=r"known\.csv: has no accuracy for subnet '16-2'"):
        table.judge(Candidate("16-2", GRAPH, None, "start", 0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs the columns subnet and accuracy, has none"),
        ("subnet,top1\na,0.5\n", "needs the columns subnet and accuracy"),
        ("subnet,accuracy\na,50\n", "line 2: accuracy must be a number in 0..1, not '50'|not 50.0"),
        ("subnet,accuracy\na\n", "line 2: accuracy must be a number"),
        ("subnet,accuracy\na,0.5\na,0.6\n", "line 3: subnet 'a' is there twice"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        TableAccuracy.read(path)


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv: cannot be read"):
        TableAccuracy.read(tmp_path / "none.csv")
