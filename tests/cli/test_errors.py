"""Exit codes, one line instead of a traceback, and what that line says."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("comple", "No such command 'comple'. Did you mean 'compile'?; see mnv3c --help"),
        ("compile --bogus", "No such option: --bogus"),
        ("compile small large", "Got unexpected extra argument(s) (large); see mnv3c compile --help"),
        ("compile --output", "Option '--output' requires an argument; see mnv3c"),
        ("run", "Missing argument 'DIR'; see mnv3c run --help"),
        ("graph --width abc", "Invalid value for '--width'"),
        ("graph --width -1", "width must be a positive number up to 10, not -1.0"),
        ("graph --width nan", "width must be a positive number"),
        ("graph --resolution 100", "resolution must be a multiple of 32"),
        ("graph --resolution 224x", "--resolution must be N or HxW"),
        ("graph --classes 0", "classes must be an integer from 1"),
        ("graph --seed -1", "seed must be an integer from 0"),
        ("graph --json --print", "--print and --json cannot be given together"),
        ("graph --save net.txt", "net.txt: a graph is saved to a file that ends in .yaml"),
        (
            "compile big",
            "unknown model 'big': allowed are large, small, a .yaml graph, an .onnx or an int8 .tflite",
        ),
        ("compile nope.onnx", "nope.onnx: cannot be read: No such file or directory"),
        ("compile nope.yaml", "nope.yaml: cannot be read: No such file or directory"),
        ("compile nope.onnx --width 1", "--width is for the models large and small"),
        ("compile --shape x:1,3,32,32", "--shape is for ONNX models"),
        ("compile --target arm", "there is no target 'arm'; did you mean arm64?"),
        ("compile --device nope", "there is no device 'nope'; known: host, adreno-616"),
        ("compile --device nope.yaml", "nope.yaml: there is no such file"),
        ("compile --target arm64 --device haswell", "device 'haswell' belongs to target 'x86_64', not to 'arm64'"),
        ("compile --os windows", "--os: 'windows' is not one of linux, android"),
        ("compile --weights fp17", "--weights: 'fp17' is not one of fp32, fp16"),
        (
            "compile --weights fp16 --device sifive-u74",
            "device 'sifive-u74' cannot convert fp16 weights: its llvm.cpu and llvm.features have no zvfhmin or zvfh",
        ),
        ("compile --dump nope", "--dump: 'nope' is not one of drop-identities"),
        ("compile --resolution 8192", "takes 4294967296 bytes, over 2147483647"),
        ("run nope", "nope: no such folder; make an artifact with mnv3c compile"),
        ("run . --top 0", "Invalid value for '--top'"),
        ("run . --threads many", "Invalid value for '--threads'"),
        ("targets nope", "there is no device 'nope'"),
        ("targets nope.yaml", "nope.yaml: there is no such file"),
    ],
)
def test_wrong_input_is_told_in_one_line(
    mnv3c: Any, words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = mnv3c(*words.split())
    assert outcome.code == 2
    assert message in outcome.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["before", "after"])
def test_debug_shows_where(mnv3c: Any, place: str) -> None:
    words = ("compile", "nope.onnx")
    outcome = mnv3c("--debug", *words) if place == "before" else mnv3c(*words, "--debug")
    assert outcome.code == 2
    lines = outcome.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "mnv3c: nope.onnx: cannot be read: No such file or directory"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyError("conv\n7"), 1, "KeyError: 'conv\\n7' (a defect of mnv3c; --debug shows where)"),
        (RecursionError("too\ndeep"), 1, "RecursionError: too deep (a defect of mnv3c; --debug shows where)"),
        (OSError(28, "No space left on device", "/tmp/x"), 3, "No space left on device (/tmp/x)"),
        (MemoryError(), 3, "this machine has too little memory for it"),
        (KeyboardInterrupt(), 130, "interrupted; finished work is kept"),
    ],
)
def test_what_no_command_expects(
    mnv3c: Any, error: BaseException, code: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("mnv3c.cli.graph.load_model", fail)
    outcome = mnv3c("graph")
    assert (outcome.code, outcome.message) == (code, message)


def test_a_reader_that_leaves_is_no_error() -> None:
    command = [sys.executable, "-m", "mnv3c", "targets", "cortex-a76"]
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as pipe:
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_targets_json(mnv3c: Any) -> None:
    everything = mnv3c("targets", "--json").document
    assert [target["name"] for target in everything["targets"]] == [
        "adreno",
        "arm64",
        "edgetpu",
        "mali",
        "riscv64",
        "x86_64",
    ]
    arm = mnv3c("targets", "arm64", "--json").document
    assert arm == {"targets": [target for target in everything["targets"] if target["name"] == "arm64"]}
    assert {"cortex-a53", "cortex-a76"} <= {device["name"] for device in arm["targets"][0]["devices"]}
    one = mnv3c("targets", "cortex-a76", "--json").document
    listed = next(device for device in arm["targets"][0]["devices"] if device["name"] == "cortex-a76")
    assert {key: one[key] for key in listed} == listed
    assert one["device"]["references"]
