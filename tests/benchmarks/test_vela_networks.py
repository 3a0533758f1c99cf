"""benchmarks/vela_networks.py on a small network: a file that reads back, called as the network and its layers."""

from pathlib import Path

import pytest

from mnv3c.graph.importers.tflite import import_tflite
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3

ROOT = Path(__file__).resolve().parents[2]


def test_networks_are_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import vela_networks

    small = mobilenet_v3("small", width=0.35, resolution=32, classes=10)
    monkeypatch.setattr(vela_networks, "NETWORKS", {"tiny": lambda: small})
    vela_networks.vela_networks(tmp_path / "new" / "folder")
    (path,) = (tmp_path / "new" / "folder").iterdir()
    assert path.name == "tiny.tflite"
    names = {node.name for node in import_tflite(path).graph.nodes}
    assert {"stem", "block1.se.pool", "classifier"} <= names
