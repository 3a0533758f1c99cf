"""The rates that ship are those that the shipped profiles give."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import yaml

from mnv3c.profiles.gpu_kernels.fit import errors_by_others, held_out_errors
from mnv3c.profiles.gpu_kernels.rates import KnownRates, known_rates


def test_the_shipped_rates_are_refitted(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    gpu_rates = import_module("gpu_rates")
    samples, found = gpu_rates.fitted()
    shipped = known_rates()
    assert KnownRates.model_validate(yaml.safe_load(gpu_rates.text(found))) == found
    assert found.log_ratios == pytest.approx(shipped.log_ratios, rel=1e-2)
    for mine, theirs, rows in zip(found.gpus, shipped.gpus, samples, strict=True):
        assert (mine.device, mine.profile, mine.target) == (theirs.device, theirs.profile, theirs.target)
        assert mine.coefficients.values == pytest.approx(theirs.coefficients.values, rel=1e-2)
        assert (mine.network_ms, mine.launch_ms) == pytest.approx((theirs.network_ms, theirs.launch_ms), rel=1e-2)
        low, high = mine.log_ratios
        errors = held_out_errors(rows)
        assert ((errors > low) & (errors < high)).mean() >= 0.9
    low, high = found.log_ratios
    errors = np.concatenate(errors_by_others(samples, found.gpus))
    assert ((errors > low) & (errors < high)).mean() == pytest.approx(0.9, abs=0.02)
    gpu_rates.judge(samples, found)
    assert "by the rates of the other GPUs" in capsys.readouterr().out
