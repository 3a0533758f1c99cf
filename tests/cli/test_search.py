"""`mnv3c search` end to end with an accuracy that costs nothing; training has its own tests in tests/search."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import Mnv3c

from mnv3c.graph.yaml_io import load_graph

PROFILE = "pixel1-cpu-tflite"
NETADAPT = ("search", "small", "--device", PROFILE, "--resolution", "64", "--classes", "10", "--delta", "0.03")
EVOLVE = ("search", "--strategy", "evolve", "--space", "ofa-mbv3-w1.0", "--device", PROFILE, "--resolution", "96")
FEW = ("--population", "4", "--generations", "2")


@pytest.fixture
def accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """MODULE:FUNCTION in the working folder."""
    (tmp_path / "of_parameters.py").write_text("def accuracy(graph):\n    return min(1.0, graph.total_params / 2e7)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield "of_parameters:accuracy"


def test_netadapt_finds_a_network_that_other_commands_take(mnv3c: Mnv3c, accuracy: str) -> None:
    words = (*NETADAPT, "--accuracy", accuracy, "--reduce", "0.85", "-o", "found", "--plot", "path.png", "--json")
    document = mnv3c(*words).document

    steps, best = document["steps"], document["best"]
    assert document["target_met"] and best["latency_ms"] <= document["target_ms"]
    assert document["target_ms"] == pytest.approx(0.85 * steps[0]["latency_ms"])
    assert best["latency_ms"] == steps[-1]["latency_ms"] < steps[-2]["latency_ms"]
    assert Path("path.png").read_bytes().startswith(b"\x89PNG")
    predicted = mnv3c("predict", best["graph"], "--device", PROFILE, "--json").document
    assert predicted["total_ms"] == pytest.approx(best["latency_ms"], rel=1e-9)
    assert load_graph(Path(best["graph"])).weights

    again = mnv3c(*words, "--resume").document
    assert again == document


def test_evolution_writes_its_front(mnv3c: Mnv3c, accuracy: str) -> None:
    words = (*EVOLVE, *FEW, "--accuracy", accuracy, "-o", "found", "--plot", "front.svg", "--json")
    document = mnv3c(*words).document
    assert [step["number"] for step in document["steps"]] == [0, 1]
    front = document["front"]
    assert [point["latency_ms"] for point in front] == sorted(point["latency_ms"] for point in front)
    assert document["best"]["accuracy"] == max(point["accuracy"] for point in front)
    assert all(point["latency_ms"] <= document["target_ms"] for point in front)
    assert b"<svg" in Path("front.svg").read_bytes()
    assert mnv3c(*words, "--resume").document == document


def test_a_table_of_accuracies(mnv3c: Mnv3c, accuracy: str) -> None:
    words = (*EVOLVE, *FEW, "--strategy", "random")
    document = mnv3c(*words, "--accuracy", accuracy, "-o", "first", "--json").document
    judged = json.loads(Path("first/search.json").read_text())["done"]["judged"]
    rows = "".join(f'"{name}",{value!r}\n' for name, _, value, _ in judged)
    Path("known.csv").write_text("subnet,accuracy\n" + rows)

    again = mnv3c(*words, "--accuracy", "known.csv", "-o", "second", "--json").document
    assert again["front"] == document["front"]


def test_people_see_steps_and_widths(mnv3c: Mnv3c, accuracy: str) -> None:
    outcome = mnv3c(*NETADAPT, "--accuracy", accuracy, "--reduce", "0.95", "-o", "found")
    assert outcome.code == 0
    lines = outcome.stderr.splitlines()
    assert lines[0].startswith("  0  ") and lines[0].endswith("start")
    assert all("expansion of block" in line or "bottleneck of block" in line for line in lines[1:])
    assert "expansion" in outcome.stdout and "best.yaml" in outcome.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--strategy", "luck"), "--strategy must be one of netadapt, evolve, random, not 'luck'"),
        (("--reduce", "1.5"), "--reduce must be between 0 and 1, not 1.5"),
        (("--target-ms", "1000"), "within 1000 ms already"),
        (("--target-ms", "0"), "target_ms must be above 0"),
        (("--space", "ofa-mbv3-w1.0"), "--space is for --strategy evolve and random"),
        (("--head", "lraspp"), "netadapt shrinks classifiers; it has no --head lraspp"),
        (("--strategy", "evolve"), "--strategy evolve needs --space"),
        (("--strategy", "evolve", "--space", "ofa-mbv3-w1.0"), "--classes cannot be given with --space"),
        (("--train-steps", "1,2"), "--train-steps must be START,PROPOSAL,FINAL, as 800,12,400, not '1,2'"),
        (("--train-steps", "1,2,3"), "--train-steps is for training"),
        (("--plot", "plot.txt"), "plot.txt: a plot is written as .png or .svg"),
    ],
)
def test_wrong_words_are_refused(mnv3c: Mnv3c, accuracy: str, words: tuple[str, ...], message: str) -> None:
    outcome = mnv3c(*NETADAPT, "--accuracy", accuracy, "-o", "found", *words)
    assert outcome.code == 2
    assert message in outcome.message
    assert not Path("found").exists()


def test_a_folder_that_holds_a_search_is_not_written_over(mnv3c: Mnv3c, accuracy: str) -> None:
    words = (*NETADAPT, "--accuracy", accuracy, "--reduce", "0.97", "-o", "found", "--json")
    mnv3c(*words).require_success()
    assert "holds a search already" in mnv3c(*words).message
