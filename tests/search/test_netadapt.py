"""NetAdapt's path: what each step takes, where it stops, and that an interrupted one goes on."""

from itertools import pairwise
from pathlib import Path

import pytest
from tests.search.made_up import KilledError, MacLatency, WeightedAccuracy

from mnv3c.graph.errors import UserError
from mnv3c.graph.networks.options import NetworkOptions
from mnv3c.graph.yaml_io import load_graph
from mnv3c.search.architecture import Architecture
from mnv3c.search.folder import SearchFolder
from mnv3c.search.netadapt import NetAdapt, NetAdaptSettings, Step

START = Architecture.of(NetworkOptions(variant="small", resolution=64, classes=10))
START_MS = MacLatency()(START.graph())
SETTINGS = NetAdaptSettings(0.9 * START_MS, delta=0.02)


def search(
    folder: Path, accuracy: WeightedAccuracy, settings: NetAdaptSettings = SETTINGS, resume: bool = False
) -> NetAdapt:
    return NetAdapt(START, accuracy, MacLatency(), settings, SearchFolder(folder), resume)


def test_each_step_cuts_and_takes_the_best_ratio(tmp_path: Path) -> None:
    accuracy = WeightedAccuracy()
    found = search(tmp_path, accuracy)
    steps = list(found.steps())

    assert steps[0].latency_ms == START_MS
    assert found.met and steps[-2].latency_ms > SETTINGS.target_ms >= steps[-1].latency_ms
    for before, after in pairwise(steps):
        assert before.latency_ms - after.latency_ms >= 0.02 * START_MS
        ratios = [(each.accuracy - before.accuracy) / (before.latency_ms - each.latency_ms) for each in after.tried]
        assert max(ratios) == next(
            r for r, each in zip(ratios, after.tried, strict=True) if each.change == after.change
        )
        assert START.with_table(after.table).graph().total_macs / 1e6 == after.latency_ms


def test_candidates_know_their_parent_and_stage(tmp_path: Path) -> None:
    accuracy = WeightedAccuracy()
    found = search(tmp_path, accuracy)
    steps = list(found.steps())
    found.finish()
    assert [each.stage for each in accuracy.seen] == [
        "start",
        *("proposal" for step in steps for _ in step.tried),
        "final",
    ]
    assert accuracy.seen[0].parent is None
    assert all(each.parent is not None for each in accuracy.seen[1:])
    assert accuracy.seen[-1].subnet == START.with_table(steps[-1].table).widths
    # What differs between the proposals of a step is the network, not its luck.
    seeds = [each.seed for each in accuracy.seen[1:-1]]
    expected = [number for number, step in enumerate(steps) for _ in step.tried]
    assert len(set(zip(expected, seeds, strict=True))) == len(set(seeds)) == len(steps) - 1


@pytest.mark.parametrize("most", [0, 1, 20])
def test_an_interrupted_search_goes_the_same_way(tmp_path: Path, most: int) -> None:
    whole = list(search(tmp_path / "whole", WeightedAccuracy()).steps())

    done: list[Step] = []
    with pytest.raises(KilledError):
        done.extend(search(tmp_path / "parts", WeightedAccuracy(most)).steps())
    again = WeightedAccuracy()
    resumed = search(tmp_path / "parts", again, resume=True)

    assert list(resumed.steps()) == whole
    assert len(again.seen) == 1 * (not done) + sum(len(step.tried) for step in whole[len(done) :])


def test_a_finished_search_is_only_read(tmp_path: Path) -> None:
    first = search(tmp_path, WeightedAccuracy())
    steps = list(first.steps())
    found = first.finish()

    again = search(tmp_path, WeightedAccuracy(most=0), resume=True)
    assert list(again.steps()) == steps
    assert again.finish() == found
    # What was found can be compiled: it has weights.
    best = load_graph(tmp_path / "best.yaml")
    assert best.weights and best.nodes == START.with_table(steps[-1].table).graph().nodes


def test_another_question_is_refused(tmp_path: Path) -> None:
    list(search(tmp_path, WeightedAccuracy()).steps())
    with pytest.raises(UserError, match=r"holds a search already; go on with it by --resume"):
        search(tmp_path, WeightedAccuracy())
    with pytest.raises(UserError, match=r"was begun with settings .*0\.02.*, not .*0\.03"):
        search(tmp_path, WeightedAccuracy(), NetAdaptSettings(SETTINGS.target_ms, delta=0.03), resume=True)
    with pytest.raises(UserError, match=r"was begun with accuracy made up, not another"):
        search(tmp_path, WeightedAccuracy(identity="another"), resume=True)


def test_a_target_that_is_met_already_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"within .* ms already"):
        search(tmp_path, WeightedAccuracy(), NetAdaptSettings(2 * START_MS))
    assert not list(tmp_path.iterdir())


def test_it_stops_where_nothing_more_can_be_cut(tmp_path: Path) -> None:
    hopeless = search(tmp_path, WeightedAccuracy(), NetAdaptSettings(0.01 * START_MS, delta=0.2))
    steps = list(hopeless.steps())
    assert not hopeless.met
    assert steps[-1].latency_ms > 0.01 * START_MS


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "mnv3c-search/1"}', '{"format": "other"}'])
def test_a_state_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "search.json").write_text(text)
    with pytest.raises(UserError, match=r"search\.json: is not the state of a search"):
        search(tmp_path, WeightedAccuracy(), resume=True)


@pytest.mark.parametrize("key", ["target_ms", "delta", "divisor"])
def test_settings_are_positive(key: str) -> None:
    values = {"target_ms": 1.0, "delta": 0.01, "divisor": 8} | {key: 0}
    with pytest.raises(UserError, match=f"{key} must be above 0, not 0"):
        NetAdaptSettings(**values)  # type: ignore[arg-type]
