"""`mnv3c run`: outputs, and folders and inputs that are none."""

import io
import platform
import shutil
import stat
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from mnv3c.graph import reference
from mnv3c.graph.yaml_io import load_graph

FIELDS = {"outputs", "on"}
Write = Callable[[Path], None]


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A colourful image of the network's own size, so that nothing is resampled."""
    path = tmp_path_factory.mktemp("picture") / "picture.png"
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def broken(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the artifact that a test may spoil."""
    return Path(shutil.copytree(tiny, tmp_path / "broken"))


def network_input(picture: Path) -> Any:
    pixels = np.asarray(Image.open(picture), np.float32)
    return ((pixels / 255 - 0.5) / 0.5)[np.newaxis].astype(np.float32)


def logits(graph: Path, values: Any) -> Any:
    (output,) = reference.run(load_graph(graph), values).values()
    return output


def test_image_and_array_give_what_the_reference_gives(
    mnv3c: Any, tiny: Path, tiny_yaml: Path, picture: Path, tmp_path: Path
) -> None:
    values = network_input(picture)
    expected = logits(tiny_yaml, values)[0]
    np.save(tmp_path / "in.npy", values)
    for source in (picture, tmp_path / "in.npy"):
        words = ("run", tiny, "--input", source, "--output", tmp_path / "out.npy", "--top", 3, "--json")
        document = mnv3c(*words).document
        assert set(document) == FIELDS
        (row,) = document["outputs"]
        assert set(row) == {"name", "shape", "file", "top"}
        assert (row["name"], row["shape"], row["file"]) == ("classifier", [1, 4], str(tmp_path / "out.npy"))
        assert [index for index, _ in row["top"]] == np.argsort(-expected)[:3].tolist()
        assert [value for _, value in row["top"]] == pytest.approx(np.sort(expected)[:0:-1].tolist(), rel=1e-4)
        np.testing.assert_allclose(np.load(tmp_path / "out.npy")[0], expected, rtol=1e-4, atol=1e-5)


def test_jpeg_any_size_and_other_normalisation(mnv3c: Any, tiny: Path, picture: Path, tmp_path: Path) -> None:
    with Image.open(picture) as image:
        image.resize((90, 50)).convert("L").save(tmp_path / "grey.JPG", "JPEG")
    plain = mnv3c("run", tiny, "--input", tmp_path / "grey.JPG", "--json").document
    same = ("--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5")
    assert mnv3c("run", tiny, "--input", tmp_path / "grey.JPG", *same, "--json").document == plain
    other = ("--mean", "0,0,0", "--std", "1,1,1")
    assert mnv3c("run", tiny, "--input", tmp_path / "grey.JPG", *other, "--json").document != plain


def test_text_and_timing(mnv3c: Any, tiny: Path, picture: Path) -> None:
    outcome = mnv3c("run", tiny, "--input", picture, "--runs", 3, "--threads", 2, "--on", "host")
    assert (outcome.code, outcome.stderr) == (0, "")
    lines = outcome.stdout.splitlines()
    assert lines[0] == f"mobilenet_v3_small_minimalistic_w0_35_r32_c4 (host) on host, input: {picture}"
    assert lines[1] == "  classifier: 1x4"
    assert len(lines) == 2 + 4 + 1
    assert lines[-1].startswith("  measured on this host: median ") and lines[-1].endswith(" ms, 2 thread(s)")
    document = mnv3c("run", tiny, "--runs", 3, "--json").document
    assert set(document) == FIELDS | {"measured_ms"}
    assert document["measured_ms"] > 0


@pytest.mark.skipif(platform.machine() == "aarch64", reason="arm64 is no emulation here")
def test_emulation_gives_the_same_numbers_and_no_latency(
    mnv3c: Any, tiny: Path, tiny_arm64: Path, picture: Path
) -> None:
    document = mnv3c("run", tiny_arm64, "--input", picture, "--json").document
    assert set(document) == FIELDS
    assert document["on"].startswith("emulator (qemu-aarch64")
    here = mnv3c("run", tiny, "--input", picture, "--json").document
    there, same = (dict(result["outputs"][0]["top"]) for result in (document, here))
    assert there == pytest.approx(same, rel=1e-4)
    text = mnv3c("run", tiny_arm64, "--input", picture).stdout
    assert text.splitlines()[-1] == "  emulated: the numbers are the device's, the time it took is not a latency"
    timed = mnv3c("run", tiny_arm64, "--runs", 2)
    assert (timed.code, timed.message) == (
        2,
        "--runs: an emulator's time is no latency; time the network on a device",
    )
    native = mnv3c("run", tiny_arm64, "--on", "host")
    assert native.code == 3
    assert "cannot run" in native.message


def test_without_an_emulator(mnv3c: Any, tiny_arm64: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnv3c.compiler.transport.emulator.shutil.which", lambda name: None)
    monkeypatch.setattr("mnv3c.compiler.transport.emulator._from_package", lambda architecture: None)
    outcome = mnv3c("run", tiny_arm64, "--on", "emulator")
    assert outcome.code == 3
    assert outcome.message.startswith("no emulator for aarch64: pip install")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--on", "moon"), "--on: 'moon' is not one of host, emulator"),
        (("--mean", "0,0,0"), "--mean and --std go together"),
        (("--mean", "0,0", "--std", "1,1,1"), "--mean: '0,0' is not three numbers"),
        (("--mean", "0,0,0", "--std", "1,0,1"), "--std: must be finite and positive, not '1,0,1'"),
        (("--mean", "0,nan,0", "--std", "1,1,1"), "--mean: must be finite, not '0,nan,0'"),
        (("--output", "out.txt"), "--output: out.txt must end in .npy"),
        (("--threads", "0"), "Invalid value for '--threads'"),
    ],
)
def test_wrong_options(mnv3c: Any, tiny: Path, picture: Path, words: tuple[str, ...], message: str) -> None:
    outcome = mnv3c("run", tiny, "--input", picture, *words)
    assert outcome.code == 2
    assert message in outcome.message


def test_output_cannot_be_written(mnv3c: Any, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "out.npy", tmp_path / "no-folder" / "out.npy"):
        outcome = mnv3c("run", tiny, "--output", path)
        assert outcome.code == 3
        assert outcome.message.startswith(f"cannot write {path}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def edited(change: Callable[[dict[str, Any]], None]) -> Write:
    def write(path: Path) -> None:
        document = yaml.safe_load(path.read_text())
        change(document)
        path.write_text(yaml.safe_dump(document, sort_keys=False))

    return write


def overwritten(text: bytes) -> Write:
    def write(path: Path) -> None:
        path.write_bytes(text)

    return write


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:700])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (overwritten(b""), "manifest.yaml: not a manifest"),
        (overwritten(b"\x00\xff\xfe"), "manifest.yaml: is not UTF-8 text"),
        (overwritten(b"a: [1, 2"), "manifest.yaml: not valid YAML: line"),
        (overwritten(b"- 1\n- 2\n"), "manifest.yaml: not a manifest"),
        (halved, "manifest.yaml: "),
        (edited(lambda d: d.pop("input")), "manifest.yaml: input: Field required"),
        (edited(lambda d: d.update(format="mnv3c-artifact/9")), "manifest.yaml: format: "),
        (edited(lambda d: d.update(extra=1)), "manifest.yaml: extra: "),
        (edited(lambda d: d.update(files=7)), "manifest.yaml: files: "),
        (edited(lambda d: d["files"].pop("bench")), "manifest.yaml: files: Value error, must be library, header and"),
        (edited(lambda d: d["files"]["bench"].update(path="../../../bin/sh")), "manifest.yaml: files.bench.path: "),
        (edited(lambda d: d["files"]["bench"].update(path="..")), "manifest.yaml: files.bench.path: "),
        (edited(lambda d: d["files"]["bench"].update(sha256="0")), "is not the file that manifest.yaml describes"),
        (edited(lambda d: d["input"].update(shape="wide")), "manifest.yaml: input.shape: "),
        (edited(lambda d: d["input"].update(shape=[1, -32, 32, 3])), "manifest.yaml: input.shape.1: "),
        (edited(lambda d: d["outputs"][0].update(shape=[1, 5])), "gave 4 values, its manifest.yaml says 5"),
        (edited(lambda d: d["preprocessing"].update(std=[1, 0, 1])), "manifest.yaml: preprocessing.std.1: "),
        (edited(lambda d: d.update(architecture="z80")), "manifest.yaml: architecture: "),
    ],
)
def test_spoilt_manifest(mnv3c: Any, broken: Path, spoil: Write, message: str) -> None:
    spoil(broken / "manifest.yaml")
    outcome = mnv3c("run", broken)
    assert outcome.code == 2
    assert message in outcome.message


def test_folders_that_are_no_artifact(mnv3c: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    empty = mnv3c("run", tmp_path)
    expected = f"{tmp_path}: not an artifact (there is no manifest.yaml); make one with mnv3c compile"
    assert (empty.code, empty.message) == (2, expected)
    for path in (tmp_path / "nowhere", tmp_path / "file"):
        outcome = mnv3c("run", path)
        expected = f"{path}: no such folder; make an artifact with mnv3c compile"
        assert (outcome.code, outcome.message) == (2, expected)


def test_spoilt_bench(mnv3c: Any, broken: Path) -> None:
    (bench,) = broken.glob("*-bench")
    content = bench.read_bytes()
    bench.write_bytes(content[: len(content) // 2])
    outcome = mnv3c("run", broken)
    assert outcome.code == 2
    assert outcome.message == f"{bench} is not the file that manifest.yaml describes; compile again"
    bench.write_bytes(content)
    bench.chmod(stat.S_IRUSR)
    outcome = mnv3c("run", broken)
    assert outcome.code == 3
    assert outcome.message == f"cannot run {bench}: Permission denied"
    bench.unlink()
    outcome = mnv3c("run", broken)
    assert (outcome.code, outcome.message) == (3, f"{bench}: no such file; compile again")


def npy(values: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, values, allow_pickle=True)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """An image that states its size and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


GOOD = np.zeros((1, 32, 32, 3), np.float32)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npy", npy(GOOD[:, :16]), "the input has shape [1, 16, 32, 3], the network takes [1, 32, 32, 3] (NHWC)"),
        ("x.npy", npy(GOOD[0]), "the input has shape [32, 32, 3]"),
        ("x.npy", npy(GOOD.astype(np.float64)), "x.npy: holds float64, the network takes float32"),
        ("x.npy", npy(GOOD.astype(">f4")), "x.npy: holds >f4, the network takes float32"),
        ("x.npy", npy(GOOD.astype(np.uint8)), "x.npy: holds uint8, the network takes float32"),
        ("x.npy", npy(GOOD + np.float32(np.nan)), "x.npy: holds values that are not finite"),
        ("x.npy", npy(np.array([{"a": 1}], object)), "x.npy: not a readable .npy file: Object arrays cannot be loaded"),
        ("x.npy", npy(GOOD)[:500], "x.npy: not a readable .npy file: "),
        ("x.npy", npy(GOOD)[:20], "x.npy: not a readable .npy file: "),
        ("x.npy", b"", "x.npy: not a readable .npy file: "),
        ("x.npy", b"hello world", "x.npy: not a readable .npy file: "),
        ("x.npy", b"PK\x03\x04 a zip", "x.npy: not a readable .npy file: "),
        ("x.png", b"hello world", "x.png: not a readable image: "),
        ("x.png", b"", "x.png: not a readable image: "),
        ("x.png", b"%!PS-Adobe-3.0 EPSF-3.0\n", "x.png: not a readable image: "),
        ("x.png", png_header(32, 32), "x.png: not a readable image: "),
        ("x.png", png_header(60_000, 60_000), "x.png: Image size (3600000000 pixels) exceeds limit"),
        ("x.png", png_header(10_000, 10_000), "x.png: Image size (100000000 pixels) exceeds limit"),
        ("x.jpg", b"\xff\xd8\xff\xe0 no jpeg", "x.jpg: not a readable image: "),
        ("x.bmp", b"BM", "x.bmp: an input ends in .npy, .png, .jpg, .jpeg"),
        ("x", b"", "x: an input ends in .npy, .png, .jpg, .jpeg"),
    ],
)
def test_wrong_inputs(mnv3c: Any, tiny: Path, tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    outcome = mnv3c("run", tiny, "--input", tmp_path / name)
    assert outcome.code == 2
    assert message in outcome.message
    assert str(tmp_path / name) in outcome.message or "the input has shape" in message


def test_inputs_that_are_not_there(mnv3c: Any, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.npy").mkdir()
    for name, reason in (
        ("none.npy", "cannot be read: No such file or directory"),
        ("none.png", "not a readable image: No such file or directory"),
        ("folder.npy", "cannot be read: Is a directory"),
    ):
        outcome = mnv3c("run", tiny, "--input", tmp_path / name)
        assert (outcome.code, outcome.message) == (2, f"{tmp_path / name}: {reason}")


def test_an_array_larger_than_any_memory(mnv3c: Any, tiny: Path, tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1048576, 1048576, 1024), }"
    padded = header.ljust(117) + b"\n"
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded + bytes(64))
    outcome = mnv3c("run", tiny, "--input", tmp_path / "x.npy")
    assert outcome.code == 2
    assert "x.npy: not a readable .npy file: " in outcome.message


def test_damaged_images_are_refused_or_read(mnv3c: Any, tiny: Path, picture: Path, tmp_path: Path) -> None:
    with Image.open(picture) as image:
        image.save(tmp_path / "whole.jpg")
    rng = np.random.default_rng(0)
    refused = 0
    for source in (picture, tmp_path / "whole.jpg"):
        whole = source.read_bytes()
        for index in range(12):
            data = bytearray(whole[: rng.integers(len(whole))] if index % 2 else whole)
            for position in rng.integers(len(data), size=8) if data else ():
                data[position] = rng.integers(256)
            (path := tmp_path / f"{index}{source.suffix}").write_bytes(data)
            outcome = mnv3c("run", tiny, "--input", path)
            assert outcome.code in (0, 2)
            if outcome.code == 2:
                refused += 1
                assert f"{path}: " in outcome.message
    assert refused > 12
