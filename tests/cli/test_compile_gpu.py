"""`mnv3c compile` and `run` for a GPU: kernels in OpenCL C, run by the C program on PoCL."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.cli.conftest import HOST_CPU, OTHER_CPU

from mnv3c.graph import reference
from mnv3c.graph.yaml_io import load_graph

ROLES = {"library", "header", "bench", "kernels", "manifest"}
LAYER = {"name", "kind", "in", "out", "macs", "bytes_in", "bytes_out", "kernel", "parameters", "work_items"}
POCL = "PoCL on this CPU (no phone's latency)"


@pytest.fixture(scope="module")
def compiled(mnv3c: Any, tiny_yaml: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The document of the tiny network for the default Adreno beside this machine's CPU."""
    folder = tmp_path_factory.mktemp("gpu") / "artifact"
    return mnv3c("compile", tiny_yaml, "--target", "adreno", "--host-cpu", HOST_CPU, "-o", folder, "--json").document


def test_the_document_and_the_folder(compiled: Any) -> None:
    assert set(compiled["files"]) == ROLES
    assert all(Path(path).is_file() for path in compiled["files"].values())
    assert compiled["device"] == "adreno-640" and compiled["storage"] == "fp32"
    assert {"path", "triple", "compile_s", "peak_activation_bytes", "weights_bytes"} <= set(compiled)
    first, *_, last = compiled["layers"]
    predicted = {"predicted_ms", "low_ms", "high_ms"}
    assert set(first) == LAYER | predicted | {"work_group", "operations", "occupancy", "bound", "chosen_by"}
    assert (first["in"], last["out"]) == ([1, 32, 32, 3], [1, 4])
    assert first["bytes_out"] == 4 * np.prod(first["out"])
    source = Path(compiled["files"]["kernels"]).read_text()
    assert len({row["kernel"] for row in compiled["layers"]}) <= source.count("__kernel") <= len(compiled["layers"])
    for row in compiled["layers"]:
        assert row["operations"] >= 2 * row["macs"]
        assert 0 < row["occupancy"] <= 1
        assert all(items % group == 0 for items, group in zip(row["work_items"], row["work_group"], strict=True))


def test_predictions_add_up_and_say_what_they_are(compiled: Any) -> None:
    for row in (compiled, *compiled["layers"]):
        assert 0 < row["low_ms"] < row["predicted_ms"] < row["high_ms"]
    assert compiled["kernels_ms"] == pytest.approx(sum(row["predicted_ms"] for row in compiled["layers"]))
    parts = (compiled[f"{name}_ms"] for name in ("kernels", "launches", "once"))
    assert compiled["predicted_ms"] == pytest.approx(sum(parts))
    assert compiled["predicted_by"].endswith("profile adreno640-gpu-tflite; no such kernel has been measured")


def test_the_manifest_has_the_same_launches(compiled: Any) -> None:
    manifest = yaml.safe_load(Path(compiled["files"]["manifest"]).read_text())
    assert [layer["name"] for layer in manifest["layers"]] == [layer["name"] for layer in compiled["layers"]]
    for described, row in zip(manifest["layers"], compiled["layers"], strict=True):
        assert described["bytes"] == row["bytes_in"] + row["bytes_out"]
        assert described["work_group"] == row["work_group"]


def test_pocl_gives_what_the_reference_gives(
    mnv3c: Any, pocl: object, compiled: Any, tiny_yaml: Path, tmp_path: Path
) -> None:
    values = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)
    np.save(tmp_path / "in.npy", values)
    words = ("--input", tmp_path / "in.npy", "--output", tmp_path / "out.npy", "--on", "pocl")
    document = mnv3c("run", compiled["path"], *words, "--json").document
    assert document["on"].startswith(f"{POCL}: ")
    assert "measured_ms" not in document
    (expected,) = reference.run(load_graph(tiny_yaml), values).values()
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, rtol=1e-4, atol=1e-5)
    assert [index for index, _ in document["outputs"][0]["top"]] == np.argsort(-expected[0]).tolist()


def test_times_are_labelled(mnv3c: Any, pocl: object, compiled: Any) -> None:
    outcome = mnv3c("run", compiled["path"], "--on", "pocl", "--runs", 3)
    outcome.require_success()
    first, *_, last = outcome.stdout.splitlines()
    assert f" (adreno-640) on {POCL}: " in first
    assert last.startswith(f"  measured on {POCL}: median ") and last.endswith(" ms, transfers included")
    document = mnv3c("run", compiled["path"], "--on", "pocl", "--runs", 3, "--json").document
    assert document["measured_ms"] > 0


def test_work_groups_are_tuned_and_kept(mnv3c: Any, pocl: object, compiled: Any, tmp_path: Path) -> None:
    plain = mnv3c("run", compiled["path"], "--on", "pocl", "--json").document
    kept = tmp_path / "tuning.txt"
    tuned = mnv3c("run", compiled["path"], "--on", "pocl", "--tune", kept, "--json").document
    assert tuned["outputs"][0]["top"] == plain["outputs"][0]["top"]
    assert all(row["tried"] > 1 and row["best_us"] <= row["compiler_us"] for row in tuned["tuned"])
    assert kept.read_text().startswith("mnv3c-opencl-tuning/1\n")
    assert f"changed; kept in {kept}" in mnv3c("run", compiled["path"], "--on", "pocl", "--tune", kept).stdout
    again = mnv3c("run", compiled["path"], "--on", "pocl", "--tuning", kept, "--json").document
    assert again["outputs"] == plain["outputs"]
    kept.write_text("something else\n")
    refused = mnv3c("run", compiled["path"], "--on", "pocl", "--tuning", kept)
    assert (refused.code, refused.message) == (2, f"{kept}: not a file that --tune wrote")


def test_sums_in_halves_say_what_they_need(mnv3c: Any, pocl: object, tiny_yaml: Path, tmp_path: Path) -> None:
    folder = tmp_path / "net"
    words = ("--target", "mali", "--host-cpu", HOST_CPU, "--storage", "fp16", "--accumulate", "fp16", "-o", folder)
    outcome = mnv3c("compile", tiny_yaml, *words)
    outcome.require_success()
    assert "sums in halves need an OpenCL device with cl_khr_fp16, which PoCL's CPU device lacks\n" in outcome.stdout
    assert f"run it here:       mnv3c run {folder}\n" in outcome.stdout
    refused = mnv3c("run", folder, "--on", "pocl")
    assert refused.code == 2 and "cl_khr_fp16" in refused.message


def test_halves_in_memory(mnv3c: Any, pocl: object, compiled: Any, tiny_yaml: Path, tmp_path: Path) -> None:
    words = ("--device", "mali-g76", "--host-cpu", HOST_CPU, "--storage", "fp16", "-o", tmp_path / "net", "--json")
    halves = mnv3c("compile", tiny_yaml, *words).document
    assert halves["storage"] == "fp16" and halves["device"] == "mali-g76"
    assert halves["weights_bytes"] < compiled["weights_bytes"]
    here, there = (
        np.array(
            [value for _, value in sorted(mnv3c("run", path, "--on", "pocl", "--json").document["outputs"][0]["top"])]
        )
        for path in (halves["path"], compiled["path"])
    )
    assert 0 < np.abs(here - there).max() <= 2e-2 * np.abs(there).max()


def test_the_table_of_another_cpu(mnv3c: Any, tiny_yaml: Path, tmp_path: Path) -> None:
    """Its artifact can be made here, but not run."""
    folder = tmp_path / "net"
    words = ("--target", "mali", "--host-cpu", OTHER_CPU, "--dump", "kernels", "-o", folder)
    outcome = mnv3c("compile", tiny_yaml, *words)
    outcome.require_success()
    assert f"run it on a board: mnv3c run {folder} --on ssh:BOARD --profile\n" in outcome.stdout
    assert "run it here" not in outcome.stdout
    assert "are estimates for 'mali-" in outcome.stdout
    assert " pred. us " in outcome.stdout and ", upload and read-back " in outcome.stdout
    assert "  predicted for our kernels by the data sheet of mali-g76, scaled by what " in outcome.stdout
    assert "__kernel void" in (folder / "dump" / "5-kernels.txt").read_text()
    for words in ((), ("--on", "pocl"), ("--on", "host")):
        refused = mnv3c("run", folder, *words)
        assert refused.code == 2
        assert "was linked for a GPU beside an" in refused.message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--weights", "fp16"), "--weights is for programs that compute on CPUs, and 'adreno-640' is a GPU"),
        (("--threads", "2"), "--threads is for programs that compute on CPUs, and 'adreno-640' is a GPU"),
        (("--no-records",), "--no-records is for programs that compute on CPUs, and 'adreno-640' is a GPU"),
        (("--set", "rows=4"), "--set is for accelerators, and 'adreno-640' is none"),
        (("--dump", "calls"), "--dump: 'calls' is for CPUs; manifest.yaml lists what 'adreno-640' launches"),
        (("--host-cpu", "riscv64"), "--host-cpu: 'riscv64' is not one of arm64, x86_64"),
        (("--storage", "int8"), "--storage: 'int8' is not one of fp32, fp16"),
        (("--accumulate", "fp8"), "--accumulate: 'fp8' is not one of fp32, fp16"),
        (("--accumulate", "fp16"), "--accumulate: fp16 needs --storage fp16"),
        (("--device", "mali-g76"), "device 'mali-g76' belongs to target 'mali', not to 'adreno'"),
    ],
)
def test_refusals(mnv3c: Any, tiny_yaml: Path, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    outcome = mnv3c("compile", tiny_yaml, "--target", "adreno", "-o", tmp_path / "net", *words)
    assert (outcome.code, outcome.message) == (2, message)
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize("option", [("--host-cpu", "arm64"), ("--storage", "fp16"), ("--accumulate", "fp32")])
@pytest.mark.parametrize("device", ["cortex-a55", "edgetpu-like"])
def test_refusals_of_other_kinds(mnv3c: Any, tiny_yaml: Path, tmp_path: Path, option: Any, device: str) -> None:
    outcome = mnv3c("compile", tiny_yaml, "--device", device, "-o", tmp_path / "net", *option)
    assert (outcome.code, outcome.message) == (2, f"{option[0]} is for GPUs, and '{device}' is none")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--on", "emulator"),
            "--on: 'emulator' is not one of host, pocl, ssh:[USER@]HOST[:PORT], adb:SERIAL,"
            " the places of a GPU's program",
        ),
        (("--threads", "2"), "--threads: {folder} is for a GPU, whose driver decides about threads"),
        (("--tune", "a", "--tuning", "b"), "--tune makes what --tuning reads: leave one out"),
    ],
)
def test_refusals_of_run(mnv3c: Any, compiled: Any, words: tuple[str, ...], message: str) -> None:
    outcome = mnv3c("run", compiled["path"], *words)
    assert (outcome.code, outcome.message) == (2, message.format(folder=compiled["path"]))


@pytest.mark.parametrize("words", [("--on", "pocl"), ("--tune", "x"), ("--tuning", "x")])
def test_a_program_for_cpus_takes_none_of_it(mnv3c: Any, tiny: Path, words: tuple[str, ...]) -> None:
    outcome = mnv3c("run", tiny, *words)
    assert outcome.code == 2
    assert outcome.message.endswith(f"is for programs of GPUs, and {tiny} holds none")


def test_no_opencl(mnv3c: Any, compiled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNV3C_OPENCL", "/nowhere/libOpenCL.so")
    outcome = mnv3c("run", compiled["path"])
    assert outcome.code == 3
    assert outcome.message == "no OpenCL found: MNV3C_OPENCL is /nowhere/libOpenCL.so, which cannot be opened"


def test_a_changed_bench_is_refused(mnv3c: Any, compiled: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(compiled["path"], tmp_path / "changed"))
    with (folder / Path(compiled["files"]["bench"]).name).open("ab") as bench:
        bench.write(b"\0")
    assert "is not the file that manifest.yaml describes" in mnv3c("run", folder, "--on", "pocl").message
