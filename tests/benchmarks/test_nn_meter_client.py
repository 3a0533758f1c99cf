"""benchmarks/nn_meter_client.py: what it holds against what nn-Meter reads, and what it says where that is missing."""

import json
import sys
from importlib import import_module
from math import inf
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mnv3c.graph.errors import MissingError
from mnv3c.profiles.library import find_profile
from mnv3c.profiles.lut.exporters import EXPORTERS
from mnv3c.search.lut import Request, predicted_table
from mnv3c.search.space_file import find_space

ROOT = Path(__file__).parents[2]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return import_module("nn_meter_client")


def test_every_kernel_must_come_back_with_its_features_and_latency(client: ModuleType, tmp_path: Path) -> None:
    table = predicted_table(Request(find_space("proxylessnas"), (224,)), find_profile("pixel4-cpu-tflite"))
    (file,) = EXPORTERS["nn-meter"](table, tmp_path)
    written = client.written_by_type(table, file)
    assert sum(map(len, written.values())) == len(table.entries)

    def read(scale: float = 1.0, dropped: int = 0, other: int = 0) -> dict[str, Any]:
        """As `nn_meter_reader.py` answers, with FLOPs behind the features."""
        found: dict[str, Any] = {}
        for kind, kernels in json.loads(file.read_text()).items():
            configs = [list(kernel["config"].values()) for kernel in kernels.values()][dropped:]
            latencies_ms = [scale * float(kernel["latency"].split("+-")[0]) for kernel in kernels.values()][dropped:]
            found[kind] = {
                "features": [[config[0] + other, *config[1:], 0.5] for config in configs],
                "latencies_ms": latencies_ms,
            }
        return found

    assert client.worst_difference_ms(written, read()) == 0
    most_ms = max(entry.p50_ms for entry in table.entries)
    assert client.worst_difference_ms(written, read(scale=1.01)) == pytest.approx(0.01 * most_ms)
    assert client.worst_difference_ms(written, read(dropped=1)) == inf
    assert client.worst_difference_ms(written, read(other=1)) == inf


def test_without_nn_meter_a_line_says_so(client: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "profiled_results.json").write_text("{}")
    with pytest.raises(MissingError, match=r"failed: ModuleNotFoundError: No module named 'nn_meter'; see benchmarks/"):
        client.read_by_client(Path(sys.executable), tmp_path / "profiled_results.json")
    with pytest.raises(MissingError, match=r"^nn-Meter in .*nowhere failed: .*No such file.*; see benchmarks/"):
        client.read_by_client(tmp_path / "nowhere", tmp_path / "profiled_results.json")
