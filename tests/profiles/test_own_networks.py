"""Profiles of our own compiled code: rows of kernels in, kernels and networks out."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from tests.profiles.own_rows import DEVICE, SCALE, own_network, own_record

from mnv3c.graph.errors import UserError
from mnv3c.graph.layer import LayerKey
from mnv3c.profiles.calibrate import Request, calibrate
from mnv3c.profiles.model.dataset import dataset_of
from mnv3c.profiles.model.own_networks import fit_scale, is_own_network, whole_networks
from mnv3c.profiles.physics.compiled_device import compiled_physics, measured_device
from mnv3c.profiles.physics.registry import physics_of
from mnv3c.profiles.predict import predict_table
from mnv3c.profiles.profile import NetworkOverhead, Profile
from mnv3c.profiles.profile_file import load_profile, profile_text
from mnv3c.profiles.record import Record
from mnv3c.profiles.validate import validate
from mnv3c.profiles.work import LayerWork
from mnv3c.targets.registry import find_device

LINEAR = LayerKey.parse("dense 1x576->1x128 bias=yes")


@cache
def rows() -> tuple[Record, ...]:
    sizes = ((1.0, 224), (0.75, 160), (1.25, 192))
    return tuple(row for seed, (width, size) in enumerate(sizes) for row in own_network(width, size, seed))


@cache
def profile() -> Profile:
    return calibrate(rows(), Request("own", device=find_device(DEVICE)))


def test_networks_give_the_scale_and_do_not_enter_the_fit() -> None:
    kernels = [row for row in rows() if not is_own_network(row)]
    assert profile().provenance.rows == len(kernels) == len(rows()) - 3
    assert profile().overhead == NetworkOverhead(scale=pytest.approx(SCALE))
    assert profile().compiled_for == "x86_64-sapphirerapids"
    assert profile().model.physics == compiled_physics(find_device(DEVICE))
    assert (validation := profile().cross_validation) is not None and validation.mape < 4


def test_a_network_without_all_its_kernels_tells_nothing() -> None:
    kernels = [row for row in rows() if not is_own_network(row)]
    networks = [row for row in rows() if is_own_network(row)]
    assert len(whole_networks(networks, kernels)) == 3
    assert len(whole_networks(networks, kernels[1:])) == 2
    assert fit_scale(networks, kernels[:5]) is None
    with pytest.raises(UserError, match="of none of the 3 networks are all kernels among the records"):
        calibrate(kernels[:40:2], Request("own", device=find_device(DEVICE), networks=tuple(networks)))
    assert calibrate(kernels[:40:2], Request("own", device=find_device(DEVICE))).overhead == NetworkOverhead()


def test_new_networks_are_judged_by_their_kernels() -> None:
    new = own_network(0.85, 192, 9)
    found = validate(profile(), new)
    assert len(found.records) == len(new) and found.families[-1] == "network" and not found.seen.any()
    predictions = found.predictions
    assert predictions.predicted[-1] == pytest.approx(SCALE * predictions.predicted[:-1].sum())
    assert predictions.predicted[-1] == pytest.approx(predictions.measured[-1], rel=0.03)
    assert predictions.low is not None and predictions.high is not None
    # Errors of kernels do not all go one way: a network's interval is narrower than the sum of theirs.
    width = predictions.high - predictions.low
    assert 0 < width[-1] < SCALE * width[:-1].sum()
    with pytest.raises(UserError, match="judged by their kernels"):
        validate(profile(), new[-1:])


def test_seen_kernels_are_held_out_of_their_network_too() -> None:
    found = validate(profile(), rows())
    assert found.seen.all() and list(found.families).count("network") == 3
    kernels = [row for row in rows() if not is_own_network(row)]
    fitted_ms = profile().model.costs(dataset_of(kernels, "kernel").table).unit_ms
    held_out_ms = found.predictions.predicted[: len(kernels)]
    assert (abs(held_out_ms / fitted_ms - 1) > 1e-6).all()
    own = [row.tags["network"] == "small_0" for row in kernels]
    assert found.predictions.predicted[len(kernels)] == pytest.approx(SCALE * held_out_ms[own].sum())


def test_the_file_keeps_scale_and_class(tmp_path: object) -> None:
    from pathlib import Path

    path = Path(str(tmp_path)) / "own.yaml"
    path.write_text(profile_text(profile()))
    again = load_profile(path)
    assert again.overhead.scale == pytest.approx(SCALE, rel=1e-4) and again.compiled_for == profile().compiled_for
    # Files from before there was a scale.
    path.write_text("\n".join(line for line in path.read_text().splitlines() if "scale:" not in line))
    assert load_profile(path).overhead.scale == 1.0


def test_a_factor_scales_the_total_and_its_interval() -> None:
    table = dataset_of([row for row in rows() if not is_own_network(row)][:10], "kernel").table
    names = [str(index) for index in range(len(table))]
    plain, scaled = (
        predict_table(replace(profile(), overhead=NetworkOverhead(0.5, 0.01, scale)), names, table)
        for scale in (1.0, 1.1)
    )
    sum_ms = sum(layer.latency_ms for layer in plain.layers)
    assert plain.total_ms == pytest.approx(sum_ms + 0.6) and scaled.total_ms == pytest.approx(1.1 * sum_ms + 0.6)
    assert scaled.overhead_ms == pytest.approx(0.1 * sum_ms + 0.6)
    assert scaled.high_ms - scaled.total_ms == pytest.approx(1.1 * (plain.high_ms - plain.total_ms))


def test_the_runtime_decides_the_physics() -> None:
    assert physics_of("cpu", "mnv3c 0.1.0").name == "compiled_cpu"
    assert physics_of("cpu", "mnv3components 1").name == physics_of("cpu").name == "cpu"
    with pytest.raises(UserError, match="'compiled-gpu'"):
        physics_of("gpu", "mnv3c 0.1.0")


def test_rows_without_a_device_are_refused() -> None:
    with pytest.raises(UserError, match="measured on sapphire-rapids: state the device"):
        calibrate(rows(), Request("own"))


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"network": "n", "ahead_bytes": "4096"}, 4096),
        ({"network": "n"}, 0),
        # Alone, run after run, it finds its weights where it left them.
        ({}, 4 * 576 * 128),
    ],
)
def test_weights_that_are_near(tags: dict[str, str], expected: int) -> None:
    table = dataset_of([own_record(LayerWork(LINEAR), 0.01, tags)], "kernel").table
    assert table.ahead_bytes.tolist() == [expected]


def test_a_wrong_tag_is_named() -> None:
    record = own_record(LayerWork(LINEAR), 0.01, {"ahead_bytes": "many"})
    with pytest.raises(UserError, match="tag 'ahead_bytes' must be a number of bytes, not 'many'"):
        dataset_of([record], "kernel")


def test_groups_keep_maps_on_chip() -> None:
    group = next(row for row in rows() if row.work.kind == "group" and len(row.work.layer_keys()) == 3)
    table = dataset_of([group], "kernel").table
    assert table.input_on_chip.tolist() == [0, 1, 1] and table.output_on_chip.tolist() == [1, 1, 0]
    assert np.unique(table.owner).tolist() == [0]


def test_the_measured_machine_comes_back_from_its_settings() -> None:
    device = find_device("skylake-avx512")
    few = device.model_copy(update={"cores": 2, "cache": device.cache.model_copy(update={"l2_bytes": 1 << 19})})
    back = measured_device(compiled_physics(few), device)
    assert compiled_physics(back) == compiled_physics(few) != compiled_physics(device)
    with pytest.raises(UserError, match="physics 'cpu' is not of code that mnv3c compiles"):
        measured_device(physics_of("cpu"), device)
