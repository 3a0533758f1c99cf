"""GPUs as data: what their files must say, what the limits refuse, what the estimates rank."""

import pytest
from tests.targets.gpu.test_families import ALL, runner, types

from mnv3c.graph.errors import UserError
from mnv3c.graph.ops import Conv2d, Dense
from mnv3c.targets.device import device_from_document, load_device
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.limits import require_allocatable, require_arithmetic, require_launchable
from mnv3c.targets.gpu.precision import Precision
from mnv3c.targets.gpu.target import GpuTarget
from mnv3c.targets.gpu.tiling import Tile, TiledWork, registers, tiles
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import default_device, device_paths, find_device

GIGA = 1e9


def device(name: str = "mali-g76") -> GpuDevice:
    return find_device(name, kind=GpuDevice)


def test_the_devices_of_both_targets() -> None:
    assert [path.stem for path in device_paths("adreno")] == ["adreno-616", "adreno-640", "adreno-730"]
    assert [path.stem for path in device_paths("mali")] == ["mali-g710", "mali-g72", "mali-g76", "powervr-ge8320"]
    assert (default_device("adreno"), default_device("mali")) == ("adreno-640", "mali-g76")


@pytest.mark.parametrize("name", ALL)
def test_a_device_belongs_to_a_target_that_builds_for_it(name: str) -> None:
    target = load_target(device(name).target)
    assert isinstance(target, GpuTarget) and target.precision == Precision("fp32", "fp32")
    assert target.with_storage("fp16").precision == Precision("fp16", "fp32")


def test_peaks_are_those_that_are_commonly_named() -> None:
    assert device("adreno-640").peak_flops / GIGA == pytest.approx(899, rel=0.01)
    assert device("powervr-ge8320").peak_flops / GIGA == pytest.approx(43.5, rel=0.01)
    assert device("mali-g76").peak_flops / GIGA == pytest.approx(345.6, rel=0.01)


def test_a_work_group_smaller_than_a_wave_is_refused_by_file_and_key() -> None:
    document = device().document()
    document["opencl"]["work_group_items"]["value"] = 4  # type: ignore[index]
    with pytest.raises(UserError, match=r"^odd: opencl.work_group_items: .*16"):
        device_from_document(document, "odd", GpuDevice)
    document["opencl"]["work_group_items"]["value"] = 16  # type: ignore[index]
    document["cores"]["wave_items"]["value"] = 32  # type: ignore[index]
    with pytest.raises(UserError, match=r"^odd: opencl.work_group_items: must be at least cores.wave_items"):
        device_from_document(document, "odd", GpuDevice)


def test_a_gpu_is_no_cpu() -> None:
    with pytest.raises(UserError, match="device 'mali-g76' is a GPU"):
        load_device(device_paths("mali")[2])


def test_a_work_group_that_is_too_large_is_refused_in_one_line() -> None:
    gpu = runner("mali-g76")
    candidate = gpu.candidates(gpu.work(Conv2d(13), types([(1, 7, 7, 9)])))[0]
    require_launchable(candidate, gpu.device)
    with pytest.raises(UserError, match=r"^kernel 'pointwise': a work-group of 64x8x1 is 512 work items; device 'mali"):
        require_launchable(candidate.with_local((64, 8, 1)), gpu.device)


def test_local_memory_that_is_not_there_is_refused_in_one_line() -> None:
    gpu = runner("powervr-ge8320")
    candidate = gpu.candidates(gpu.work(Dense(2000), types([(1, 2000)])))[0]
    require_launchable(candidate, gpu.device)
    with pytest.raises(UserError, match=r"takes 8192 bytes of local memory; device 'powervr-ge8320' has 4096"):
        require_launchable(candidate.with_local((16, 32, 1)), gpu.device)


def test_a_buffer_that_is_too_large_is_refused_in_one_line() -> None:
    require_allocatable("arena", 1 << 28, device("powervr-ge8320"))
    with pytest.raises(UserError, match=r"^arena: 268435457 bytes; device 'powervr-ge8320' allows 268435456 in one"):
        require_allocatable("arena", (1 << 28) + 1, device("powervr-ge8320"))


def test_arithmetic_in_halves_needs_the_device() -> None:
    without = device().model_copy(update={"opencl": device().opencl.model_copy(update={"fp16": False})})
    target = load_target("mali")
    assert isinstance(target, GpuTarget)
    gpu = runner("mali-g76")
    work = gpu.work(Dense(8), types([(1, 8)]))
    (halves, *_) = [
        each
        for family in target.with_storage("fp16", "fp16").families()
        for each in family.candidates(work, device()) or ()
    ]
    require_arithmetic(halves, device())
    with pytest.raises(UserError, match=r"device 'mali-g76' has no arithmetic in halves"):
        require_arithmetic(halves, without)


def test_tiles_fit_and_a_large_map_gets_larger_ones_than_a_small_one() -> None:
    small = TiledWork(1, 49, 10, 40, 16, 1, 4)
    large = TiledWork(1, 12544, 4, 4, 16, 1, 4)
    for name in ALL:
        offered = tiles(large, device(name))
        assert offered and all(registers(tile) <= device(name).cores.registers_per_item for tile in offered)
    few, many = (tiles(work, device("adreno-640"))[0] for work in (small, large))
    assert few.pixels * few.slices < many.pixels * many.slices
    assert Tile(1, 1) in tiles(TiledWork(1, 1, 1, 1, 16, 1, 4), device())
