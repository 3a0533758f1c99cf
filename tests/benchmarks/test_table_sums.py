"""benchmarks/table_sums.py on two small networks: its document and its arithmetic. No test looks at a time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.search.test_space import TINY

import mnv3c
from mnv3c.profiles.library import find_profile
from mnv3c.profiles.lut.table_file import write_table
from mnv3c.search.lut import Request, predicted_table
from mnv3c.search.space_file import load_space

ROOT = Path(__file__).resolve().parents[2]
PROFILE = "pixel4-cpu-tflite"


def table_sums(folder: Path, *words: str | Path) -> "subprocess.CompletedProcess[str]":
    paths = (str(Path(mnv3c.__file__).parents[1]), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "MNV3C_DATA_DIR": str(folder)}
    command = (sys.executable, str(ROOT / "benchmarks" / "table_sums.py"), *map(str, words))
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_sums_beside_measured_networks(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    space = load_space(tmp_path / "tiny.yaml")
    write_table(tmp_path / "lut.json", predicted_table(Request(space, space.resolutions), find_profile(PROFILE)))
    few = ("--networks", "2", "--rounds", "2", "--max-noise", "100%", "--space", tmp_path / "tiny.yaml")
    words = (tmp_path / "lut.json", *few, "--json", tmp_path / "figures.json")
    done = table_sums(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    rows = document["rows"]
    assert document["networks"] == len(rows) == 2 and document["refused"] == []
    errors = [100 * (row["table_ms"] / row["measured_ms"] - 1) for row in rows]
    assert document["bias_percent"] == pytest.approx(sum(errors) / 2)
    assert document["mape_percent"] == pytest.approx(sum(map(abs, errors)) / 2)
    assert max(map(abs, errors)) == pytest.approx(abs(document["worst_percent"]))
    # What was measured is kept: the same command says the same.
    again = table_sums(tmp_path, *words)
    assert again.returncode == 0 and again.stdout.splitlines()[:2] == done.stdout.splitlines()[:2]


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "lut.json").write_text("{}")
    done = table_sums(tmp_path, tmp_path / "lut.json")
    assert done.returncode == 2 and done.stderr.startswith("table_sums: ") and len(done.stderr.splitlines()) == 1
