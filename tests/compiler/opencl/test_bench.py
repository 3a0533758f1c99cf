"""NAME-bench on PoCL: checks, times, files, work-groups, the cache of binaries."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.compiler.opencl.conftest import ELEMENTS, SCALE, Bench, GpuLinker, compute, make_program, with_kernel

from mnv3c.compiler.check_input import check_input
from mnv3c.compiler.opencl.program import GpuProgram

BenchOf = Callable[[GpuProgram], Bench]


def report(bench: Bench, *arguments: str, **changes: str) -> dict[str, object]:
    done = bench.run("--json", *arguments, **changes)
    assert (done.returncode, done.stderr) == (0, "")
    document: dict[str, object] = json.loads(done.stdout)
    return document


def test_check_passes(bench: Bench) -> None:
    done = bench.run("--check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("max_abs_error") == 2
    document = report(bench, "--check")
    assert document["passed"] is True and float(str(document["relative_error"])) <= 1e-6


def test_check_fails(gpu_linker: GpuLinker, program: GpuProgram, bench: Bench, tmp_path: Path) -> None:
    reference = compute(check_input(ELEMENTS))
    reference[9] += 0.01
    wrong = replace(bench, path=gpu_linker(tmp_path, program, reference).bench)
    done = wrong.run("--check", "--json")
    assert done.returncode == 1
    first, second = json.loads(done.stdout)["outputs"]
    assert first["relative_error"] < 1e-6 < 1e-4 < second["relative_error"]


def test_profile(bench: Bench) -> None:
    document = report(bench, "--profile", "--runs", "7", "--warmup=1")
    assert document["name"] == "net" and document["storage"] == "fp32" and document["runs"] == 7
    assert document["platform"] == "Portable Computing Language" and document["device"]
    times = [document[f"{part}_ms"] for part in ("write", "kernel", "read", "overhead", "p10", "median", "p90")]
    write, kernels, read, overhead, p10, median, p90 = (float(str(time)) for time in times)
    assert min(write, read) >= 0 < kernels
    assert 0 < p10 <= median <= p90
    assert math.isclose(write + kernels + read + overhead, median, abs_tol=2e-6)
    rows = document["layers"]
    assert isinstance(rows, list)
    calls = make_program().calls
    assert [row["name"] for row in rows] == [call.layer for call in calls]
    assert [row["kernel"] for row in rows] == [call.kernel for call in calls]
    assert [row["bytes"] for row in rows] == [call.bytes for call in calls]
    assert [row["work_group"] for row in rows] == [[8, 1, 1], [8, 1, 1], [4, 5, 1], [2, 1, 1], [40, 1, 1]]
    for row in rows:
        assert 0 < row["p10_us"] <= row["median_us"] <= row["p90_us"]


def test_times_without_a_profile(bench: Bench) -> None:
    document = report(bench, "--runs", "3")
    assert document["layers"] == [] and "kernel_ms" not in document
    text = bench.run("--runs", "3").stdout
    assert "net, fp32, Portable Computing Language: " in text and "over 3 runs" in text
    text = bench.run("--runs", "3", "--profile").stdout
    assert "launches and gaps" in text and "total by 40 x 1 x 1" in text


def test_files_in_and_out(bench: Bench, tmp_path: Path) -> None:
    values = check_input(ELEMENTS, seed=5)
    values.tofile(tmp_path / "in")
    done = bench.run("--runs", "0", "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    got = np.fromfile(tmp_path / "out", np.float32)
    np.testing.assert_allclose(got, compute(values), rtol=1e-5, atol=1e-6)


def test_help_names_every_option(bench: Bench) -> None:
    done = bench.run("--help", MNV3C_OPENCL="/nonexistent")
    assert (done.returncode, done.stderr) == (0, "")
    for option in (
        "runs",
        "warmup",
        "profile",
        "check",
        "json",
        "input",
        "output",
        "device",
        "tune",
        "tries",
        "tuning",
        "help",
    ):
        assert f"  --{option} " in done.stdout
    assert "--threads" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threads", "2"], "unknown option --threads"),
        (["--tune"], "--tune needs a value"),
        (["--tune", "a", "--tuning", "b"], "leave one out"),
        (["--check", "--profile"], "--check times nothing"),
        (["--tuning", "/nonexistent"], "cannot read /nonexistent: No such file"),
        (["--tune", "/nonexistent/file"], "cannot write /nonexistent/file.tmp: No such file"),
        (["--input", "/nonexistent"], "cannot read /nonexistent: No such file"),
    ],
)
def test_wrong_usage(bench: Bench, arguments: list[str], message: str) -> None:
    done = bench.run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("net-bench: ") and message in done.stderr
    assert done.stderr.count("\n") == 1


def write_tuning(bench: Bench, path: Path, kernels: str) -> Path:
    """A tuning file of this network and device with other lines for the kernels."""
    assert bench.run("--tune", str(path), "--runs", "0").returncode == 0
    head = path.read_text().splitlines()[:3]
    path.write_text("\n".join([*head, kernels]) + "\n")
    return path


@pytest.mark.parametrize(
    ("scale", "add"),
    [("1 1 1", "8 5 1"), ("2 1 1", "1 1 1"), ("5 1 1", "2 5 1"), ("20 1 1", "8 1 1"), ("0 0 0", "0 0 0")],
)
def test_any_work_group_gives_the_same(bench: Bench, tmp_path: Path, scale: str, add: str) -> None:
    tuning = write_tuning(bench, tmp_path / "tuning", f"kernel scale {scale}\nkernel add {add}")
    done = bench.run("--check", "--tuning", str(tuning))
    assert (done.returncode, done.stderr) == (0, "")
    rows = report(bench, "--profile", "--runs", "1", "--tuning", str(tuning))["layers"]
    assert isinstance(rows, list)
    groups = [" ".join(map(str, rows[index]["work_group"])) for index in (0, 1, 2)]
    assert groups == [scale, scale, add]


def test_tune_and_use_it(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "tuning"
    document = report(bench, "--tune", str(path), "--profile", "--runs", "2")
    tuned = document["tuned"]
    assert isinstance(tuned, list)
    assert [row["kernel"] for row in tuned] == ["scale", "add", "matmul", "total"]
    # The compiler's, the driver's, and of 40 work items 1, 2, 4, 5 and all at once; of 8 x 5 eight; of 2 one.
    assert [row["tried"] for row in tuned] == [7, 9, 3, 1]
    few = report(bench, "--tune", str(tmp_path / "few"), "--tries", "2", "--runs", "1")["tuned"]
    assert isinstance(few, list) and [row["tried"] for row in few] == [4, 4, 3, 1]
    for row in tuned:
        assert 0 < row["best_us"] <= row["compiler_us"]
    lines = path.read_text().splitlines()
    assert lines[0] == "mnv3c-opencl-tuning/1"
    assert lines[3:] == [f"kernel {row['kernel']} {' '.join(map(str, row['work_group']))}" for row in tuned]
    layers = report(bench, "--profile", "--runs", "1", "--tuning", str(path))["layers"]
    assert isinstance(layers, list)
    by_kernel = {row["kernel"]: row["work_group"] for row in tuned}
    assert [row["work_group"] for row in layers] == [by_kernel[row["kernel"]] for row in layers]
    assert bench.run("--check", MNV3C_OPENCL_TUNING=str(path)).returncode == 0
    assert "work-groups tried for 4 kernels" in bench.run("--tune", str(path), "--runs", "1").stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a file that --tune wrote"),
        ("mnv3c-opencl-tuning/1\nsource 00\n", "belongs to another network"),
        ("mnv3c-opencl-tuning/1\nSOURCE\ndevice Mali\n", 'belongs to "device Mali", this is "device Portable'),
        ("mnv3c-opencl-tuning/1\nSOURCE\nDEVICE\nkernel scale 3 1 1\n", "line 4: must be"),
        ("mnv3c-opencl-tuning/1\nSOURCE\nDEVICE\nkernel scale 8 1 1\nkernel gone 1 1 1\n", "line 5: must be"),
        ("mnv3c-opencl-tuning/1\nSOURCE\nDEVICE\nkernel total 20 1 1\n", "line 4: must be"),
        ("mnv3c-opencl-tuning/1\nSOURCE\nDEVICE\nkernel scale 8 1 1 1\n", "line 4: must be"),
        ("mnv3c-opencl-tuning/1\nSOURCE\nDEVICE\nkernel scale 8 1 0\n", "line 4: must be"),
    ],
)
def test_a_tuning_file_that_is_none(bench: Bench, tmp_path: Path, text: str, message: str) -> None:
    path = write_tuning(bench, tmp_path / "tuning", "")
    _, source, device, *_ = path.read_text().splitlines()
    path.write_text(text.replace("SOURCE", source).replace("DEVICE", device))
    done = bench.run("--check", "--tuning", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and done.stderr.count("\n") == 1


def cached(bench: Bench, folder: Path) -> bool:
    found = report(bench, "--runs", "1", MNV3C_OPENCL_CACHE=str(folder))["cached"]
    assert isinstance(found, bool)
    return found


def test_binaries_are_kept(bench: Bench, tmp_path: Path) -> None:
    assert not cached(bench, tmp_path)
    (kept,) = tmp_path.iterdir()
    assert kept.name.startswith("net-") and kept.suffix == ".clbin"
    assert cached(bench, tmp_path)
    assert list(tmp_path.iterdir()) == [kept]


@pytest.mark.parametrize("damage", ["cut", "longer", "flipped", "key", "empty", "binary"])
def test_a_damaged_binary_is_made_anew(bench: Bench, tmp_path: Path, damage: str) -> None:
    assert not cached(bench, tmp_path)
    (kept,) = tmp_path.iterdir()
    whole = kept.read_bytes()
    middle = len(whole) // 2
    kept.write_bytes(
        {
            "cut": whole[:-10],
            "longer": whole + b"\0",
            "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "key": whole.replace(b"-cl-mad-enable", b"-cl-mad-ENABLE"),
            "empty": b"",
            "binary": b"\0" * len(whole),
        }[damage]
    )
    assert not cached(bench, tmp_path)
    assert bench.run("--check", MNV3C_OPENCL_CACHE=str(tmp_path)).returncode == 0
    assert cached(bench, tmp_path)


def test_another_source_has_another_binary(
    bench: Bench, bench_of: BenchOf, program: GpuProgram, tmp_path: Path
) -> None:
    folder = tmp_path / "binaries"
    folder.mkdir()
    assert not cached(bench, folder)
    twice = bench_of(with_kernel(program, "scale", source=SCALE.replace("x[i] * w[i]", "2.0f * x[i] * w[i]")))
    assert not cached(twice, folder)
    assert len(list(folder.iterdir())) == 2
    assert twice.run("--check", MNV3C_OPENCL_CACHE=str(folder)).returncode == 1


def test_no_cache_is_no_error(bench: Bench, tmp_path: Path) -> None:
    for folder in ("", "/nonexistent/folder", str(tmp_path / "file")):
        (tmp_path / "file").touch()
        assert report(bench, "--runs", "1", MNV3C_OPENCL_CACHE=folder)["cached"] is False


def test_the_home_folder_keeps_binaries(bench: Bench, tmp_path: Path) -> None:
    environment = {k: v for k, v in bench.environment.items() if k not in ("MNV3C_OPENCL_CACHE", "XDG_CACHE_HOME")}
    at_home = replace(bench, environment=environment | {"HOME": str(tmp_path)})
    assert report(at_home, "--runs", "1")["cached"] is False
    assert [path.suffix for path in (tmp_path / ".cache" / "mnv3c").iterdir()] == [".clbin"]
    assert report(at_home, "--runs", "1")["cached"] is True
