"""benchmarks/half_storage.py: its rows, its roundings, its refusals."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mnv3c

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("small", "--width", "0.35", "--classes", "10")
TINY = (*SMALL, "--resolution", "32")


def half_storage(folder: Path, *words: object) -> "subprocess.CompletedProcess[str]":
    paths = (str(Path(mnv3c.__file__).parents[1]), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = (sys.executable, str(ROOT / "benchmarks" / "half_storage.py"), *map(str, words))
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def rows(text: str) -> dict[str, list[float]]:
    _, *lines = text.splitlines()
    split = [line.split(maxsplit=4) for line in lines]
    return {name: [float(word) for word in words] for *words, name in split}


@pytest.mark.parametrize("words", [("--resolution", "32"), ("--resolution", "128", "--noise", "normal", "--calibrate")])
def test_rows(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = half_storage(tmp_path, *SMALL, "--inputs", 2, *words)
    assert done.returncode == 0, done.stderr
    found = rows(done.stdout)
    assert len(found) == 6
    assert all(0 < error < 0.1 for name in found for error in found[name] if "zero" not in name)
    # Errors of one sign do not cancel out.
    assert found["both, activations towards zero"][3] > 2 * found["both to nearest"][3]


def test_an_input_of_ones_own(tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", np.zeros((1, 32, 32, 3), np.float32))
    done = half_storage(tmp_path, *TINY, "--input", "in.npy")
    assert done.returncode == 0, done.stderr
    worst, median, rms, mean = rows(done.stdout)["both to nearest"]
    assert worst == median > 0 and rms == mean > 0


def test_refusals(tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", np.zeros((1, 3), np.float32))
    done = half_storage(tmp_path, *TINY, "--input", "in.npy")
    message = "half_storage: --input: in.npy has another shape than the network takes, [1, 32, 32, 3]\n"
    assert (done.returncode, done.stderr) == (2, message)
    done = half_storage(tmp_path, *TINY, "--input", "absent.npy")
    message = "half_storage: absent.npy: cannot be read: No such file or directory\n"
    assert (done.returncode, done.stderr) == (2, message)
    done = half_storage(tmp_path, *TINY, "--noise", "loud")
    assert (done.returncode, done.stderr) == (2, "half_storage: --noise: 'loud' is not one of uniform, normal\n")
