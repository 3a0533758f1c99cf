"""From rounds to records: what is reported, what is refused, what is added up."""

from collections.abc import Callable, Sequence

import pytest

from mnv3c.compiler.measure.job import Program
from mnv3c.compiler.measure.outcome import RecordMaker, Where
from mnv3c.compiler.measure.readings import Readings
from mnv3c.compiler.measure.samples import BenchReport, Quantiles, Samples
from mnv3c.compiler.measure.settings import Settings
from mnv3c.profiles.record import Record, RecordKey

MAKER = RecordMaker(Where("ssh:board", "cortex-a76"), Settings(runs=10, rounds=6, max_noise=0.05))
STEADY = (1.0, 1.001, 0.999, 1.0, 1.002, 0.998)
NOISY = (1.0, 3.0, 2.0, 1.0, 3.0, 2.0)


def known(records: Sequence[Record]) -> dict[RecordKey, Record]:
    return {record.key: record for record in records}


def samples(program: Program, whole: Sequence[float], rows: Sequence[Sequence[float]]) -> Samples:
    """Rounds with these medians, in milliseconds; a tenth of the runs is 10 % faster, a tenth 20 % slower."""
    found = Samples(program, runs=10, warmup=4)
    for number, whole_ms in enumerate(whole):
        layers = tuple(_quantiles(row[number]) for row in rows)
        found.add("profile", BenchReport(_quantiles(whole_ms * 2), layers, "Some CPU", 2.4e9))
        found.add("whole", BenchReport(_quantiles(whole_ms), (), "Some CPU", 2.2e9))
    return found


def _quantiles(median_ms: float) -> Quantiles:
    return Quantiles(median_ms, 0.9 * median_ms, 1.2 * median_ms)


def test_a_steady_network(network_program: Program) -> None:
    rows = [[0.5 * each for each in STEADY], [0.4 * each for each in STEADY], [0.05 * each for each in STEADY]]
    outcome = MAKER.outcome(network_program, samples(network_program, STEADY, rows), [])
    assert outcome.state == "measured" and outcome.refused == ()
    assert outcome.network_median_ms == pytest.approx(1.0)
    assert outcome.layer_sum_ms == pytest.approx(0.95)
    assert outcome.additivity_error == pytest.approx(-0.05)
    first, _, own = outcome.records
    assert own.p10_ms == pytest.approx(0.9) and own.p90_ms == pytest.approx(1.2)
    assert own.ci_low_ms is not None and own.ci_high_ms is not None and own.std_ms is not None
    assert 0.998 <= own.ci_low_ms <= 1.0 <= own.ci_high_ms <= 1.002 and own.std_ms < 0.002
    assert own.n == 60 and own.clock_hz == pytest.approx(2.3e9) and own.flags == ()
    assert first.latency_ms == pytest.approx(0.5)
    assert "on ssh:board (Some CPU): 6 rounds of 10 runs after 4" in own.how


def test_a_layer_too_noisy_is_refused_but_counts_in_the_sum(network_program: Program) -> None:
    rows = [[0.5 * each for each in STEADY], NOISY, [0.05 * each for each in STEADY]]
    found = samples(network_program, STEADY, rows)
    assert not found.certain(0.05) and found.certain(10.0)
    outcome = MAKER.outcome(network_program, found, [])
    assert outcome.state == "measured" and outcome.refused == ("body",)
    assert [record.tags.get("layer") for record in outcome.records] == ["stem", None]
    assert outcome.layer_sum_ms == pytest.approx(0.5 + 2.0 + 0.05)
    # Who comes back does not know the sum any more.
    skipped = MAKER.skipped(network_program.job, known(outcome.records))
    assert skipped is not None and skipped.layer_sum_ms is None and skipped.additivity_error is None


def test_a_busy_machine_is_flagged(network_program: Program) -> None:
    """Whole runs that are steadily too slow for their layers: another program took its share."""
    rows = [[0.1 * each for each in STEADY]] * 3
    outcome = MAKER.outcome(network_program, samples(network_program, STEADY, rows), [])
    assert outcome.records[-1].flags == ("sum-differs",)
    assert outcome.records[0].flags == ()


def test_a_network_too_noisy_is_refused(network_program: Program) -> None:
    outcome = MAKER.outcome(network_program, samples(network_program, NOISY, [STEADY] * 3), [])
    assert outcome.state == "failed" and outcome.records == () and outcome.network_median_ms is None
    assert "is uncertain by" in outcome.reason and "after 6 rounds; the bound is 5.0%" in outcome.reason


def test_a_clock_that_fell_is_flagged(network_program: Program) -> None:
    readings = [Readings(("schedutil",), (2.4e9,)), Readings(("schedutil",), (1.8e9,))]
    outcome = MAKER.outcome(network_program, samples(network_program, STEADY, [STEADY] * 3), readings)
    assert all("clock-changed" in record.flags for record in outcome.records)
    assert "governor schedutil, clock 1800-1800 MHz" in outcome.records[0].how


def test_what_was_measured_is_found_again(network_program: Program) -> None:
    outcome = MAKER.outcome(network_program, samples(network_program, STEADY, [STEADY] * 3), [])
    skipped = MAKER.skipped(network_program.job, known(outcome.records))
    assert skipped is not None and skipped.state == "skipped" and skipped.records == outcome.records
    # The conversion at the border has no record.
    assert skipped.layer_sum_ms == pytest.approx(2.0)
    # Layers alone are no finished network, and another place or number of threads is another measurement.
    assert MAKER.skipped(network_program.job, known(outcome.records[:-1])) is None
    elsewhere = RecordMaker(Where("host", "cortex-a76"), MAKER.settings)
    assert elsewhere.skipped(network_program.job, known(outcome.records)) is None
    two = RecordMaker(MAKER.where, Settings(threads=2))
    assert two.skipped(network_program.job, known(outcome.records)) is None


def test_a_layer_alone_is_its_own_row(layer_program: Callable[[int], Program]) -> None:
    program = layer_program(3)
    rows = [[5.0 * each for each in STEADY], [0.3 * each for each in STEADY], [7.0 * each for each in STEADY]]
    outcome = MAKER.outcome(program, samples(program, STEADY, rows), [])
    (record,) = outcome.records
    assert record.latency_ms == pytest.approx(0.3) and record.tags == {"on": "ssh:board"}
    assert outcome.network_median_ms is None and outcome.layer_sum_ms is None
