"""`mnv3c compile`: what it prints, what it leaves, and what it leaves behind when it is stopped or has no room."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

FIELDS = {"path", "files", "triple", "compile_s", "peak_activation_bytes", "weights_bytes", "threads", "layers"}
LAYER_FIELDS = {"name", "kind", "in", "out", "macs", "bytes_in", "bytes_out", "kernel", "parameters"}
PATIENCE_S = 60.0


def objects(cache: Path) -> dict[Path, tuple[int, int]]:
    """Every kernel in a cache, with what changes when a file is written anew."""
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in cache.rglob("*.o")}


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if not path.is_dir())


def wait_until(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, "the compiler ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def start(*words: object, **options: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "mnv3c", *map(str, words)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **options
    )


def interrupt(process: "subprocess.Popen[str]") -> None:
    """As a terminal does on Ctrl-C: to the whole process group. Checks what the program says to it."""
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, stdout, stderr) == (130, "", "mnv3c: interrupted; finished work is kept\n")


def test_json(mnv3c: Any, mnv3c_process: Any, tiny_yaml: Path, tiny: Path, tmp_path: Path) -> None:
    # In a process of its own, so that what compilers and linkers print is seen as well.
    document = mnv3c_process("compile", tiny_yaml, "-o", tmp_path / "out", "--json").document
    assert set(document) == FIELDS | {"lower_bound_activation_bytes"}
    assert document["path"] == str(tmp_path / "out")
    assert set(document["files"]) == {"library", "header", "bench", "manifest"}
    assert all(Path(path).stat().st_size for path in document["files"].values())
    assert files(tmp_path / "out") == files(tiny)
    assert document["compile_s"] > 0 and document["weights_bytes"] > 0
    assert document["peak_activation_bytes"] >= document["lower_bound_activation_bytes"] > 0
    assert all(set(layer) >= LAYER_FIELDS for layer in document["layers"])
    graph = mnv3c("graph", tiny_yaml, "--json").document
    # A row may be several layers that share a kernel.
    assert sum(layer["macs"] for layer in document["layers"]) == graph["macs"]
    assert document["layers"][0]["in"] == [1, 32, 32, 3]
    assert document["layers"][-1]["out"] == [1, 4]


def test_summary_says_where_and_how(mnv3c: Any, tiny_yaml: Path, tmp_path: Path) -> None:
    outcome = mnv3c("compile", tiny_yaml, "--target", "arm64", "--device", "cortex-a53", "-o", tmp_path / "out")
    outcome.require_success()
    lines = outcome.stdout.splitlines()
    assert lines[0].split() == ["layer", "kind", "in", "out", "M", "MACs", "kB", "in", "kB", "out", "kernel"]
    assert any(line.startswith("stem") for line in lines)
    assert any("layers" in line and "M MACs, compiled in" in line for line in lines)
    listed = {Path(line.strip()) for line in lines if line.startswith("  ")}
    assert {path.name for path in listed} | {"graph.yaml"} == set(files(tmp_path / "out"))
    assert f"run it here:       mnv3c run {tmp_path / 'out'}" in lines
    assert any(line.startswith("run it on a board: scp ") and line.endswith("-bench --profile") for line in lines)


def test_weights_in_half_precision(mnv3c: Any, tiny_yaml: Path, tiny: Path, tmp_path: Path) -> None:
    words = ("compile", tiny_yaml, "-o", tmp_path / "out", "--weights", "fp16")
    document = mnv3c(*words, "--json").document
    assert set(document) == FIELDS | {"lower_bound_activation_bytes", "weights_precision", "weights_error"}
    assert document["weights_precision"] == "fp16" and 0 < document["weights_error"] < 1e-2
    plain, half = (yaml.safe_load((folder / "manifest.yaml").read_text()) for folder in (tiny, tmp_path / "out"))
    assert "weights_precision" not in plain and "weights_error" not in plain
    assert (half["weights_precision"], half["weights_error"]) == ("fp16", document["weights_error"])
    assert document["weights_bytes"] == half["memory"]["weights_bytes"] < plain["memory"]["weights_bytes"]
    last = document["layers"][-1]
    assert (last["name"], last["kind"], last["kernel"]) == ("classifier", "dense+fp16", "gemm_fp16")
    lines = mnv3c(*words).stdout.splitlines()
    assert any(line.startswith("weights of matrix-vector layers in fp16 change the check") for line in lines)
    outputs = [mnv3c("run", folder, "--json").document["outputs"][0]["top"] for folder in (tiny, tmp_path / "out")]
    assert outputs[0] != outputs[1]
    largest = max(abs(value) for _, value in outputs[0])
    before, after = map(dict, outputs)
    error = max(abs(before[index] - after[index]) for index in before) / largest
    assert error == pytest.approx(document["weights_error"], rel=0.05)


@pytest.mark.parametrize(
    ("name", "folder"),
    [("../../evil name", "______evil_name-riscv64"), ("net_w0.35", "net_w0_35-riscv64"), ("7net", "net_7net-riscv64")],
)
def test_any_name_makes_a_folder_and_c_names(
    mnv3c: Any, tiny_yaml: Path, tmp_path: Path, name: str, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(tiny_yaml.with_suffix(".npz"), tmp_path)
    text = tiny_yaml.read_text().splitlines()
    text[1] = f"name: {json.dumps(name)}"
    (work := tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "tiny.yaml").write_text("\n".join(text))
    monkeypatch.chdir(work)
    document = mnv3c("compile", "../../tiny.yaml", "--target", "riscv64", "--json").document
    assert document["path"] == f"build/{folder}"
    assert sorted(path.name for path in tmp_path.rglob("*-riscv64")) == [folder]
    assert f"{folder.removesuffix('-riscv64')}_run(" in Path(document["files"]["header"]).read_text()


def test_dump(mnv3c: Any, tiny_yaml: Path, tmp_path: Path) -> None:
    mnv3c("compile", tiny_yaml, "-o", tmp_path, "--dump", "fuse-layers", "--dump", "calls").require_success()
    assert files(tmp_path / "dump") == ["3-fuse-layers.txt", "4-calls.txt"]
    assert (tmp_path / "dump" / "3-fuse-layers.txt").read_text().startswith("graph mobilenet_v3_small")
    assert (tmp_path / "dump" / "4-calls.txt").read_text().startswith("stem")


def test_the_second_time_nothing_is_compiled(
    mnv3c: Any, tiny_yaml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNV3C_CACHE_DIR", str(tmp_path / "cache"))
    first = mnv3c("compile", tiny_yaml, "-o", tmp_path / "first", "--json").document
    built = objects(tmp_path / "cache")
    assert len(built) > 12

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a kernel is compiled again")

    monkeypatch.setattr("mnv3c.compiler.build.build_kernel", refuse)
    monkeypatch.setattr("mnv3c.compiler.build.ProcessPoolExecutor", refuse)
    second = mnv3c("compile", tiny_yaml, "-o", tmp_path / "second", "--json").document
    assert objects(tmp_path / "cache") == built
    assert second["layers"] == first["layers"]
    library = Path(first["files"]["library"]).name
    assert (tmp_path / "first" / library).read_bytes() == (tmp_path / "second" / library).read_bytes()


def test_ctrl_c_between_kernels(mnv3c: Any, tiny_yaml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, out = tmp_path / "cache", tmp_path / "out"
    monkeypatch.setenv("MNV3C_CACHE_DIR", str(cache))
    process = start("compile", tiny_yaml, "-o", out)
    wait_until(lambda: len(objects(cache)) >= 2, process)
    interrupt(process)
    assert not out.exists()
    kept = objects(cache)
    assert len(kept) >= 2
    assert all(name.endswith(".o") for name in files(cache)), "half-written files stay in the cache"
    assert mnv3c("compile", tiny_yaml, "-o", out).code == 0
    now = objects(cache)
    assert len(now) > len(kept)
    assert {path: now[path] for path in kept} == kept


def test_ctrl_c_while_linking(mnv3c: Any, tiny_yaml: Path, tiny: Path, tmp_path: Path) -> None:
    assert tiny.is_dir()  # so every kernel is cached
    out = tmp_path / "out"
    process = start("compile", tiny_yaml, "-o", out)
    wait_until(lambda: any(out.glob(".*")), process)
    interrupt(process)
    assert list(out.iterdir()) == []
    assert mnv3c("compile", tiny_yaml, "-o", out).code == 0
    assert mnv3c("run", out, "--json").code == 0


@pytest.mark.parametrize("below", [False, True])
def test_a_file_where_the_folder_should_be(
    mnv3c: Any, tiny_yaml: Path, tiny: Path, tmp_path: Path, below: bool
) -> None:
    assert tiny.is_dir()
    (tmp_path / "file").write_text("mine")
    outcome = mnv3c("compile", tiny_yaml, "-o", tmp_path / "file" / "out" if below else tmp_path / "file")
    assert outcome.code == 3
    assert f"cannot write to {tmp_path / 'file'}" in outcome.message
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(mnv3c: Any, tiny_yaml: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    outcome = mnv3c("compile", tiny_yaml, "-o", tmp_path)
    tmp_path.chmod(0o755)
    assert outcome.code == 3
    assert "Permission denied" in outcome.message
    assert list(tmp_path.iterdir()) == []


def test_no_file_may_be_that_large(mnv3c_process: Any, tiny_yaml: Path, tiny: Path, tmp_path: Path) -> None:
    assert tiny.is_dir()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    outcome = mnv3c_process("compile", tiny_yaml, "-o", tmp_path / "out", preexec_fn=limit)
    assert outcome.code == 3
    assert "File too large" in outcome.message
    assert not (tmp_path / "out").exists()


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with too little space for an artifact."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=500k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small disk, and not in every container")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("full", ["output", "cache", "temporary"])
def test_full_disk(mnv3c_process: Any, tiny_yaml: Path, tiny: Path, tmp_path: Path, full_disk: Path, full: str) -> None:
    assert tiny.is_dir()
    (full_disk / "filling").write_bytes(bytes(450_000))
    variables = {"cache": {"MNV3C_CACHE_DIR": str(full_disk)}, "temporary": {"TMPDIR": str(full_disk)}}
    environment = os.environ | variables.get(full, {})
    out = full_disk / "out" if full == "output" else tmp_path / "out"
    outcome = mnv3c_process("compile", tiny_yaml, "-o", out, env=environment)
    assert outcome.code == 3
    assert "no space left" in outcome.message.lower()
    assert not out.exists() or list(out.iterdir()) == []
