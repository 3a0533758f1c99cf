"""Kernels counted under emulation and costed by llvm-mca: exact where a count can be known, sane where it cannot."""

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnv3c.compiler.build import KernelJob, build_kernel
from mnv3c.compiler.cache import FileCache
from mnv3c.compiler.machine_code import LlvmTools
from mnv3c.compiler.transport.emulator import Emulator, find_emulator
from mnv3c.compiler.tune.emulated import Counter, CountError
from mnv3c.compiler.tune.estimate import CycleModel, pieces_of
from mnv3c.compiler.tune.space import Task
from mnv3c.compiler.tune.static_measure import Estimate, Offer, StaticMeasure, buffer_bytes
from mnv3c.graph.activation import HSWISH
from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.ops import Conv2d
from mnv3c.graph.tensor import TensorType
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device
from mnv3c.targets.target import LayerWork

DEVICE = find_device("cortex-a55")
TARGET = load_target("arm64")
TRIPLE = "aarch64-linux-gnu"


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Counter:
    """An emulator that takes the plugin, as Debian's qemu-user does; skips without one, and fails on CI."""
    try:
        emulator = find_emulator("aarch64")
        return Counter(emulator, TARGET.toolchain(DEVICE, "linux").static_triple, tmp_path_factory.mktemp("count"))
    except MissingError as error:
        if "CI" in os.environ:
            raise
        pytest.skip(str(error))


@pytest.fixture
def measure(tools: LlvmTools, counter: Counter, tmp_path: Path) -> Iterator[StaticMeasure]:
    each = StaticMeasure(TARGET, DEVICE, FileCache(tmp_path / "cache"), tmp_path)
    yield each
    each.close()


def layer(op: Conv2d, shape: tuple[int, int, int, int]) -> Task:
    x = TensorType(shape)
    work = LayerWork(op, (x,), op.infer((x,)), ("target",))
    offered = (family.candidates(work, DEVICE) for family in TARGET.families())
    return Task(work, next(candidates for candidates in offered if candidates))


POINTWISE = layer(Conv2d(64, (1, 1), bias=True, activation=HSWISH), (1, 12, 14, 40))
DEPTHWISE = layer(Conv2d(16, (3, 3), padding=(1, 1, 1, 1), groups=16, bias=True), (1, 8, 8, 16))


def offers(task: Task, count: int) -> list[Offer]:
    return [Offer(task, candidate) for candidate in task.candidates[:count]]


def test_every_multiply_add_of_a_product_is_counted(tools: LlvmTools, counter: Counter, tmp_path: Path) -> None:
    for index in (0, 1, 5):
        offer = Offer(POINTWISE, POINTWISE.candidates[index])
        job, path = KernelJob.of(offer.candidate, TARGET.llvm_target(DEVICE)), tmp_path / f"{index}.o"
        build_kernel(job, path)
        executed = counter.link({job: path}).run(job, buffer_bytes(offer, TARGET, DEVICE))
        function = tools.function(path, f"__tvm_ffi_{job.symbol}")
        pieces = pieces_of(function, executed)
        fma = sum(piece.executions * sum(each.is_fma for each in piece.code) for piece in pieces)
        # Rows of the last tile that are computed twice count as well; hswish may add one FMA to each vector of outputs.
        tile_rows = offer.candidate.parameters["tile_rows"]
        rows = math.ceil(12 * 14 / tile_rows) * tile_rows
        assert rows * 40 * 64 / 4 <= fma <= rows * 41 * 64 / 4
        assert sum(piece.instructions for piece in pieces) <= executed.instructions
        # Nothing but the kernel runs between the marks.
        assert executed.instructions <= 1.02 * sum(piece.instructions for piece in pieces) + 500
        cycles = CycleModel(tools, DEVICE, TRIPLE).of_call(function, executed)
        assert fma / DEVICE.vector.fma_pipes <= cycles <= 2.0 * executed.instructions


def test_estimates_are_sane_and_the_same_again(measure: StaticMeasure) -> None:
    asked = [*offers(POINTWISE, 4), *offers(DEPTHWISE, 2)]
    found = list(measure(asked, math.inf))
    assert [each.offer for each in found] == asked and {each.status for each in found} == {"ok"}
    assert (measure.basis, measure.model, measure.uncounted) == ("llvm-mca", "cortex-a55", "")
    for each in found:
        assert each.instructions is not None and each.cycles is not None
        # 4 MACs in an instruction at best.
        most = 3.0 if each.offer.task is POINTWISE else 6.0
        assert 1 / 8 < each.instructions / each.offer.task.macs < most
        assert each.offer.task.macs / 4 < each.cycles
    assert list(measure(asked, math.inf)) == found


def test_without_a_counting_emulator_innermost_loops_stand_for_all(
    tools: LlvmTools, measure: StaticMeasure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(architecture: str) -> Emulator:
        raise MissingError(f"no emulator for {architecture}")

    monkeypatch.setattr("mnv3c.compiler.tune.static_measure.find_emulator", missing)
    loops = StaticMeasure(TARGET, DEVICE, FileCache(tmp_path / "cache"), tmp_path)
    try:
        (whole,), (part,) = (list(each(offers(POINTWISE, 1), math.inf)) for each in (measure, loops))
        assert (loops.basis, loops.uncounted) == ("llvm-mca-loops", "no emulator for aarch64")
        assert isinstance(whole, Estimate) and whole.cycles is not None and part.cycles is not None
        assert part.instructions is None
        assert POINTWISE.macs / 4 <= part.cycles < 1.1 * whole.cycles
    finally:
        loops.close()


def test_an_emulator_without_plugins_is_named(tmp_path: Path) -> None:
    deaf = tmp_path / "qemu"
    deaf.write_text('#!/bin/sh\n[ "$1" = -plugin ] && exit 1\nexit 0\n', encoding="utf-8")
    deaf.chmod(0o755)
    with pytest.raises(MissingError, match=r"qemu takes no plugins; Debian's qemu-user does"):
        Counter(Emulator((str(deaf),), "deaf"), "aarch64-linux-musl", tmp_path)


def test_a_kernel_that_fails_under_emulation_is_an_error(counter: Counter, tmp_path: Path) -> None:
    job = KernelJob.of(POINTWISE.candidates[0], TARGET.llvm_target(DEVICE))
    source, path = tmp_path / "bad.c", tmp_path / "bad.o"
    source.write_text(f"int __tvm_ffi_{job.symbol}(void) {{ __builtin_trap(); }}\n", encoding="utf-8")
    command = (sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl", "-c", source, "-o", path)
    subprocess.run(command, check=True)
    with pytest.raises(CountError, match="under the emulator"):
        counter.link({job: path}).run(job, buffer_bytes(offers(POINTWISE, 1)[0], TARGET, DEVICE))


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="llvm-mca estimates aarch64 only; target 'x86_64' is x86_64"):
        StaticMeasure(load_target("x86_64"), find_device("haswell"), FileCache(tmp_path), tmp_path)
