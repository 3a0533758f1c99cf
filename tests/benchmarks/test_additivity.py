"""benchmarks/additivity.py on a small network: its document and its arithmetic. No test looks at a time."""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

import mnv3c

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("small", "--width", "0.35", "--resolution", "96")


def additivity(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    paths = (str(Path(mnv3c.__file__).parents[1]), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "MNV3C_DATA_DIR": str(folder)}
    command = (sys.executable, str(ROOT / "benchmarks" / "additivity.py"), *words)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_document_adds_up(tmp_path: Path) -> None:
    few = ("--rounds", "3", "--runs", "4", "--warmup", "1", "--json", "figures.json")
    done = additivity(tmp_path, *SMALL, *few)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert document["model"] == " ".join(SMALL)
    assert document["machine"]["rounds"] == 3
    (row,) = document["rows"]
    assert row["threads"] == 1 and len(row["layers"]) > 20
    assert row["layer_sum_ms"] == pytest.approx(sum(layer["median_us"] for layer in row["layers"]) / 1e3)
    error = 100.0 * (row["layer_sum_ms"] - row["network_median_ms"]) / row["network_median_ms"]
    assert row["additivity_error_percent"] == pytest.approx(error)
    assert row["least_percent"] <= row["most_percent"] and row["profiled_median_ms"] > 0
    header, rule, line = done.stdout.splitlines()
    assert header.count("|") == rule.count("|") == line.count("|")
    assert line.startswith(f"| {' '.join(SMALL)} | 1 | {row['layer_sum_ms']:.4f} | {row['network_median_ms']:.4f} |")


def test_medians_over_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from additivity import Additivity, Round

    rounds = [Round((1.0, 5.0), 0.02, 0.010), Round((3.0, 4.0), 0.02, 0.005), Round((2.0, 9.0), 0.02, 0.020)]
    found = Additivity.of(2, ("a", "b"), rounds)
    assert found.layers == ({"name": "a", "median_us": 2.0}, {"name": "b", "median_us": 5.0})
    assert found.layer_sum_ms == pytest.approx(0.007)
    assert found.network_median_ms == median(each.whole_ms for each in rounds) == 0.010
    assert found.additivity_error_percent == pytest.approx(-30.0)
    assert found.least_percent == pytest.approx(-45.0)
    assert found.most_percent == pytest.approx(40.0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--threads", "0"), "--threads: '0' is not a list of numbers"),
        (("--threads", "9999"), "--threads: 9999 is more than the"),
        (("--width", "-1"), "width must be a positive number"),
    ],
)
def test_wrong_input_is_refused(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    done = additivity(tmp_path, *words)
    assert done.returncode == 2 and message in done.stderr
    assert len(done.stderr.splitlines()) == 1
