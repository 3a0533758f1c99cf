"""The store of compiled kernels: what a key depends on, and that no file is ever half there."""

import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from mnv3c.compiler.build import KernelJob, build_kernels
from mnv3c.compiler.cache import FileCache, content_key, source_fingerprint, toolchain_versions
from mnv3c.graph.activation import RELU
from mnv3c.graph.errors import MissingError
from mnv3c.graph.ops import Activate, Conv2d, Op
from mnv3c.graph.tensor import TensorType
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device
from mnv3c.targets.target import LayerWork

KEY = "ab" + "0" * 62


def job(op: Op | None = None, shape: tuple[int, ...] = (1, 2, 2, 8), device_name: str = "cortex-a53") -> KernelJob:
    """The job of a layer's first kernel; without `op`, of a ReLU's."""
    device, op, x = find_device(device_name), op or Activate(RELU), TensorType(shape)
    target = load_target(device.target)
    work = LayerWork(op, (x,), op.infer((x,)), ("target",))
    found = next(c for family in target.families() if (c := family.candidates(work, device)) is not None)
    return KernelJob.of(found[0], target.llvm_target(device))


def test_a_content_key_is_canonical() -> None:
    assert content_key("a", {"x": 1, "y": 2}) == content_key("a", {"y": 2, "x": 1})
    assert re.fullmatch("[0-9a-f]{64}", content_key("a", 1))
    keys = {content_key("ab", "c"), content_key("a", "bc"), content_key("abc"), content_key(["a", "bc"])}
    assert len(keys) == 4


def test_a_file_is_made_once(tmp_path: Path) -> None:
    cache, calls = FileCache(tmp_path), []

    def make(path: Path) -> None:
        calls.append(path)
        path.write_bytes(b"object")

    assert cache.get(KEY, ".o", make).read_bytes() == b"object"
    assert cache.get(KEY, ".o", make) == cache.path(KEY, ".o") == tmp_path / "objects/ab" / f"{KEY}.o"
    assert cache.get(KEY, ".ref", make) != cache.path(KEY, ".o")
    assert len(calls) == 2


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    cache = FileCache(tmp_path)

    def fail(path: Path) -> None:
        path.write_bytes(b"hal")
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        cache.get(KEY, ".o", fail)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    def succeed(path: Path) -> None:
        path.write_bytes(b"whole")

    assert cache.get(KEY, ".o", succeed).read_bytes() == b"whole"


def test_writers_of_the_same_file_do_not_meet(tmp_path: Path) -> None:
    cache, both = FileCache(tmp_path), threading.Barrier(2, timeout=20)
    found: list[bytes] = []

    def make(path: Path) -> None:
        both.wait()
        path.write_bytes(b"same content")
        both.wait()

    def use() -> None:
        found.append(cache.get(KEY, ".o", make).read_bytes())

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [b"same content"] * 2
    assert [path.name for path in (tmp_path / "objects/ab").iterdir()] == [f"{KEY}.o"]


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MissingError, match=f"cannot write to the cache {tmp_path}/file: ") as caught:
        FileCache(tmp_path / "file").get(KEY, ".o", lambda path: None)
    assert "\n" not in str(caught.value)


def test_the_folder_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNV3C_CACHE_DIR", str(tmp_path / "here"))
    assert FileCache.default() == FileCache(tmp_path / "here")
    monkeypatch.delenv("MNV3C_CACHE_DIR")
    assert FileCache.default().folder.name == "mnv3c"


def test_a_key_follows_everything_that_makes_the_object(monkeypatch: pytest.MonkeyPatch) -> None:
    first, key = job(), job().key
    assert (job().key, job().symbol) == (key, first.symbol)
    other = [
        job(shape=(1, 2, 3, 8)),
        job(Conv2d(8)),
        job(Conv2d(8, activation=RELU)),
        job(device_name="cortex-a76"),
        replace(first, llvm_target=first.llvm_target.replace("cortex-a53", "cortex-a57")),
    ]
    assert len({key, *(each.key for each in other)}) == 6
    # The name in C is that of the work; the processor is not part of it.
    assert job(device_name="cortex-a76").symbol == first.symbol
    monkeypatch.setattr("mnv3c.compiler.cache.source_fingerprint", lambda package: "edited")
    assert job().key != key
    monkeypatch.undo()
    monkeypatch.setattr("mnv3c.compiler.build.toolchain_versions", lambda: {"apache-tvm": "0"})
    assert job().key != key


def test_what_generates_code_is_fingerprinted() -> None:
    assert source_fingerprint("mnv3c.targets.cpu") != source_fingerprint("mnv3c.graph")
    assert set(toolchain_versions()) == {"apache-tvm", "apache-tvm-ffi", "ziglang"}


@pytest.mark.parametrize("count", [3, 13], ids=["in this process", "by workers"])
def test_kernels_are_compiled_once(tmp_path: Path, count: int) -> None:
    jobs = [job(shape=(1, 1, width, 4)) for width in range(1, count + 1)]
    told: list[tuple[int, int]] = []
    cache = FileCache(tmp_path)
    objects = build_kernels([*jobs, *jobs], cache, lambda done, total: told.append((done, total)))
    assert told == [(done, count) for done in range(1, count + 1)]
    assert set(objects) == set(jobs) and len(set(objects.values())) == count
    for one, path in objects.items():
        content = path.read_bytes()
        assert content[:4] == b"\x7fELF" and content[18:20] == b"\xb7\x00"  # e_machine: aarch64
        assert f"__tvm_ffi_{one.symbol}".encode() in content
    times = {path: path.stat().st_mtime_ns for path in objects.values()}
    assert build_kernels(jobs, cache, lambda done, total: told.append((done, total))) == objects
    assert len(told) == count
    assert {path: path.stat().st_mtime_ns for path in objects.values()} == times
