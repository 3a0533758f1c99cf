"""benchmarks/peers.py end to end on a tiny network: its documents and what it refuses. No test looks at a time."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import mnv3c

ROOT = Path(__file__).resolve().parents[2]
SOURCES = Path(mnv3c.__file__).parents[1]
TINY = ("small", "--width", "0.35", "--resolution", "32", "--classes", "10")
ROW_KEYS = {"model", "runtime", "threads", "precision", "median_ms", "p10_ms", "p90_ms", "max_error"}
MODULES = {"openvino": "openvino", "litert": "ai_edge_litert", "ncnn": "ncnn"}


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    # A relative entry would mean another folder there.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(SOURCES), os.environ.get("PYTHONPATH", "")))}
    words = (sys.executable, *command)
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@dataclass(frozen=True)
class Bench:
    """A folder in which the tiny network has been compiled into `tiny`."""

    folder: Path

    def compare(self, *words: str, artifact: str = "tiny") -> subprocess.CompletedProcess[str]:
        few = ("--rounds", "2", "--burst", "2", "--warmup", "1", "--threads", "1")
        script = str(ROOT / "benchmarks" / "peers.py")
        return run(self.folder, script, *TINY, "--artifact", artifact, *few, *words)

    def document(self, *words: str, artifact: str = "tiny") -> dict[str, Any]:
        done = self.compare(*words, "--json", "rows.json", artifact=artifact)
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads((self.folder / "rows.json").read_text(encoding="utf-8"))
        return document


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("peers")
    done = run(folder, "-m", "mnv3c", "compile", *TINY, "-o", "tiny", "--json")
    assert done.returncode == 0, done.stderr
    return Bench(folder)


def test_json_has_a_row_for_each_runtime(bench: Bench) -> None:
    document = bench.document("--peers", "onnxruntime")
    rows = document["rows"]
    assert [row["runtime"] for row in rows] == ["mnv3c", "onnxruntime"]
    for row in rows:
        assert set(row) >= ROW_KEYS
        assert (row["model"], row["threads"], row["precision"]) == (" ".join(TINY), 1, "fp32")
        assert 0 < row["p10_ms"] <= row["median_ms"] <= row["p90_ms"]
        assert row["agrees"] and row["max_error"] < 1e-4
    assert document["machine"]["peak_gflops_per_core"] > 1
    assert set(document["machine"]["runtimes"]) == {"mnv3c", "onnxruntime"}
    assert document["not_run"] == []


@pytest.mark.parametrize("peer", sorted(MODULES))
def test_every_peer_computes_the_same_network(bench: Bench, peer: str) -> None:
    if find_spec(MODULES[peer]) is None:
        pytest.skip(f"{peer} is not installed (extra: peers)")
    row = bench.document("--peers", peer)["rows"][1]
    assert row["runtime"] == peer and row["max_error"] < 1e-4


def test_table_has_ratios_and_verdict(bench: Bench) -> None:
    done = bench.compare("--peers", "onnxruntime", "--markdown", "table.md")
    assert done.stdout == (bench.folder / "table.md").read_text(encoding="utf-8")
    header, rule, ours, peer, empty, verdict, *_ = done.stdout.splitlines()
    assert header.count("|") == rule.count("|") == ours.count("|") == peer.count("|")
    assert " 1.000 | 1.000 | " in ours and " onnxruntime | " in peer
    assert empty == "" and verdict.endswith("the time of onnxruntime, the fastest peer")


def test_two_artifacts_need_labels(bench: Bench) -> None:
    rows = bench.document("--peers", "", "--artifact", "again=tiny")["rows"]
    assert [row["runtime"] for row in rows] == ["mnv3c", "mnv3c-again"]
    done = bench.compare("--artifact", "tiny")
    assert done.returncode == 2 and "a label of its own" in done.stderr


def test_an_artifact_says_how_its_weights_are_stored(bench: Bench) -> None:
    done = run(bench.folder, "-m", "mnv3c", "compile", *TINY, "--weights", "fp16", "-o", "half", "--json")
    assert done.returncode == 0, done.stderr
    rows = bench.document("--peers", "", "--artifact", "half=half")["rows"]
    assert [row["precision"] for row in rows] == ["fp32", "fp16 weights"]
    assert rows[1]["max_error"] == pytest.approx(json.loads(done.stdout)["weights_error"], rel=0.05)


def test_wrong_outputs_are_not_ranked(bench: Bench) -> None:
    other = run(bench.folder, "-m", "mnv3c", "compile", *TINY, "--seed", "1", "-o", "other", "--json")
    assert other.returncode == 0, other.stderr
    done = bench.compare("--peers", "", "--artifact", "other=other")
    wrong = next(line for line in done.stdout.splitlines() if "mnv3c-other" in line)
    assert wrong.endswith("WRONG |") and " | - | - | - | " in wrong


def test_broken_library_costs_its_own_row_only(bench: Bench) -> None:
    copied = bench.folder / "broken"
    copied.mkdir()
    for path in (bench.folder / "tiny").iterdir():
        if path.is_file():
            (copied / path.name).write_bytes(b"no library" if path.suffix == ".so" else path.read_bytes())
    document = bench.document("--peers", "", "--artifact", "broken=broken")
    assert [row["runtime"] for row in document["rows"]] == ["mnv3c"]
    (failure,) = document["not_run"]
    assert (failure["runtime"], failure["threads"]) == ("mnv3c-broken", 1) and "OSError" in failure["reason"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--threads", "0"), "--threads: '0' is not a list of numbers"),
        (("--threads", "9999"), "--threads: 9999 is more than the"),
        (("--peers", "tvm"), "--peers: 'tvm' is not one of"),
    ],
)
def test_wrong_input_is_refused(bench: Bench, words: tuple[str, ...], message: str) -> None:
    done = bench.compare(*words)
    assert done.returncode == 2 and message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_missing_artifact_is_refused(bench: Bench) -> None:
    done = bench.compare(artifact="nowhere")
    assert done.returncode == 2 and "nowhere: no such folder" in done.stderr
