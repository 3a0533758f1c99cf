"""`mnv3c lut`: tables of spaces, predicted, emulated and measured."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Mnv3c
from tests.search.test_space import TINY

FIELDS = {"entries", "measured", "predicted", "emulated", "in_range", "files", "seconds", "space", "additivity"}
PIXEL = ("--device", "pixel4-cpu-tflite")


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("space") / "tiny.yaml"
    path.write_text(TINY)
    return path


def test_a_predicted_table(mnv3c: Mnv3c, tmp_path: Path) -> None:
    formats = ("--format", "ofa", "--format", "csv", "--format", "ofa")
    words = ("--space", "ofa-mbv3-w1.0", *PIXEL, "--resolutions", "128,160..164:4", *formats, "-o", tmp_path / "t")
    document = mnv3c("lut", *words, "--json").document
    assert set(document) == FIELDS
    assert document["predicted"] == document["entries"] == document["space"]["units"] > 200
    assert document["measured"] == document["emulated"] == 0 < document["seconds"]
    names = ["lut.json", "128_lookup_table.yaml", "160_lookup_table.yaml", "164_lookup_table.yaml", "lut.csv"]
    assert document["files"] == [str(tmp_path / "t" / name) for name in names]
    assert all(Path(name).is_file() for name in document["files"])
    outcome = mnv3c("lut", *words)
    outcome.require_success()
    assert f"{document['entries']} predicted" in outcome.stdout and "Spearman 1.000" in outcome.stdout


def test_counting_a_space(mnv3c: Mnv3c, space: Path) -> None:
    document = mnv3c("lut", "--space", space, "--count", "--json").document
    assert document["name"] == "tiny" and document["resolutions"] == 2
    assert document["blocks"] < document["units"]
    outcome = mnv3c("lut", "--space", "ofa-mbv3-w1.0", "--count")
    outcome.require_success()
    assert "21,758,655,492,572,485,851 networks, at 25 resolutions 1,257 entries" in outcome.stdout


def test_an_emulated_table_is_resumed(mnv3c: Mnv3c, space: Path, tmp_path: Path) -> None:
    words = ("lut", "--space", space, "--device", "edgetpu-like", "-o", tmp_path, "--json")
    document = mnv3c(*words).document
    assert document["emulated"] == document["entries"] and document["additivity"]["whole"] == "emulated"
    table, kept = (tmp_path / "lut.json").read_bytes(), (tmp_path / "networks.jsonl").read_bytes()
    mnv3c(*words).require_success()
    assert (tmp_path / "lut.json").read_bytes() == table and (tmp_path / "networks.jsonl").read_bytes() == kept


def test_a_measured_table(mnv3c: Mnv3c, tmp_path: Path) -> None:
    text = (
        TINY.replace("[32, 64]", "32")
        .replace("[8, 16]", "8")
        .replace("[3, 5]", "3")
        .replace("[16, 24]", "16")
        .replace("[1, 2]", "1")
    )
    space = tmp_path / "one.yaml"
    lines = text.splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("  - channels: {from"))
    last = next(index for index, line in enumerate(lines) if line.startswith("before_pool"))
    space.write_text("\n".join([*lines[:first], *lines[last:]]))
    words = ("lut", "--space", space, "--on", "host", "--max-noise", "100%", "-o", tmp_path / "t", "--json")
    document = mnv3c(*words).document
    assert document["measured"] == document["entries"] == document["space"]["units"]
    entries = json.loads((tmp_path / "t" / "lut.json").read_text())["entries"]
    assert all(entry["n"] > 0 and entry["low_ms"] <= entry["p50_ms"] <= entry["high_ms"] for entry in entries)
    assert all(entry["provenance"] == "measured" and entry["p90_ms"] > 0 for entry in entries)
    table = (tmp_path / "t" / "lut.json").read_bytes()
    # Records of other settings in the same file are not taken for it.
    kept = tmp_path / "t" / "measured.jsonl"
    last = json.loads(kept.read_bytes().splitlines()[-1])
    with kept.open("a") as file:
        file.write(json.dumps(last | {"threads": 2}) + "\n")
    mnv3c(*words).require_success()
    assert (tmp_path / "t" / "lut.json").read_bytes() == table


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--space", "nope"), "unknown space 'nope'"),
        ((), "-o DIR says where the table goes"),
        (("-o", "t"), "--device NAME says whose latencies"),
        (("-o", "t", "--device", "q"), "--device: 'q' is not a .yaml file, nor a profile or an accelerator of "),
        (("-o", "t", "--device", "q.yaml"), "q.yaml: cannot be read: No such file"),
        (("-o", "t", *PIXEL, "--on", "host"), "profile 'pixel4-cpu-tflite' is of tflite"),
        (("-o", "t", *PIXEL, "--budget", "3"), "--budget is for --device PROFILE with --on PLACE"),
        (("-o", "t", *PIXEL, "--threads", "2"), "--target and --threads are for --on without --device"),
        (("-o", "t", "--device", "edgetpu-like", "--on", "host"), "'edgetpu-like' is an accelerator"),
        (("-o", "t", "--on", "host", "--max-noise", "0"), "--max-noise: '0' is not a percentage above 0"),
        (("-o", "t", *PIXEL, "--format", "xml"), "--format: 'xml' is not one of json, ofa"),
        (("-o", "t", *PIXEL, "--format", "proxyless"), "a table of proxylessnas cannot hold 'conv2d"),
        (("-o", "t", *PIXEL, "--resolutions", "200..100"), "--resolutions must ascend within 8 to 4096"),
        (("-o", "t", *PIXEL, "--resolutions", "1x2"), "--resolutions must be sides of images"),
        (("-o", "file", *PIXEL), "file: is not a folder"),
    ],
)
def test_mistakes_are_told_in_a_line(
    mnv3c: Mnv3c, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    given = words if "--space" in words else ("--space", "ofa-mbv3-w1.0", *words)
    outcome = mnv3c("lut", *given)
    assert outcome.code == 2 and message in outcome.message
