"""`mnv3c graph`."""

from pathlib import Path
from typing import Any

import pytest

FIELDS = {"name", "macs", "params", "weight_layers", "layers"}
LAYER_FIELDS = {"name", "op", "in", "out", "macs", "params", "bytes_in", "bytes_out", "activation"}


@pytest.mark.parametrize(
    ("model", "weight_layers", "macs", "params"), [("large", 64, 216.59e6, 5.471e6), ("small", 54, 56.51e6, 2.537e6)]
)
def test_json_has_the_papers_figures(mnv3c: Any, model: str, weight_layers: int, macs: float, params: float) -> None:
    document = mnv3c("graph", model, "--json").document
    assert set(document) == FIELDS
    assert all(set(layer) == LAYER_FIELDS for layer in document["layers"])
    assert document["weight_layers"] == weight_layers
    assert document["macs"] == pytest.approx(macs, abs=0.005e6)
    assert document["params"] == pytest.approx(params, abs=0.0005e6)
    assert document["macs"] == sum(layer["macs"] for layer in document["layers"])
    assert document["params"] == sum(layer["params"] for layer in document["layers"])
    first = document["layers"][0]
    assert (first["name"], first["op"], first["activation"]) == ("stem", "conv2d", "hswish")
    assert (first["in"], first["out"]) == ([1, 224, 224, 3], [1, 112, 112, 16])
    assert first["bytes_out"] == 4 * 112 * 112 * 16


def test_unfused_shows_batch_norms(mnv3c: Any) -> None:
    fused, unfused = (mnv3c("graph", "small", "--json", *options).document for options in ((), ("--unfused",)))
    ops = {layer["op"] for layer in unfused["layers"]}
    assert "batch_norm" in ops - {layer["op"] for layer in fused["layers"]}
    assert len(unfused["layers"]) > len(fused["layers"])


def test_table_and_text(mnv3c: Any) -> None:
    table = mnv3c("graph", "small")
    assert (table.code, table.stderr) == (0, "")
    assert table.stdout.splitlines()[-1] == "54 weight layers, 56.51 M MACs, 2.537 M parameters"
    text = mnv3c("graph", "small", "--print")
    assert (text.code, text.stderr) == (0, "")
    assert text.stdout.startswith("graph mobilenet_v3_small {") and text.stdout.endswith("}\n")


def test_a_saved_graph_is_a_model(mnv3c: Any, tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    options = ("--width", "0.35", "--resolution", "32x64", "--classes", "7")
    original = mnv3c("graph", "small", *options, "--save", path, "--json").document
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net.npz", "net.yaml"]
    assert mnv3c("graph", path, "--json").document == original
    assert original["layers"][-1]["out"] == [1, 7]


def test_it_cannot_save_where_nothing_can_be_written(mnv3c: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    outcome = mnv3c("graph", "small", "--save", tmp_path / "file" / "net.yaml")
    assert outcome.code == 3
    assert "cannot be written: Not a directory" in outcome.message
