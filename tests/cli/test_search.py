"""`mnv3c search` end to end with an accuracy that costs nothing; training has its own tests in tests/search."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import Mnv3c

from mnv3c.cli.search_latency import latency_source
from mnv3c.graph.networks.options import NetworkOptions
from mnv3c.graph.yaml_io import load_graph
from mnv3c.search.architecture import Architecture

PROFILE = "pixel1-cpu-tflite"
# Few widths and large cuts: a width costs a prediction.
FEW_WIDTHS = ("--divisor", "32", "--delta", "0.03")
NETADAPT = ("search", "small", "--device", PROFILE, "--resolution", "64", "--classes", "10", *FEW_WIDTHS)
EVOLVE = ("search", "--strategy", "evolve", "--space", "ofa-mbv3-w1.0", "--device", PROFILE, "--resolution", "96")
FEW = ("--population", "4", "--generations", "2")


@pytest.fixture
def accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """MODULE:FUNCTION in the working folder."""
    (tmp_path / "of_parameters.py").write_text("def accuracy(graph):\n    return min(1.0, graph.total_params / 2e7)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield "of_parameters:accuracy"


def test_netadapt_finds_a_network_that_other_commands_take(mnv3c: Mnv3c, accuracy: str) -> None:
    words = (*NETADAPT, "--accuracy", accuracy, "--reduce", "0.85", "-o", "found", "--plot", "path.png", "--json")
    document = mnv3c(*words).document

    steps, best = document["steps"], document["best"]
    assert document["target_met"] and best["latency_ms"] <= document["target_ms"]
    assert document["target_ms"] == pytest.approx(0.85 * steps[0]["latency_ms"])
    assert best["latency_ms"] == steps[-1]["latency_ms"] < steps[-2]["latency_ms"]
    assert Path("path.png").read_bytes().startswith(b"\x89PNG")
    predicted = mnv3c("predict", best["graph"], "--device", PROFILE, "--json").document
    assert predicted["total_ms"] == pytest.approx(best["latency_ms"], rel=1e-9)
    assert load_graph(Path(best["graph"])).weights

    again = mnv3c(*words, "--resume").document
    assert again == document


def test_evolution_writes_its_front(mnv3c: Mnv3c, accuracy: str) -> None:
    words = (*EVOLVE, *FEW, "--accuracy", accuracy, "-o", "found", "--plot", "front.svg", "--json")
    document = mnv3c(*words).document
    assert [step["number"] for step in document["steps"]] == [0, 1]
    front = document["front"]
    assert [point["latency_ms"] for point in front] == sorted(point["latency_ms"] for point in front)
    assert document["best"]["accuracy"] == max(point["accuracy"] for point in front)
    assert all(point["latency_ms"] <= document["target_ms"] for point in front)
    assert b"<svg" in Path("front.svg").read_bytes()
    assert mnv3c(*words, "--resume").document == document


def test_a_table_of_accuracies(mnv3c: Mnv3c, accuracy: str) -> None:
    words = (*EVOLVE, *FEW, "--strategy", "random")
    document = mnv3c(*words, "--accuracy", accuracy, "-o", "first", "--json").document
    judged = json.loads(Path("first/search.json").read_text())["done"]["judged"]
    rows = "".join(f'"{name}",{value!r}\n' for name, _, value, _ in judged)
    Path("known.csv").write_text("subnet,accuracy\n" + rows)

    again = mnv3c(*words, "--accuracy", "known.csv", "-o", "second", "--json").document
    assert again["front"] == document["front"]


def test_a_found_network_is_where_another_search_starts(mnv3c: Mnv3c, accuracy: str) -> None:
    few_steps = ("--accuracy", accuracy, "--delta", "0.04", "--reduce", "0.95", "--json")
    first = mnv3c(*NETADAPT, *few_steps, "-o", "first").document
    words = ("search", first["best"]["graph"], "--device", PROFILE, "--seed", "3", "--divisor", "32")
    second = mnv3c(*words, *few_steps, "-o", "second").document
    assert second["steps"][0]["widths"] == first["steps"][-1]["widths"]
    assert second["steps"][0]["latency_ms"] == pytest.approx(first["best"]["latency_ms"], rel=1e-12)
    assert second["best"]["latency_ms"] <= 0.95 * first["best"]["latency_ms"] and second["target_met"]


def test_latencies_of_an_accelerator_are_those_of_emulate(mnv3c: Mnv3c, accuracy: str) -> None:
    words = ("search", "small", "--device", "edgetpu-like", "--resolution", "64", "--accuracy", accuracy)
    outcome = mnv3c(*words, *FEW_WIDTHS, "--reduce", "0.95", "-o", "found")
    assert outcome.code == 0, outcome.stderr
    assert " ms emulated on edgetpu-like at 480 MHz for a target of " in outcome.stdout
    document = mnv3c(*words, *FEW_WIDTHS, "--reduce", "0.95", "-o", "found", "--resume", "--json").document
    assert document["latency"] == {"kind": "emulated", "device": "edgetpu-like", "clock_hz": 480_000_000}
    emulated = mnv3c("emulate", "found/best.yaml", "--device", "edgetpu-like", "--json").document
    assert emulated["total_ms"] == document["best"]["latency_ms"] <= document["target_ms"]


@pytest.fixture(scope="module")
def tables(mnv3c: Mnv3c, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole table around V3-Small, and `few.json`, which lacks blocks of 32 input channels."""
    folder = tmp_path_factory.mktemp("tables")
    space = ("--space", "netadapt-v3-small", "--resolutions", "64")
    mnv3c("lut", *space, "--device", PROFILE, "-o", folder, "--json").require_success()
    document = json.loads((folder / "lut.json").read_text())
    document["entries"] = [entry for entry in document["entries"] if " c_in=32 " not in entry["work"]]
    (folder / "few.json").write_text(json.dumps(document))
    return folder


def test_latencies_of_a_table(mnv3c: Mnv3c, accuracy: str, tables: Path) -> None:
    words = ("search", "small", "--resolution", "64", "--accuracy", accuracy, *FEW_WIDTHS, "--reduce", "0.95")
    by_table = mnv3c(*words, "--table", tables / "lut.json", "-o", "by-table", "--json").document
    by_profile = mnv3c(*words, "--device", PROFILE, "-o", "by-profile", "--json").document
    assert [step["change"] for step in by_table["steps"]] == [step["change"] for step in by_profile["steps"]]
    best = by_table["best"]
    assert best["latency_ms"] == pytest.approx(by_profile["best"]["latency_ms"], rel=1e-9)
    assert best["low_ms"] < best["latency_ms"] < best["high_ms"]
    assert best["entries"] == {"measured": 0, "predicted": 16, "emulated": 0}
    latency = by_table["latency"]
    assert (latency["kind"], latency["device"], latency["space"]) == ("table", "pixel1", "netadapt-v3-small")
    assert latency["file"] == str(tables / "lut.json") and latency["entries"]["predicted"] > 4000

    few = mnv3c(*words, "--table", tables / "few.json", "-o", "few")
    assert few.code == 0, few.stderr
    assert "few.json: has no entry for " in few.stderr.splitlines()[0]
    assert few.stderr.splitlines()[0].endswith("; proposals with those are passed over")
    assert f" ms from the table {tables / 'few.json'} of pixel1 (16 entries predicted) for a target" in few.stdout


def test_a_table_that_does_not_do_is_refused_at_once(mnv3c: Mnv3c, accuracy: str, tables: Path) -> None:
    words = ("search", "--accuracy", accuracy, "--table", tables / "lut.json", "-o", "found")
    other = mnv3c(*words, "small", "--resolution", "96")
    assert (
        other.code == 2 and "has no entry for 12 of 16 blocks and layers of 'mobilenet_v3_small_r96'" in other.message
    )
    assert other.message.endswith("makes such a table; or give --device")
    space = mnv3c(*words, "--strategy", "random", "--space", "proxylessnas", "--resolution", "64")
    assert space.code == 2 and "of space 'proxylessnas' at 64, as " in space.message
    assert "; mnv3c lut --space proxylessnas --resolutions 64 makes such a table; or give --device" in space.message
    assert not Path("found").exists()


def test_nothing_is_looked_up_where_there_is_no_table() -> None:
    start = Architecture.of(NetworkOptions(variant="large"))
    # Of millions of blocks.
    assert latency_source(PROFILE, None).require_start(start, 1) == ""


@pytest.mark.parametrize("given", [(), ("--device", PROFILE, "--table", "lut.json")])
def test_one_source_of_latencies_is_given(mnv3c: Mnv3c, accuracy: str, given: tuple[str, ...]) -> None:
    outcome = mnv3c("search", "small", "--accuracy", accuracy, "-o", "found", *given)
    assert outcome.code == 2
    assert (
        "give --device NAME (a profile or an accelerator) or --table FILE (a lut.json), one of the two"
        in outcome.message
    )


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (("--head", "lraspp"), "no pool and dense layer of a classifier follow layer 'head.gate'"),
        (("--head", "none"), "no pool and dense layer of a classifier follow layer 'last'"),
    ],
)
def test_networks_of_another_form_start_no_search(
    mnv3c: Mnv3c, accuracy: str, head: tuple[str, ...], message: str
) -> None:
    mnv3c("graph", "small", "--resolution", "64", *head, "--save", "other.yaml").require_success()
    outcome = mnv3c("search", "other.yaml", "--device", PROFILE, "--accuracy", accuracy, "-o", "found")
    assert outcome.code == 2 and "is not of MobileNetV3's form, which NetAdapt shrinks" in outcome.message
    assert message in outcome.message


def test_people_see_steps_and_widths(mnv3c: Mnv3c, accuracy: str) -> None:
    outcome = mnv3c(*NETADAPT, "--accuracy", accuracy, "--reduce", "0.95", "-o", "found")
    assert outcome.code == 0
    lines = outcome.stderr.splitlines()
    assert lines[0].startswith("  0  ") and lines[0].endswith("start")
    assert all("expansion of block" in line or "bottleneck of block" in line for line in lines[1:])
    assert "expansion" in outcome.stdout and "best.yaml" in outcome.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--strategy", "luck"), "--strategy must be one of netadapt, evolve, random, not 'luck'"),
        (("--reduce", "1.5"), "--reduce must be between 0 and 1, not 1.5"),
        (("--target-ms", "1000"), "within 1000 ms already"),
        (("--target-ms", "0"), "target_ms must be above 0"),
        (("--space", "ofa-mbv3-w1.0"), "--space is for --strategy evolve and random"),
        (("--head", "lraspp"), "netadapt shrinks classifiers; it has no --head lraspp"),
        (("--strategy", "evolve"), "--strategy evolve needs --space"),
        (("--strategy", "evolve", "--space", "ofa-mbv3-w1.0"), "--classes cannot be given with --space"),
        (("--train-steps", "1,2"), "--train-steps must be START,PROPOSAL,FINAL, as 800,12,400, not '1,2'"),
        (("--train-steps", "1,2,3"), "--train-steps is for training"),
        (("--plot", "plot.txt"), "plot.txt: a plot is written as .png or .svg"),
    ],
)
def test_wrong_words_are_refused(mnv3c: Mnv3c, accuracy: str, words: tuple[str, ...], message: str) -> None:
    outcome = mnv3c(*NETADAPT, "--accuracy", accuracy, "-o", "found", *words)
    assert outcome.code == 2
    assert message in outcome.message
    assert not Path("found").exists()


def test_a_folder_that_holds_a_search_is_not_written_over(mnv3c: Mnv3c, accuracy: str) -> None:
    words = (*NETADAPT, "--accuracy", accuracy, "--reduce", "0.97", "-o", "found", "--json")
    mnv3c(*words).require_success()
    assert "holds a search already" in mnv3c(*words).message
