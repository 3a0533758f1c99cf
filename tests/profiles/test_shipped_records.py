"""The records that come with the package: whole, few, and of kernels that are still offered."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

import pytest
from tests.compiler.tune.fakes import record

import mnv3c.profiles
from mnv3c.compiler.tune.choice import RecordedChoice
from mnv3c.compiler.tune.digest import best_records
from mnv3c.compiler.tune.record import Record
from mnv3c.compiler.tune.space import Space
from mnv3c.compiler.tune.store import RecordStore, file_name, known_records, write_records
from mnv3c.compiler.tune.work import WorkKey, candidate_name
from mnv3c.graph.networks import mobilenet_v3
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import detect_host, devices, find_device
from mnv3c.targets.target import LayerWork

FOLDER = Path(str(mnv3c.profiles.__file__)).parent / "tuned"
SHIPPED = sorted(FOLDER.glob("*")) if FOLDER.is_dir() else []
# Each record decides something; a file of all that was measured has tens of thousands of lines.
MOST_LINES, MOST_BYTES = 2000, 2 << 20
Offers = Mapping[WorkKey, frozenset[str]]


@lru_cache
def offers(device: CpuDevice) -> Offers:
    """The candidates of every layer and group of the networks that are tuned for shipping."""
    target, found = load_target(device.target), {}
    for graph in (mobilenet_v3("large"), mobilenet_v3("small")):
        for task in Space(graph, target, device).tasks:
            found[task.key] = frozenset(map(candidate_name, task.candidates))
    return found


def stale(records: Iterable[Record], offered: Iterable[Offers]) -> list[str]:
    """Records whose layer or candidate no device of their class has any more."""
    known = list(offered)
    return [
        f"{one.layer}: {one.candidate}"
        for one in records
        if not any(one.candidate in each.get((one.layer, one.storage), ()) for each in known)
    ]


def of_class(path: Path) -> list[CpuDevice]:
    """The devices that a file of records is for, this machine among them."""
    host = detect_host()
    known = [*devices(path.name.partition("-")[0]), host]
    return [device for device in known if file_name(device) == path.name]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_file_is_whole_and_small(path: Path) -> None:
    records = RecordStore(path).records
    assert path.suffix == ".jsonl" and records
    assert path.read_bytes().endswith(b"\n") and path.read_bytes().count(b"\n") == len(records) <= MOST_LINES
    assert path.stat().st_size <= MOST_BYTES
    again = [one.key for one in best_records(records)]
    assert again == [one.key for one in records], f"make it anew: mnv3c records merge --best {path} -o {path}"
    assert {f"{one.target}-{one.device_class}.jsonl" for one in records} == {path.name}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_records_are_of_kernels_that_are_offered(path: Path) -> None:
    members = of_class(path)
    if not members:
        pytest.skip(f"no device of {path.name} is known here")
    left = stale(RecordStore(path).records, map(offers, members))
    assert not left, f"{path.name}: stale, tune again: " + "; ".join(left)


def test_shipped_records_of_older_sources_still_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit of any kernel's source changes the fingerprint of all; what is still offered by its name is taken."""
    device = find_device("haswell")
    tasks = Space(mobilenet_v3("small"), load_target(device.target), device).tasks
    several = [task for task in tasks if isinstance(task.work, LayerWork) and len(task.candidates) > 1]
    shipped = [
        record(
            layer=task.layer,
            storage=task.key[1],
            family=task.candidates[-1].family,
            parameters=dict(task.candidates[-1].parameters),
            device_class=device.device_class,
            device_fingerprint="f" * 16,
            kernels="b" * 16,
        )
        for task in several
    ]
    path = tmp_path / "tuned" / file_name(device)
    write_records(path, best_records(shipped))
    monkeypatch.setattr("mnv3c.compiler.tune.store.shipped_path", lambda device: path)
    monkeypatch.setenv("MNV3C_DATA_DIR", str(tmp_path / "user"))
    choice = RecordedChoice(known_records(device), device)
    assert several
    for task in several:
        assert isinstance(task.work, LayerWork)
        assert choice.choose(task.work, task.candidates) == task.candidates[-1]


def test_stale_records_are_found() -> None:
    device = find_device("haswell")
    (layer, storage), names = next((key, names) for key, names in offers(device).items() if len(names) > 1)
    family, *parameters = min(names).split()
    given = {name: int(value) for name, value in (word.split("=") for word in parameters)}
    good = record(layer=layer, storage=storage, family=family, parameters=given, device_class=device.device_class)
    assert stale([good], [offers(device)]) == []
    gone = good.model_copy(update={"parameters": {**given, "tile_rows": 99}})
    elsewhere = good.model_copy(update={"layer": "conv2d of another network"})
    assert stale([good, gone, elsewhere], [offers(device)]) == [
        f"{layer}: {gone.candidate}",
        f"conv2d of another network: {good.candidate}",
    ]
