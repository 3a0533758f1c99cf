"""`mnv3c calibrate`, `predict`, `validate` and `profiles`."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.profiles.model.made_up import records
from tests.profiles.own_rows import own_network

from mnv3c.profiles.record import write_records

METRICS = {"n", "mape", "rmspe", "within_5", "within_10", "spearman", "kendall", "bias", "coverage_90", "seen"}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_records(path, records(80, noise=0.02))
    return path


@pytest.fixture(scope="module")
def new_rows(rows: Path) -> Path:
    path = rows.parent / "new.jsonl"
    write_records(path, records(100, 5, 0.02))
    return path


@pytest.fixture(scope="module")
def profile(rows: Path, mnv3c: Any) -> Path:
    path = rows.parent / "made-up.yaml"
    document = mnv3c("calibrate", rows, "-o", path, "--json").document
    assert document["path"] == str(path)
    assert (document["name"], document["device"], document["rows"]) == ("made-up", "made-up", 80)
    assert 0.5 < document["cross_validation"]["mape"] < 4
    return path


def test_validate_says_whether_it_had_seen_the_rows(mnv3c: Any, profile: Path, rows: Path, new_rows: Path) -> None:
    new, old = (mnv3c("validate", each, "--device", profile, "--json").document for each in (new_rows, rows))
    for document in (new, old):
        assert set(document) >= METRICS
        assert document["mape"] < 4
        assert len(document["worst"]) == 10
    assert (new["n"], new["seen"], new["seen_rows"]) == (100, False, 0)
    assert (old["n"], old["seen"], old["seen_rows"]) == (80, True, 80)
    shown = mnv3c("validate", rows, "--device", profile)
    assert (shown.code, shown.stderr) == (0, "")
    assert "80 rows that it was fitted to, cross-validated" in shown.stdout
    assert "100 rows that it had not seen" in mnv3c("validate", new_rows, "--device", profile).stdout


def test_rows_of_other_devices_are_left_out_aloud(mnv3c: Any, profile: Path, tmp_path: Path) -> None:
    both, neither = tmp_path / "both.jsonl", tmp_path / "neither.jsonl"
    others = [row.model_copy(update={"device": device}) for device in ("mars", "venus") for row in records(9, 6)]
    write_records(both, [*records(20, 5, 0.02), *others])
    write_records(neither, others)
    outcome = mnv3c("validate", both, "--device", profile, "--json")
    assert (outcome.code, json.loads(outcome.stdout)["n"]) == (0, 20)
    assert outcome.stderr == "18 rows of other devices than made-up are left out\n"
    refused = mnv3c("validate", neither, "--device", profile)
    assert refused.code == 2
    assert "the rows are of 2 devices (mars, venus), none of them the profile's 'made-up'" in refused.message


def test_validate_draws(mnv3c: Any, profile: Path, new_rows: Path, tmp_path: Path) -> None:
    for name, beginning in (("plot.png", b"\x89PNG"), ("plot.svg", b"<?xml")):
        path = tmp_path / name
        outcome = mnv3c("validate", new_rows, "--device", profile, "--plot", path)
        assert (outcome.code, outcome.stderr) == (0, "")
        assert outcome.stdout.splitlines()[-1] == str(path)
        assert path.read_bytes().startswith(beginning)


def test_predict_adds_up(mnv3c: Any, profile: Path) -> None:
    document = mnv3c("predict", "small", "--device", profile, "--json").document
    layers = document["layers"]
    assert set(document) >= {"profile", "total_ms", "low_ms", "high_ms", "layers"}
    assert all(set(layer) >= {"name", "latency_ms", "low_ms", "high_ms", "bound", "in_range"} for layer in layers)
    assert document["total_ms"] == pytest.approx(sum(layer["latency_ms"] for layer in layers) + document["overhead_ms"])
    assert document["low_ms"] < document["total_ms"] < document["high_ms"]
    for layer in layers:
        assert 0 < layer["low_ms"] <= layer["latency_ms"] <= layer["high_ms"]
        assert layer["bound"] in ("compute", "bandwidth", "overhead")
    names = [layer["name"] for layer in mnv3c("graph", "small", "--json").document["layers"]]
    assert [layer["name"] for layer in layers] == names
    # A profile of blocks has seen no stem.
    assert not layers[0]["in_range"] and layers[0]["outside"]
    assert not document["in_range"]


def test_explain_shows_terms_that_add_up(mnv3c: Any, profile: Path) -> None:
    document = mnv3c("predict", "small", "--device", profile, "--explain", "--json").document
    for layer in document["layers"]:
        assert sum(layer["terms_ms"].values()) == pytest.approx(layer["latency_ms"])
    shown = mnv3c("predict", "small", "--device", profile, "--explain")
    assert (shown.code, shown.stderr) == (0, "")
    assert "depthwise" in shown.stdout and "predicted by made-up" in shown.stdout


@pytest.mark.parametrize("own", [False, True])
def test_predict_does_not_import_tvm(profile: Path, own: bool) -> None:
    script = (
        "import sys; from mnv3c.cli.app import main\n"
        f"try: main(['predict', 'small', '--device', {OWN if own else str(profile)!r}, '--json'])\n"
        "except SystemExit as leaving: assert not leaving.code\n"
        "print('tvm' in sys.modules, 'scipy' in sys.modules, file=sys.stderr)"
    )
    import subprocess

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "False False\n"
    assert json.loads(done.stdout)["total_ms"] > 0


def test_a_prior_carries_over(mnv3c: Any, profile: Path, tmp_path: Path) -> None:
    few, new, path = (tmp_path / name for name in ("few.jsonl", "new.jsonl", "other.yaml"))
    write_records(few, records(8, 21, 0.02, factor=2.5))
    write_records(new, records(60, 22, 0.02, factor=2.5))
    mnv3c("calibrate", few, "--prior", profile, "-o", path).require_success()
    assert mnv3c("validate", new, "--device", path, "--json").document["mape"] < 5
    shown = mnv3c("profiles", path)
    assert (shown.code, shown.stderr) == (0, "")
    assert "starting from      made-up" in shown.stdout


def test_profiles_lists_what_ships_with_its_error(mnv3c: Any) -> None:
    document = mnv3c("profiles", "--json").document
    assert document["profiles"]
    for each in document["profiles"]:
        assert set(each) >= {"name", "device", "processor", "runtime", "precision", "threads", "rows"}
        assert each["cross_validation"]["mape"] > 0
    shown = mnv3c("profiles")
    assert (shown.code, shown.stderr) == (0, "")
    assert all(each["name"] in shown.stdout for each in document["profiles"])


OWN = "x86_64-sapphirerapids-mnv3c"


def test_our_own_code_is_predicted_by_kernels(mnv3c: Any) -> None:
    document = mnv3c("predict", "small", "--device", OWN, "--json").document
    layers = document["layers"]
    names = [layer["name"] for layer in mnv3c("graph", "small", "--json").document["layers"]]
    assert sorted(layer["name"] for layer in layers) == sorted(names)
    units = [layer["unit"] for layer in layers]
    assert units == sorted(units) and 0 < max(units) < len(layers) - 10
    sum_ms = sum(layer["latency_ms"] for layer in layers)
    assert document["total_ms"] == pytest.approx(sum_ms + document["overhead_ms"])
    assert document["low_ms"] < document["total_ms"] < document["high_ms"] and document["in_range"]
    # What is smaller takes less, and two threads take less than one.
    assert mnv3c("predict", "large", "--device", OWN, "--json").document["total_ms"] > 2 * document["total_ms"]
    assert (
        mnv3c("predict", "small", "--device", f"{OWN}-2threads", "--json").document["total_ms"] < document["total_ms"]
    )
    shown = mnv3c("predict", "small", "--device", OWN)
    assert (shown.code, shown.stderr) == (0, "")
    assert shown.stdout.count("\n+ ") == len(layers) - len(set(units))


def test_code_for_another_machine_is_refused(mnv3c: Any, tmp_path: Path) -> None:
    from mnv3c.profiles.library import shipped_profiles

    path = tmp_path / "other.yaml"
    text = shipped_profiles()[OWN].read_text()
    path.write_text(text.replace("compiled_for: x86_64-sapphirerapids", "compiled_for: x86_64-z80"))
    outcome = mnv3c("predict", "small", "--device", path)
    assert outcome.code == 2
    assert "is of code compiled for 'x86_64-z80', of which there is no device file, and" in outcome.message


def test_rows_of_our_own_code(mnv3c: Any, tmp_path: Path) -> None:
    rows, far, path = (tmp_path / name for name in ("own.jsonl", "far.jsonl", "own.yaml"))
    write_records(rows, [*own_network(1.0, 224, 0), *own_network(0.75, 160, 1)])
    mnv3c("calibrate", rows, "-o", path).require_success()
    found = mnv3c("validate", rows, "--device", path, "--json").document
    assert found["seen"] and found["families"]["network"]["n"] == 2 and found["families"]["network"]["mape"] < 3
    # Of a device without a file nobody knows what it was compiled for.
    write_records(far, own_network(1.0, 224, 0, "a board"))
    outcome = mnv3c("calibrate", far, "-o", path)
    assert outcome.code == 2 and "measured on a board, which is not this machine" in outcome.message
    mnv3c("calibrate", far, "-o", path, "--target-device", "sapphire-rapids").require_success()
    assert "--target-device sapphire-rapids" in mnv3c("profiles", path).stdout
    assert mnv3c("profiles", path, "--json").document["compiled_for"] == "x86_64-sapphirerapids"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("calibrate", "none.csv", "-o", "x.yaml"), "none.csv: there is no such file"),
        (("calibrate", "{rows}", "-o", "x.txt"), "x.txt: a profile is saved to a file that ends in .yaml"),
        (("calibrate", "{rows}", "-o", "no/x.yaml"), "no/x.yaml: there is no folder 'no'"),
        (("calibrate", "{rows}", "-o", "x.yaml", "--prior", "nobody"), "unknown profile 'nobody'"),
        (("calibrate", "{rows}", "-o", "x.yaml", "--physics", "abacus"), "physics 'abacus' is unknown: allowed are"),
        (("calibrate", "{rows}", "-o", "x.yaml", "--where", "device"), "--where must be KEY=VALUE"),
        (("calibrate", "{rows}", "-o", "x.yaml", "--where", "device=mars"), "made-up"),
        (("calibrate", "{rows}", "-o", "x.yaml", "--where", "colour=red"), "no row has 'colour'"),
        (("calibrate", "{rows}", "-o", "x.yaml", "--name", "a\nb"), "x.yaml: name: "),
        (("calibrate", "{rows}", "-o", "{folder}.yaml"), "is a folder"),
        (("calibrate", "{folder}.yaml", "-o", "x.yaml"), "cannot be read: Is a directory"),
        (("calibrate", "{rows}", "-o", "x.yaml", "--prior", "pixel4-cpu-tflite"), "says nothing about the processor"),
        (
            ("calibrate", "{rows}", "-o", "x.yaml", "--prior", "{profile}", "--physics", "cpu"),
            "a prior of the kind accelerator says nothing about the kind cpu",
        ),
        (("calibrate", "{rows}", "-o", "x.yaml", "--physics", "gpu"), "the physics of GPUs is of single kernels"),
        (("validate", "{rows}", "--device", "{profile}", "--plot", "no/x.png"), "no/x.png: there is no folder 'no'"),
        (("validate", "{rows}", "--device", "{folder}.yaml"), "{folder}.yaml: cannot be read"),
        (("predict", "large", "--device", "nobody"), "unknown profile 'nobody': a profile is a .yaml file or one of"),
        (("predict", "large", "--device", "none.yaml"), "none.yaml: cannot be read"),
        (("predict", "huge", "--device", "{profile}"), "unknown model 'huge'"),
        (("validate", "{rows}", "--device", "{profile}", "--plot", "x.gif"), "x.gif: a plot is written as"),
        (("profiles", "nobody"), "unknown profile 'nobody'"),
    ],
)
def test_wrong_input(
    mnv3c: Any, profile: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: Any, said: str
) -> None:
    folder, here = tmp_path / "folder", tmp_path / "here"
    folder.with_suffix(".yaml").mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    outcome = mnv3c(*(word.format(rows=rows, profile=profile, folder=folder) for word in words))
    assert outcome.code == 2
    assert said.format(folder=folder) in outcome.message
    assert list(here.iterdir()) == []


BLOCKS = """h_in,c_in,c_out,c_expand,kernel,stride,activation,processor,latency_ms
28,40,80,120,3,1,relu,cpu,0.5
14,40,80,120,3,1,relu,cpu,0.3
56,24,32,64,5,2,relu,cpu,0.9
"""


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("28,40,80,120,3,1,relu", "rows.csv:5: has 7 cells, and the header has 9 columns"),
        ("28,40,80,120,3,1,relu,cpu,nan", "rows.csv:5: column 'latency_ms' must be a number"),
        ("28,40,80,120,3,1,relu,cpu,-1", "rows.csv:5: column 'latency_ms' must be a number"),
        ("28,40,80,120,3,1,relu,cpu,1e-320", "a latency must be from 1e-09 to 1e+10 ms"),
        ("28,40,80,120,3,1,relu,cpu,1e300", "a latency must be from 1e-09 to 1e+10 ms"),
        ("28,40,80,120,3,1,relu,dsp,1", "the records are of 2 devices or runtimes"),
        ("28,40,80,99999999999,3,1,relu,cpu,1", "rows.csv:5: c_expand must be at most 1048576"),
        ("28,40,80,120,99999,1,relu,cpu,1", "rows.csv:5: kernel must be at most 4096"),
        ("1048576,40,80,120,3,1,relu,cpu,1", "is larger than any whose cost a model knows"),
        ("28,40,80,99999999999999999999,3,1,relu,cpu,1", "rows.csv:5: column 'c_expand' must be a whole number"),
        ("28,40,80,120,3,1,r\x00lu,cpu,1", "rows.csv:5: column 'activation'"),
    ],
)
def test_wrong_rows(mnv3c: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text(f"{BLOCKS}{row}\n")
    outcome = mnv3c("calibrate", "rows.csv", "-o", "x.yaml")
    assert outcome.code == 2
    assert said in outcome.message
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_truncated_profile(mnv3c: Any, profile: Path, tmp_path: Path, share: float) -> None:
    text, path = profile.read_text(), tmp_path / "cut.yaml"
    path.write_text(text[: int(share * len(text))])
    for words in (("predict", "small", "--device", path), ("profiles", path)):
        outcome = mnv3c(*words)
        assert outcome.code == 2
        assert outcome.message.startswith(f"{path}: ")
