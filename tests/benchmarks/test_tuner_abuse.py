"""benchmarks/tuner_abuse.py end to end: a few kills, a few hostile candidates, and a claim that fails."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mnv3c
from mnv3c.graph.activation import RELU
from mnv3c.graph.initialise import initialise
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import Conv2d, Input
from mnv3c.graph.yaml_io import save_graph

ROOT = Path(__file__).resolve().parents[2]
# Of these six one fails when it is built, one when it is linked, one is good at first.
RANDOM_SEED = "49"


@pytest.fixture(scope="module")
def graph_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two depthwise layers of few candidates."""
    nodes = (
        Node("x", Input((1, 14, 14, 24))),
        Node("a", Conv2d(24, (3, 3), padding=(1, 1, 1, 1), groups=24, bias=True, activation=RELU), ("x",)),
        Node("b", Conv2d(24, (5, 5), padding=(2, 2, 2, 2), groups=24, bias=True), ("a",)),
    )
    path = tmp_path_factory.mktemp("abuse") / "two.yaml"
    save_graph(initialise(Graph("two", nodes, ("b",)), 0), path)
    return path


def abuse(graph_file: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    paths = (str(Path(mnv3c.__file__).parents[1]), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "MNV3C_CACHE_DIR": str(graph_file.parent / "c")}
    command = (sys.executable, str(ROOT / "benchmarks" / "tuner_abuse.py"), str(graph_file), *words)
    folder = graph_file.parent
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_two_kills_and_six_hostile_candidates(graph_file: Path) -> None:
    seen = graph_file.parent / "seen.json"
    words = ("--kills", "2", "--hostile", "6", "--longest", "6", "--random-seed", RANDOM_SEED, "--json", str(seen))
    done = abuse(graph_file, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.startswith(f"random seed {RANDOM_SEED}\n")
    document = json.loads(seen.read_text(encoding="utf-8"))
    kills, hostile = document["kills"], document["hostile"]
    assert len(kills["rows"]) == 2 and len(kills["claims"]) == 9
    assert kills["measured by a further run"] == 0 and kills["records"] > 2
    assert {row["status"] for row in hostile["rows"]} == {"build_error", "crash", "wrong"}
    assert all(row["as expected"] for row in hostile["rows"]) and len(hostile["rows"]) == 6
    claims = [*kills["claims"], *hostile["claims"]]
    assert all(claim["holds"] for claim in claims)
    assert done.stdout.count("holds: ") == len(claims) and "FAILS" not in done.stdout


def test_a_claim_that_fails_is_told(graph_file: Path) -> None:
    done = abuse(graph_file, "--hostile", "1", "--search", "1", "--random-seed", RANDOM_SEED)
    assert done.returncode == 1, done.stderr
    assert "FAILS: the search ends: it took" in done.stdout


def test_wrong_input_is_refused(graph_file: Path) -> None:
    done = abuse(graph_file.with_name("none.yaml"), "--hostile", "1")
    assert done.returncode == 2 and "none.yaml: cannot be read" in done.stderr
