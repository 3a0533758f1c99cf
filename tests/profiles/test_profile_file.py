from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from tests.profiles.model.made_up import records

from mnv3c.graph.errors import UserError
from mnv3c.profiles.calibrate import Request, calibrate
from mnv3c.profiles.model.dataset import dataset_of
from mnv3c.profiles.profile import Profile
from mnv3c.profiles.profile_file import load_profile, profile_text, save_profile


@pytest.fixture(scope="module")
def fitted() -> Profile:
    return calibrate(records(60, noise=0.02), Request("made-up", how="mnv3c calibrate rows.csv"))


@pytest.fixture(scope="module")
def transferred(fitted: Profile) -> Profile:
    return calibrate(records(12, 3, 0.02, factor=1.5), Request("other", priors=(fitted,)))


@pytest.mark.parametrize("which", ["fitted", "transferred"])
def test_a_file_gives_back_the_profile(which: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    profile: Profile = request.getfixturevalue(which)
    path = tmp_path / "profile.yaml"
    save_profile(profile, path)
    again = load_profile(path)
    table = dataset_of(records(100, 9), "block").table
    np.testing.assert_allclose(again.model.costs(table).unit_ms, profile.model.costs(table).unit_ms, rtol=1e-4)
    for name in ("name", "identity", "provenance", "ranges", "seen"):
        assert getattr(again, name) == getattr(profile, name)
    # What was read and is written again is the same text: nothing is rounded twice.
    assert profile_text(again) == path.read_text()


def test_a_transferred_profile_holds_its_prior(transferred: Profile) -> None:
    document = yaml.safe_load(profile_text(transferred))
    prior, last = document["models"]
    assert last["priors"] == [prior["name"]]
    assert document["provenance"]["priors"] == ["made-up"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("format: mnv3c-profile/1", "format: mnv3c-profile/2", "format"),
        ("threads: 1", "threads: 0", "identity.threads"),
        ("kind: accelerator", "kind: abacus", "physics 'abacus' is unknown: allowed are"),
        ("pixels: 8", "beads: 8", "has no setting 'beads': allowed are pixels"),
        ("  spill:", "  split:", "coefficients must be of products"),
        ("family: block", "family: rock", "no family 'rock': allowed are block"),
        ("    all:", "    some:", "'all' is missing"),
        ("rows: ", "lines: ", "provenance.lines: unknown key; allowed: rows"),
        ("correlation: ", "correlation: 7", "intervals.correlation"),
        ("    points: |\n", "    points: |\n      1 2 oops\n", "must be numbers"),
        ("    points: |\n", "    points: |\n      1 2 3\n", "lines of 7 finite numbers, up to 1e+09"),
        ("- name: model0\n  physics:", "- name: model0\n  fisics:", "models.0.fisics"),
        ("name: made-up", 'name: "made\\eup"', "name: "),
        ("  spill: ", "  spill: .inf\n    x: ", "models.0.coefficients.spill"),
        ("  spill: ", "  spill: .nan\n    x: ", "models.0.coefficients.spill"),
        ("pixels: 8", "pixels: 0", "setting 'pixels' must be a whole number from 1 to 1e+15, not 0"),
        ("pixels: 8", "pixels: 1.5", "setting 'pixels' must be a whole number"),
        ("clock_hz: ", "clock_hz: -", "setting 'clock_hz' must be a number from 0.001"),
        ("length: [1.0, ", "length: [0.0, ", "models.0.residuals: should be greater than or equal to 0.000001"),
        ("length: [1.0, ", "length: [.nan, ", "models.0.residuals: should be greater than or equal to 0.000001"),
        ("length: [1.0, ", "length: [", "length of 'block' must be 6 numbers"),
        ("    points: |\n", "    points: |\n      1 2 3 4 5 6 1e200\n", "finite numbers, up to 1e+09"),
        ("  network_ms: 0.0", "  network_ms: .inf", "overhead.network_ms"),
        ("    all: [-", "    all: [-99", "intervals.log_ratios.all"),
        ("    all: [-", "    all: [1", "intervals.log_ratios: 'all' must be the lower end, then the higher"),
        ("    low: [", "    low: [999", "ranges: 'block': low must not be above high"),
    ],
)
def test_a_spoilt_file_is_one_clear_line(fitted: Profile, tmp_path: Path, old: str, new: str, said: str) -> None:
    text, path = profile_text(fitted), tmp_path / "p.yaml"
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        load_profile(path)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_something_must_take_time(fitted: Profile, tmp_path: Path) -> None:
    path, document = tmp_path / "p.yaml", yaml.safe_load(profile_text(fitted))
    document["models"][0]["coefficients"] = dict.fromkeys(document["models"][0]["coefficients"], 0.0)
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(UserError, match="coefficients are all 0"):
        load_profile(path)


@pytest.mark.parametrize("name", ["two\nlines", "x" * 3000, "\x1b[31m"])
def test_what_could_not_be_read_again_is_not_written(fitted: Profile, tmp_path: Path, name: str) -> None:
    path = tmp_path / "p.yaml"
    with pytest.raises(UserError, match="name: ") as caught:
        save_profile(replace(fitted, name=name), path)
    assert "\n" not in str(caught.value)
    assert not path.exists()


def test_a_prior_must_stand_before_what_is_made_of_it(transferred: Profile, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(profile_text(transferred).replace("priors: [model0]", "priors: [model7]"))
    with pytest.raises(UserError, match="no model 'model7' stands before it"):
        load_profile(path)


@pytest.mark.parametrize("name", ["profile.txt", "no/such/folder/p.yaml", ".", "x" * 300 + ".yaml"])
def test_where_a_profile_cannot_be_written(fitted: Profile, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=str(tmp_path)):
        save_profile(fitted, tmp_path / name)
