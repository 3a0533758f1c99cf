"""The bars that profiles are held to, on published measurements, where those lie beside the repository."""

import numpy as np
import pytest
from tests.profiles.shared_data import FOLDER, needs_shared_data

from mnv3c.profiles.calibrate import Request, calibrate
from mnv3c.profiles.profile import Profile
from mnv3c.profiles.readers.detect import read_records
from mnv3c.profiles.record import Record
from mnv3c.profiles.validate import validate

pytestmark = needs_shared_data


def rows(name: str, **where: str) -> tuple[Record, ...]:
    return read_records(FOLDER / f"{name}.csv", where)


@pytest.fixture(scope="module")
def pixel4() -> Profile:
    return calibrate(rows("blocks_pixel4_cpu_tflite_fp32"), Request("pixel4"))


def test_pixel4_blocks_of_resolutions_held_out(pixel4: Profile) -> None:
    found = pixel4.cross_validation
    assert found is not None
    assert (found.method, found.groups) == ("held out by resolution", 13)
    assert found.mape < 2
    assert found.within_10 >= 98
    assert pixel4.projected_shortcuts


def test_intervals_hold_on_half_of_the_resolutions_that_were_not_fitted() -> None:
    table = rows("blocks_pixel4_cpu_tflite_fp32")
    heights = sorted({record.work.h_in for record in table})  # type: ignore[union-attr]
    shown = {height for index, height in enumerate(heights) if index % 3 != 1}
    fitted = [record for record in table if record.work.h_in in shown]  # type: ignore[union-attr]
    unseen = [record for record in table if record.work.h_in not in shown]  # type: ignore[union-attr]
    found = validate(calibrate(fitted, Request("part")), unseen)
    assert not found.seen.any()
    assert found.metrics.mape is not None and found.metrics.mape < 2
    assert found.metrics.coverage_90 == pytest.approx(90, abs=6)


@pytest.mark.parametrize(
    ("name", "bar", "projected"),
    [
        ("pixel1_cpu_tflite_fp32", 2.5, True),
        ("xiaomi11_cpu_tflite_fp32", 4.0, True),
        ("note10_cpu_tflite_fp32", 4.5, False),
        ("pixel1_cpu_tflite2018_fp32", 2.5, False),
    ],
)
def test_a_new_phone_from_few_rows_and_the_pixel4(pixel4: Profile, name: str, bar: float, projected: bool) -> None:
    profile = calibrate(rows(f"blocks_{name}"), Request(name, priors=(pixel4,)))
    assert profile.cross_validation is not None
    assert profile.cross_validation.mape < bar
    assert profile.projected_shortcuts == projected


@pytest.mark.parametrize("with_prior", [True, False])
def test_ten_rows_of_a_pixel6_tell_the_others(pixel4: Profile, with_prior: bool) -> None:
    table = rows("blocks_pixel6_cpu_tflite_fp32")
    chosen = set(np.random.default_rng(0).choice(len(table), 10, replace=False).tolist())
    few = [record for index, record in enumerate(table) if index in chosen]
    rest = [record for index, record in enumerate(table) if index not in chosen]
    profile = calibrate(few, Request("pixel6", priors=(pixel4,) if with_prior else ()))
    found = validate(profile, rest).metrics
    assert found.mape is not None and found.mape < 4


def test_blocks_of_an_accelerator() -> None:
    profile = calibrate(rows("blocks_ultra96_dpu_int8"), Request("ultra96"))
    assert profile.cross_validation is not None
    assert profile.cross_validation.mape < 10
    assert not profile.projected_shortcuts
