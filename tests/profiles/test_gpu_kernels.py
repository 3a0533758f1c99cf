"""Predictions of generated GPU kernels: terms by hand, what can only help, whose rates a device gets."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv3c.profiles.gpu_kernels.fit import sample_layers
from mnv3c.profiles.gpu_kernels.predict import GpuPrediction, predict_launches
from mnv3c.profiles.gpu_kernels.rates import KnownRates, known_rates, rates_of
from mnv3c.profiles.gpu_kernels.terms import TERMS, Launches, terms_ms
from mnv3c.profiles.gpu_kernels.tflite import tflite_launches
from mnv3c.profiles.model.dataset import network_table
from mnv3c.profiles.physics.gpu_dispatch import FAMILIES, family_of
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.precision import Float
from mnv3c.targets.registry import devices, find_device

DEVICES = tuple(device for target in ("adreno", "mali") for device in devices(target, GpuDevice))


@pytest.fixture(scope="module")
def known() -> KnownRates:
    return known_rates()


def device(name: str) -> GpuDevice:
    return find_device(name, kind=GpuDevice)


def one(*numbers: float) -> Launches:
    """Launches of one row, by `Launches`' fields."""
    return Launches(*(np.array([number], np.float64) for number in numbers))


def predicted(
    launches: Launches, gpu: GpuDevice, known: KnownRates, arithmetic: Float = "fp32", bytes_: int = 0
) -> GpuPrediction:
    return predict_launches(launches, bytes_, arithmetic, gpu, rates_of(gpu, known))


LAUNCHES = st.builds(
    one,
    st.integers(1, 10**6),
    st.integers(1, 10**5),
    st.floats(0, 1e5),
    st.floats(0, 1e5),
    st.floats(0, 1e8),
    st.integers(0, 2000),
    st.integers(1, 256),
)


def test_terms_are_what_one_counts_by_hand() -> None:
    """585 MHz, 2 units of 384 ALUs in waves of 64: 12 waves at once. 13 waves take two rounds."""
    found = terms_ms(one(12 * 64 + 1, 3, 1000, 500, 34.1e6, 7, 96), device("adreno-640"), "fp32")
    clock_ms = 1e3 / 585e6
    # 36864 registers of a unit hold 6 waves of items with 96 registers; 13 waves go in two rounds of 12.
    expected = (2 * 1000 * clock_ms, 2 * 500 * clock_ms, 1.0, 2 * 7 * 100 * clock_ms, 2 * 100 * clock_ms, 5e-3)
    assert dict(zip(TERMS, found[0], strict=True)) == pytest.approx(dict(zip(TERMS, expected, strict=True)))


def test_a_wave_wider_than_the_alus_takes_more_clocks() -> None:
    gpu = device("mali-g76")
    narrow = gpu.model_copy(update={"cores": gpu.cores.model_copy(update={"alus_per_unit": 4})})
    row = one(gpu.cores.compute_units * 8, 1, 100, 100, 0, 0, 32)
    assert terms_ms(row, narrow, "fp32")[0, 0] == pytest.approx(2 * 100 * 1e3 / gpu.clock_hz)


@settings(deadline=None, derandomize=True)
@given(LAUNCHES, st.sampled_from(DEVICES), st.integers(1, 4), st.sampled_from(("fp32", "fp16")))
def test_a_better_device_is_never_slower(
    known: KnownRates, row: Launches, gpu: GpuDevice, times: int, arithmetic: Float
) -> None:
    before = predicted(row, gpu, known, arithmetic, 1000).total_ms
    cores, memory = gpu.cores, gpu.memory
    faster_memory = {"bandwidth_bytes_per_s": times * memory.bandwidth_bytes_per_s}
    better = (
        {"clock_hz": times * gpu.clock_hz},
        {"memory": memory.model_copy(update=faster_memory)},
        {"cores": cores.model_copy(update={"compute_units": cores.compute_units + times})},
        {"cores": cores.model_copy(update={"alus_per_unit": cores.alus_per_unit + 16 * times})},
        {"cores": cores.model_copy(update={"registers_per_unit": times * cores.registers_per_unit})},
    )
    for change in better:
        after = predicted(row, gpu.model_copy(update=change), known, arithmetic, 1000).total_ms
        assert after <= before * (1 + 1e-12), change


@settings(deadline=None, derandomize=True)
@given(LAUNCHES, st.sampled_from(DEVICES), st.sampled_from(("multiply_adds", "cache_bytes", "waits", "registers")))
def test_more_work_is_never_faster(known: KnownRates, row: Launches, gpu: GpuDevice, field: str) -> None:
    more = replace(row, **{field: getattr(row, field) * 2 + 1})
    assert predicted(more, gpu, known).total_ms >= predicted(row, gpu, known).total_ms
    assert predicted(more, gpu, known, "fp16").total_ms <= predicted(more, gpu, known, "fp32").total_ms


def test_a_network_is_its_kernels_launches_and_transfers(known: KnownRates) -> None:
    gpu = device("adreno-640")
    row = one(10**5, 1000, 500, 500, 1e6, 20, 64)
    single, double = (
        predicted(launches, gpu, known, bytes_=1 << 20)
        for launches in (row, Launches(*(np.repeat(getattr(row, name), 2) for name in Launches.__annotations__)))
    )
    assert double.kernels_ms == pytest.approx(sum(kernel.latency_ms for kernel in double.kernels))
    assert double.kernels_ms == pytest.approx(2 * single.kernels_ms)
    assert double.launches_ms == pytest.approx(2 * single.launches_ms) and double.once_ms == single.once_ms
    assert double.total_ms == pytest.approx(double.kernels_ms + double.launches_ms + double.once_ms)
    assert double.low_ms < double.total_ms < double.high_ms
    own = next(each for each in known.gpus if each.device == "adreno-640")
    assert predicted(row, gpu, known).once_ms == own.network_ms
    # Its kernels find some of their bytes in caches; a copy does not.
    assert own.coefficients.memory < 1
    copies_ms = 2 * (1 << 20) / 34.1e9 * 1e3
    assert single.once_ms == pytest.approx(own.network_ms + copies_ms)


def test_whose_rates_a_device_gets(known: KnownRates) -> None:
    own = {gpu.device: gpu for gpu in known.gpus}
    found = rates_of(device("adreno-640"), known)
    assert np.array_equal(found.coefficients, own["adreno-640"].coefficients.values)
    assert "rates fitted to profile adreno640-gpu-tflite; no such kernel has been measured" in found.predicted_by
    kin = rates_of(device("adreno-730"), known)
    pair = own["adreno-616"].coefficients.values * own["adreno-640"].coefficients.values
    assert kin.coefficients == pytest.approx(np.sqrt(pair))
    assert "data sheet of adreno-730, scaled by what adreno-616 and adreno-640 reach of theirs" in kin.predicted_by
    stranger = rates_of(device("mali-g76"), known)
    assert "scaled by what adreno-616, adreno-640 and powervr-ge8320 reach" in stranger.predicted_by
    for each in (kin, stranger):
        assert each.log_ratios == known.log_ratios and each.launch_ms.low < each.launch_ms.value < each.launch_ms.high
    widths = [high - low for low, high in (known.log_ratios, *(gpu.log_ratios for gpu in known.gpus))]
    assert max(widths) == widths[0]


def test_a_device_of_ones_own_has_no_rates_of_its_own(known: KnownRates) -> None:
    mine = device("adreno-640").model_copy(update={"name": "my-adreno"})
    assert "data sheet of my-adreno" in rates_of(mine, known).predicted_by


@pytest.mark.parametrize("flat", [False, True])
def test_tflites_kernels_multiply_as_often_as_their_layers(flat: bool) -> None:
    """Or more often: a last tile computes what nobody reads."""
    table = network_table(sample_layers(), "layer")
    launches, names = tflite_launches(table, flat), np.array(FAMILIES)[family_of(table)]
    computed = launches.work_items * launches.multiply_adds
    products = np.isin(names, ("pointwise", "conv", "conv_constant", "depthwise", "depthwise_3x3", "linear"))
    assert products.sum() > 500
    assert (computed[products] >= table.macs[products]).all()
    tiled = np.isin(names, ("pointwise", "conv")) & (table.h_out % 4 == 0) & (table.c_out % 64 == 0)
    whole = tiled & (table.c_in % 4 == 0)
    assert whole.sum() > 20
    ratio = computed[whole] / table.macs[whole]
    assert np.median(ratio) < 1.15
    assert (launches.memory_bytes >= 2 * (table.outputs + table.weights)).all()
