"""The benchmarks on published measurements, small, and refused by name where those are absent."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.profiles.shared_data import needs_shared_data

from mnv3c.profiles.profile_file import load_profile

FOLDER = Path(__file__).parents[2] / "benchmarks"


def run(script: str, *words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(FOLDER / script), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@needs_shared_data
def test_a_shipped_profile_can_be_made_again(tmp_path: Path) -> None:
    done = run("ship_profiles.py", "--output", tmp_path, "--only", "ultra96-dpu")
    assert done.returncode == 0, done.stderr
    profile = load_profile(tmp_path / "ultra96-dpu.yaml")
    shipped = load_profile(FOLDER.parent / "profiles" / "shipped" / "ultra96-dpu.yaml")
    assert profile.seen == shipped.seen
    assert profile.identity == shipped.identity
    assert profile.cross_validation is not None and shipped.cross_validation is not None
    assert profile.cross_validation.mape == pytest.approx(shipped.cross_validation.mape, abs=0.05)


@needs_shared_data
def test_the_plan_curve_is_drawn(tmp_path: Path) -> None:
    done = run("plan_curve.py", "--rows", "10", "--seeds", 2, "--output", tmp_path / "plan.svg")
    assert done.returncode == 0, done.stderr
    assert "| pixel4 | pixel6 | 10 |" in done.stdout
    assert (tmp_path / "plan.svg").read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize("script", ["ship_profiles.py", "plan_curve.py"])
def test_without_the_tables_they_say_so(script: str, tmp_path: Path) -> None:
    done = run(script, "--data", tmp_path / "nowhere", "--output", tmp_path / "plan.svg")
    assert done.returncode == 3
    assert str(tmp_path / "nowhere") in done.stderr
