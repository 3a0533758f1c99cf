"""benchmarks/paper_decisions.py: the shipped profiles of Pixel 1 judge the paper's decisions as the paper does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mnv3c

ROOT = Path(__file__).resolve().parents[2]
PROFILES = ("pixel1-cpu-tflite", "pixel1-cpu-tflite2018")


def test_published_savings_are_right_in_sign_and_within_a_factor_of_one_and_a_half(tmp_path: Path) -> None:
    """At the scale of the paper, where Large takes 51 ms: the profiles are of other versions of the runtime."""
    paths = (str(Path(mnv3c.__file__).parents[1]), os.environ.get("PYTHONPATH", ""))
    words = [word for name in PROFILES for word in ("--device", name)]
    done = subprocess.run(
        (sys.executable, str(ROOT / "benchmarks" / "paper_decisions.py"), *words, "--json", "figures.json"),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    for name in PROFILES:
        published = [row for row in document[name]["decisions"] if row["published_ms"] is not None]
        assert len(published) == 4
        assert all(row["ratio"] > 0 for row in published)
        # The profile of 2018 knows neither squeeze-excite nor h-swish, which a minimalistic network lacks.
        known = [row for row in published if "2018" not in name or row["decision"] != "minimalistic"]
        assert all(1 / 1.5 < row["scaled_ratio"] < 1.5 for row in known), known
        # What the scale was not fitted to.
        fitted, *others = document[name]["networks"]
        assert fitted["scaled_error"] == pytest.approx(0.0, abs=1e-9) and len(others) == 7
        assert all(abs(row["scaled_error"]) < (8 if "2018" in name else 5) for row in others), others
