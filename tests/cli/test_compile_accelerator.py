"""`mnv3c compile` and `run` for an accelerator: quantised, spelled out, and executed by the emulator."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from mnv3c.graph import reference
from mnv3c.graph.importers.tflite import import_tflite
from mnv3c.graph.initialise import initialise
from mnv3c.graph.integer.reference import run as run_integers
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import Conv2d, Input
from mnv3c.graph.yaml_io import load_graph, save_graph

FILES = {"commands", "image", "tflite", "manifest"}
NAMES = {"commands.txt", "dram.bin", "tflite"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three colourful images, and a file that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(pixels).resize((40, 40), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture(scope="module")
def compiled(mnv3c: Any, tiny_yaml: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The document of the tiny network, compiled for the default accelerator."""
    folder = tmp_path_factory.mktemp("accelerator") / "artifact"
    return mnv3c("compile", tiny_yaml, "--target", "edgetpu", "-o", folder, "--json").document


def values_of(sample: Path) -> Any:
    with Image.open(sample) as image:
        pixels = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR), np.float32)
    return ((pixels / 255 - 0.5) / 0.5)[np.newaxis].astype(np.float32)


def test_the_document_and_the_folder(compiled: Any) -> None:
    assert set(compiled["files"]) == FILES
    assert {"path", "device", "compile_s", "peak_activation_bytes", "weights_bytes", "layers"} <= set(compiled)
    folder = Path(compiled["path"])
    assert {path.name.partition(".")[2] for path in folder.iterdir()} == {*NAMES, "yaml"}
    first = compiled["layers"][0]
    assert {"name", "kind", "in", "out", "macs", "commands", "dram_bytes", "tile", "order"} == set(first)
    assert first["in"] == [1, 32, 32, 3]
    manifest = yaml.safe_load((folder / "manifest.yaml").read_text())
    assert manifest["device"] == "edgetpu-like"
    assert manifest["calibration"] == "minmax over 8 seeded samples"
    assert [layer["name"] for layer in manifest["layers"]] == [layer["name"] for layer in compiled["layers"]]
    assert manifest["memory"]["weights_bytes"] == sum(layer["weights_bytes"] for layer in manifest["layers"])


def test_the_emulator_gives_the_integers_of_the_exported_model(
    mnv3c: Any, compiled: Any, tiny_yaml: Path, pictures: Path, tmp_path: Path
) -> None:
    values, sample = values_of(pictures / "0.png"), pictures / "0.png"
    words = ("run", compiled["path"], "--input", sample, "--output", tmp_path / "out.npy", "--json")
    document = mnv3c(*words).document
    assert document["on"] == "emulator of edgetpu-like (no latency)"
    assert "measured_ms" not in document
    found = np.load(tmp_path / "out.npy")
    network = import_tflite(Path(compiled["files"]["tflite"]))
    ((name, integers),) = run_integers(network, next(iter(network.inputs.values())).quantize(values)).items()
    np.testing.assert_array_equal(found, network.affine(name).dequantize(integers))
    (exact,) = reference.run(load_graph(tiny_yaml), values).values()
    assert np.abs(found - exact).max() < 0.25 * np.abs(exact).max()
    (row,) = document["outputs"]
    assert [pair[0] for pair in row["top"]] == list(np.argsort(-found[0], kind="stable"))


def test_channels_first_in_and_out(mnv3c: Any, tmp_path: Path) -> None:
    """As the ONNX models of PyTorch have it: the integers lie channels last, the caller's tensors do not."""
    nodes = (Node("x", Input((1, 5, 6, 3), "NCHW")), Node("y", Conv2d(4, (3, 3), bias=True), ("x",)))
    graph = replace(initialise(Graph("first", nodes, ("y",)), 0), output_layout="NCHW", output_names=("features",))
    save_graph(graph, tmp_path / "first.yaml")
    mnv3c("compile", tmp_path / "first.yaml", "--target", "edgetpu", "-o", tmp_path / "net").require_success()
    values = np.random.default_rng(0).uniform(-1, 1, (1, 3, 5, 6)).astype(np.float32)
    np.save(tmp_path / "in.npy", values)
    (row,) = mnv3c("run", tmp_path / "net", "--input", tmp_path / "in.npy", "--json").document["outputs"]
    assert (row["name"], row["shape"]) == ("features", [1, 4, 3, 4])
    (exact,) = reference.run(graph, values.transpose(0, 2, 3, 1)).values()
    # White noise goes beyond the ranges that smooth samples chose, here and there.
    errors = np.abs(np.load(row["file"]).transpose(0, 2, 3, 1) - exact)
    assert np.quantile(errors, 0.9) < 0.02 * np.abs(exact).max()
    wrong = tmp_path / "wrong.npy"
    np.save(wrong, values.transpose(0, 2, 3, 1))
    refused = mnv3c("run", tmp_path / "net", "--input", wrong)
    assert refused.message == "the input has shape [1, 5, 6, 3], the network takes [1, 3, 5, 6]"


def test_a_tflite_model_is_taken_as_it_is(mnv3c: Any, compiled: Any, pictures: Path, tmp_path: Path) -> None:
    model = compiled["files"]["tflite"]
    again = mnv3c("compile", model, "--device", "tiny-8x8", "-o", tmp_path / "again", "--json").document
    manifest = yaml.safe_load(Path(again["files"]["manifest"]).read_text())
    assert manifest["calibration"] == "the model's own"
    np.save(tmp_path / "in.npy", values_of(pictures / "1.png"))
    outputs = []
    for folder in (compiled["path"], again["path"]):
        words = ("run", folder, "--input", tmp_path / "in.npy", "--output", tmp_path / "out.npy")
        mnv3c(*words).require_success()
        outputs.append(np.load(tmp_path / "out.npy"))
    np.testing.assert_array_equal(outputs[0], outputs[1])


def test_images_calibrate_and_settings_are_kept(mnv3c: Any, tiny_yaml: Path, pictures: Path, tmp_path: Path) -> None:
    words = ("--calibrate", pictures, "--calibration", "mse", "--rounding", "float32_rne", "--set", "sram_bytes=64K")
    outcome = mnv3c("compile", tiny_yaml, "--device", "edgetpu-like", *words, "-o", tmp_path / "net")
    outcome.require_success()
    assert "int8 by mse over 3 files, rounding float32_rne" in outcome.stdout
    manifest = yaml.safe_load((tmp_path / "net" / "manifest.yaml").read_text())
    assert manifest["settings"] == {"sram_bytes": "64K"}
    assert manifest["memory"]["sram_bytes"] == 64 * 1024
    shown = mnv3c("run", tmp_path / "net").stdout
    assert "emulator of edgetpu-like (no latency)" in shown
    assert "ms" not in shown.replace("numbers", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--threads", "2"), "--threads is for native programs, and 'edgetpu-like' is an accelerator"),
        (("--weights", "fp16"), "--weights is for native programs, and 'edgetpu-like' is an accelerator"),
        (("--dump", "calls"), "--dump is for native programs, and 'edgetpu-like' is an accelerator"),
        (("--rounding", "up"), "rounding 'up' is not one of gemmlowp_double, single, float32_rne"),
        (("--calibration", "best"), "calibration method 'best' is not one of minmax, percentile, mse"),
        (("--set", "rows"), "--set rows: must be KEY=VALUE, such as dataflow=ws or sram_bytes=256K"),
        (("--set", "legs=4"), "legs"),
        (("--calibrate", "nowhere"), "nowhere: no such folder"),
    ],
)
def test_refusals(mnv3c: Any, tiny_yaml: Path, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    outcome = mnv3c("compile", tiny_yaml, "--target", "edgetpu", "-o", tmp_path / "net", *words)
    assert outcome.code == 2
    assert message in outcome.message
    assert not (tmp_path / "net").exists()


def test_refusals_of_folders_models_and_programs(mnv3c: Any, compiled: Any, tiny_yaml: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    refused = mnv3c("compile", tiny_yaml, "--target", "edgetpu", "--calibrate", empty)
    assert refused.message == f"{empty}: holds no .png, .jpg, .jpeg, .npy file to calibrate with"
    refused = mnv3c("compile", tiny_yaml, "--target", "x86_64", "--device", "host", "--set", "rows=4")
    assert refused.message == "--set is for accelerators, and 'host' is none"
    model = compiled["files"]["tflite"]
    refused = mnv3c("compile", model, "--target", "edgetpu", "--rounding", "single")
    assert refused.message == f"--rounding is for networks of real numbers; '{model}' is quantised"
    refused = mnv3c("compile", model, "--target", "edgetpu", "--width", "0.5")
    assert "none can be given with" in refused.message
    for words in (("--on", "host"), ("--runs", 3), ("--threads", 2)):
        refused = mnv3c("run", compiled["path"], *words)
        assert (refused.code, refused.message.partition(":")[0]) == (2, words[0])


def test_a_file_that_was_changed_is_refused(mnv3c: Any, compiled: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(compiled["path"], tmp_path / "changed"))
    commands = folder / Path(compiled["files"]["commands"]).name
    commands.write_text(commands.read_text().replace("launch", "lunch", 1))
    assert "is not the file that manifest.yaml describes" in mnv3c("run", folder).message
    commands.unlink()
    missing = mnv3c("run", folder)
    assert (missing.code, missing.message) == (3, f"{commands}: no such file; compile again")
    (folder / "manifest.yaml").write_text("format: mnv3c-accelerator/1\nname: x\n")
    assert "manifest.yaml: versions: Field required" in mnv3c("run", folder).message


def test_a_network_that_does_not_fit_leaves_nothing(mnv3c: Any, tiny_yaml: Path, tmp_path: Path) -> None:
    words = ("--set", "sram_bytes=1K", "--set", "tile_fraction=0.02", "-o", tmp_path / "net", "--json")
    outcome = mnv3c("compile", tiny_yaml, "--target", "edgetpu", *words)
    assert outcome.code == 2
    assert "memory.sram_bytes" in outcome.message
    assert not (tmp_path / "net").exists()


def test_the_same_network_gives_the_same_files(mnv3c: Any, compiled: Any, tiny_yaml: Path, tmp_path: Path) -> None:
    mnv3c("compile", tiny_yaml, "--target", "edgetpu", "-o", tmp_path / "net").require_success()
    for path in Path(compiled["path"]).iterdir():
        assert (tmp_path / "net" / path.name).read_bytes() == path.read_bytes()
    assert json.loads(json.dumps(compiled)) == compiled
