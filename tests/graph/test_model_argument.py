import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from mnv3c.cli.graph import graph as graph_command
from mnv3c.cli.model import ModelOptions, load_model, with_model_options
from mnv3c.graph.errors import UserError
from mnv3c.graph.networks import mobilenet_v3
from mnv3c.graph.yaml_io import load_graph, save_graph


def invoke(*arguments: str, command: Any = graph_command) -> str:
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_options_reach_the_network() -> None:
    options = ModelOptions(width=0.5, resolution="64x96", head="lraspp", classes=7, hswish="80", no_se=True, seed=3)
    expected = mobilenet_v3(
        "small", width=0.5, resolution=(64, 96), head="lraspp", classes=7, hswish=80, se=False, seed=3
    )
    assert load_model("small", options) == expected
    assert load_model("large", ModelOptions()) == mobilenet_v3("large")


def test_yaml_model_is_loaded(tmp_path: Path) -> None:
    expected = mobilenet_v3("small", width=0.35, resolution=64)
    save_graph(expected, tmp_path / "net.yaml")
    assert load_model(str(tmp_path / "net.yaml"), ModelOptions()) == expected


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("medium", ModelOptions(), "unknown model 'medium': allowed are large, small, a .yaml graph, an .onnx or"),
        ("net.pt", ModelOptions(), "unknown model 'net.pt'"),
        ("net.yaml", ModelOptions(width=1.0), "--width is for the models large and small"),
        ("net.yaml", ModelOptions(seed=0), "--seed is for the models large and small"),
        ("net.onnx", ModelOptions(no_se=True), "--no-se is for the models large and small"),
        (
            "net.yaml",
            ModelOptions(shape=["x:1,3,8,8"]),
            "--shape is for ONNX models; it cannot be given with 'net.yaml'",
        ),
        ("large", ModelOptions(shape=["x:1,3,8,8"]), "--shape is for ONNX models"),
        ("net.onnx", ModelOptions(shape=["1,3,8,8"]), "--shape must be NAME:1,3,224,224"),
        ("net.onnx", ModelOptions(shape=["x:1,-3,8,8"]), "--shape must be NAME:1,3,224,224"),
        ("net.onnx", ModelOptions(shape=["x:1,3", "x:1,3"]), "--shape gives input 'x' twice"),
        ("large", ModelOptions(resolution="big"), "--resolution must be N or HxW"),
        ("large", ModelOptions(resolution="1x2x3"), "--resolution must be N or HxW"),
        ("large", ModelOptions(resolution="100"), "resolution must be a multiple of 32"),
        ("large", ModelOptions(hswish="few"), "hswish must be paper, all, none or a number"),
        ("large", ModelOptions(head="top"), "head must be one of"),
        ("absent.yaml", ModelOptions(), "absent.yaml: cannot be read"),
    ],
)
def test_mistakes_are_refused_by_name(model: str, options: ModelOptions, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_model(model, options)
    assert str(caught.value).startswith(message)


def test_command_gets_one_option_per_field() -> None:
    seen: list[tuple[str, ModelOptions, int]] = []

    @with_model_options
    def command(model: str = "large", *, options: ModelOptions, threads: int = 1) -> None:
        """Shown in the help."""
        seen.append((model, options, threads))

    invoke("--width", "0.5", "--minimalistic", "--threads", "3", "--shape", "a:1,2", "--shape", "b:1", command=command)
    assert seen.pop() == ("large", ModelOptions(width=0.5, minimalistic=True, shape=["a:1,2", "b:1"]), 3)
    invoke(command=command)
    model, options, threads = seen.pop()
    assert (model, options.shape or None, threads) == ("large", None, 1)
    page = invoke("--help", command=command)
    assert "Shown in the help." in page
    for option in (
        "--width",
        "--resolution",
        "--minimalistic",
        "--head",
        "--classes",
        "--last-stage",
        "--stem-filters",
    ):
        assert option in page
    for option in ("--hswish", "--no-se", "--output-stride", "--reduce-tail", "--seed", "--shape", "--threads"):
        assert option in page
    assert "--options" not in page


def test_json_document() -> None:
    document = json.loads(invoke("large", "--json"))
    assert list(document) == ["name", "macs", "params", "weight_layers", "layers"]
    assert [document[key] for key in list(document)[:4]] == ["mobilenet_v3_large", 216_589_760, 5_470_832, 64]
    assert document["layers"][0] == {
        "name": "stem",
        "op": "conv2d",
        "in": [1, 224, 224, 3],
        "out": [1, 112, 112, 16],
        "macs": 5_419_008,
        "params": 448,
        "bytes_in": 4 * (224 * 224 * 3 + 448),
        "bytes_out": 4 * 112 * 112 * 16,
        "activation": "hswish",
    }
    assert sum(layer["macs"] for layer in document["layers"]) == document["macs"]
    assert sum(layer["params"] for layer in document["layers"]) == document["params"]


def test_table_text_and_saved_graph(tmp_path: Path) -> None:
    small = ("small", "--width", "0.35", "--resolution", "64")
    table = invoke(*small, "--save", str(tmp_path / "s.yaml"))
    assert "block11.project" in table
    assert "54 weight layers" in table
    assert "…" not in table
    text = invoke(*small, "--print")
    assert text == invoke(str(tmp_path / "s.yaml"), "--print", "--unfused")
    assert "%stem " in text
    assert "batch_norm" not in text
    assert "batch_norm" in invoke(*small, "--print", "--unfused")
    assert load_graph(tmp_path / "s.yaml").weights


def test_print_and_json_exclude_each_other() -> None:
    with pytest.raises(UserError, match="--print and --json"):
        invoke("--print", "--json")


def test_onnx_model_is_imported_with_its_shapes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.onnx"):
        load_model(str(tmp_path / "absent.onnx"), ModelOptions(shape=["a:b:1,3,8,8"]))


def test_imports_are_light() -> None:
    code = "import sys, mnv3c.cli.graph; print([m for m in ('tvm', 'onnx', 'rich.table', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
