"""`mnv3c tune` and `mnv3c records`, and what compile makes of the records."""

from pathlib import Path

import pytest
import yaml
from tests.cli.conftest import Mnv3c

from mnv3c.compiler.tune.space import Space
from mnv3c.compiler.tune.store import RecordStore, user_store_path, write_records
from mnv3c.graph.yaml_io import load_graph
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device, host_target

pytestmark = pytest.mark.usefixtures("own_folders")


@pytest.fixture(scope="module")
def tuned(two_layers: Path, data_folder: Path, mnv3c: Mnv3c) -> Path:
    """The records of a short tuning run, in the user's own folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNV3C_DATA_DIR", str(data_folder))
        document = mnv3c("tune", two_layers, "--budget", 8, "--json").document
        path = user_store_path(find_device("host"))
    assert set(document) == {"sum_ms", "layers", "measured", "failed", "reused", "seconds"}
    assert document["measured"] >= 2 and document["failed"] == document["reused"] == 0
    used = [layer for layer in document["layers"] if layer["count"]]
    assert document["sum_ms"] == pytest.approx(sum(layer["count"] * layer["latency_ms"] for layer in used))
    assert document["sum_ms"] > 0
    assert sum(layer["measured"] for layer in document["layers"]) == document["measured"]
    return path


def test_a_second_run_measures_nothing_twice(tuned: Path, two_layers: Path, mnv3c: Mnv3c) -> None:
    before = RecordStore(tuned).records
    document = mnv3c("tune", two_layers, "--budget", 0, "--json").document
    assert (document["measured"], document["failed"], document["reused"]) == (0, 0, len(before))
    assert RecordStore(tuned).records == before
    shown = mnv3c("tune", two_layers, "--budget", 0)
    assert shown.code == 0 and f"0 measured, 0 failed, {len(before)} reused" in shown.stdout
    assert str(tuned) in shown.stdout


def test_compile_chooses_by_records(tuned: Path, two_layers: Path, tmp_path: Path, mnv3c: Mnv3c) -> None:
    document = mnv3c("compile", two_layers, "-o", tmp_path / "by", "--json").document
    kinds = {layer["kind"]: layer["chosen_by"] for layer in document["layers"]}
    assert {chosen for kind, chosen in kinds.items() if kind != "border"} == {"records"}
    manifest = yaml.safe_load((tmp_path / "by" / "manifest.yaml").read_text(encoding="utf-8"))
    assert [layer["chosen_by"] for layer in manifest["layers"]] == [layer["chosen_by"] for layer in document["layers"]]
    chosen = {layer["kernel"]: layer["parameters"] for layer in document["layers"] if layer["kind"] != "border"}
    known = [(record.family, record.parameters) for record in RecordStore(tuned).records]
    assert all(choice in known for choice in chosen.items())
    without = mnv3c("compile", two_layers, "-o", tmp_path / "without", "--no-records", "--json").document
    assert {layer["chosen_by"] for layer in without["layers"]} == {"estimate"}
    ran = mnv3c("run", tmp_path / "by", "--json")
    assert ran.code == 0, ran.stderr


def test_compile_for_several_threads(
    tuned: Path, two_layers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mnv3c: Mnv3c
) -> None:
    """Records for one thread stand in for those for two, and those for two are taken where they are."""
    monkeypatch.setenv("MNV3C_DATA_DIR", str(tmp_path))
    own = user_store_path(find_device("host"))
    write_records(own, RecordStore(tuned).records)
    alone = mnv3c("compile", two_layers, "-o", tmp_path / "one", "--json").document
    wide = mnv3c("compile", two_layers, "-o", tmp_path / "two", "--threads", 2, "--json").document
    assert (alone["threads"], wide["threads"]) == (1, 2)
    assert [layer["parameters"] for layer in wide["layers"]] == [layer["parameters"] for layer in alone["layers"]]
    manifest = yaml.safe_load((tmp_path / "two" / "manifest.yaml").read_text(encoding="utf-8"))
    assert manifest["threads"] == 2
    device = find_device("host")
    task = Space(load_graph(two_layers), load_target(device.target), device).tasks[0]
    chosen = [layer["parameters"] for layer in alone["layers"]]
    other = next(candidate for candidate in task.candidates if dict(candidate.parameters) not in chosen)
    record = next(record for record in RecordStore(own).records if record.layer == task.layer)
    by_two = {"threads": 2, "parameters": dict(other.parameters)}
    RecordStore(own).append(record.model_copy(update=by_two))
    document = mnv3c("compile", two_layers, "-o", tmp_path / "three", "--threads", 2, "--json").document
    assert dict(other.parameters) in [layer["parameters"] for layer in document["layers"]]
    refused = mnv3c("compile", two_layers, "-o", tmp_path / "four", "--threads", 0)
    assert refused.code == 2 and "--threads" in refused.message


def test_records_are_shown_and_merged(tuned: Path, tmp_path: Path, mnv3c: Mnv3c) -> None:
    records = RecordStore(tuned).records
    shown = mnv3c("records", "show", tuned)
    assert shown.code == 0 and f"{len(records)} records, {len(records)} ok" in shown.stdout
    listed = mnv3c("records", "show", tuned, "--json").document["records"]
    assert [one["layer"] for one in listed] == [record.layer for record in records]
    both = tmp_path / "both.jsonl"
    document = mnv3c("records", "merge", tuned, tuned, "-o", both, "--json").document
    assert document == {"path": str(both), "records": len(records), "read": 2 * len(records)}
    assert {record.key for record in RecordStore(both).records} == {record.key for record in records}
    assert mnv3c("records", "merge", both, "-o", tmp_path / "again.jsonl").code == 0
    assert (tmp_path / "again.jsonl").read_bytes() == both.read_bytes()


def test_what_tune_refuses(two_layers: Path, tmp_path: Path, mnv3c: Mnv3c) -> None:
    other = "arm64" if host_target() == "x86_64" else "x86_64"
    for words, code, message in (
        (("--on", "ssh"), 2, "--on: 'ssh' is not one of host"),
        (("--strategy", "luck"), 2, "--strategy: 'luck' is not one of families, metaschedule"),
        (("--target", other), 3, f"target '{other}' cannot be measured here"),
        (("--threads", "0"), 2, "--threads"),
        (("--budget", "-1"), 2, "--budget"),
        (("--budget", "nan"), 2, "--budget"),
        (("--records", str(tmp_path)), 2, "Is a directory"),
    ):
        outcome = mnv3c("tune", two_layers, *words)
        assert (outcome.code, message in outcome.message) == (code, True), outcome


def test_broken_records_are_named(two_layers: Path, tmp_path: Path, mnv3c: Mnv3c) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text("{}\n", encoding="utf-8")
    for words in (("tune", two_layers, "--records", broken), ("records", "show", broken)):
        outcome = mnv3c(*words)
        assert outcome.code == 2 and outcome.message.startswith(f"{broken}:1: format: must be")
    missing = mnv3c("records", "merge", tmp_path / "none.jsonl", "-o", tmp_path / "out.jsonl")
    assert (missing.code, missing.message) == (2, f"{tmp_path / 'none.jsonl'}: no such file")
    assert not (tmp_path / "out.jsonl").exists()
