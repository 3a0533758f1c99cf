"""Files of records: nothing finished is lost, nothing counts twice, whatever is cut off."""

import multiprocessing
import resource
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.compiler.tune.fakes import failure, record

from mnv3c.compiler.tune.record import Record, decode, encode
from mnv3c.compiler.tune.store import RecordStore, known_records, merge_records, user_store_path, write_records
from mnv3c.graph.errors import MissingError, UserError
from mnv3c.targets.registry import find_device


def sized(size: int, **changes: object) -> Record:
    return record(parameters={"size": size}, **changes)


RECORDS = st.builds(
    lambda size, threads, second, median_us: sized(
        size, threads=threads, when=f"2026-01-02T03:04:{second:02}Z", median_us=median_us
    ),
    st.integers(1, 4),
    st.integers(1, 2),
    st.integers(0, 3),
    st.sampled_from([1.0, 2.5, 1e-3]),
)
SEVERAL = st.lists(RECORDS, max_size=8)
in_one_folder = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@given(RECORDS)
def test_a_line_is_read_back(one: Record) -> None:
    assert decode(encode(one)[:-1], "file:1") == one


@pytest.mark.parametrize("status", ["crash", "timeout", "wrong", "build_error"])
def test_failures_are_records_too(status: str) -> None:
    one = failure(status)  # type: ignore[arg-type]
    assert decode(encode(one)[:-1], "") == one


@given(st.data())
def test_a_changed_line_is_refused(data: st.DataObject) -> None:
    line = bytearray(encode(sized(3))[:-1])
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] = data.draw(st.integers(32, 126).filter(lambda value: value != line[at]))
    with pytest.raises(UserError, match=r"^file:7: "):
        decode(bytes(line), "file:7")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "ok", "median_us": None}, "needs its times"),
        ({"status": "crash"}, "has a reason and no times"),
        ({"median_us": float("nan")}, "finite"),
        ({"threads": 0}, "greater than 0"),
        ({"kernels": "xyz"}, "pattern"),
        ({"layer": "two\nlines"}, "pattern"),
        ({"unknown": 1}, "Extra inputs"),
    ],
)
def test_what_is_no_record(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        record(**changes)


def test_a_store_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "no" / "records.jsonl")
    assert store.records == ()
    assert store.append(sized(1))
    assert RecordStore(store.path).records == (sized(1),)


@in_one_folder
@given(SEVERAL)
def test_what_is_appended_is_read_back_once(tmp_path: Path, records: list[Record]) -> None:
    path = tmp_path / "records.jsonl"
    path.unlink(missing_ok=True)
    store = RecordStore(path)
    added = [one for one in records if store.append(one)]
    assert RecordStore(path).records == store.records == tuple(added)
    assert len({one.key for one in added}) == len(added) == len({one.key for one in records})


@in_one_folder
@given(st.data())
def test_a_file_cut_anywhere_keeps_its_whole_lines(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "records.jsonl"
    lines = [encode(sized(size)) for size in range(1, 5)]
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = whole[:cut].count(b"\n")
    assert RecordStore(path).records == tuple(sized(size) for size in range(1, kept + 1))
    # A record that lacks nothing but the end of its line is complete.
    complete = kept + (cut + 1 in {sum(map(len, lines[:n])) for n in range(1, 5)})
    store = RecordStore(path)
    assert store.append(sized(9))
    expected = (*(sized(size) for size in range(1, complete + 1)), sized(9))
    assert RecordStore(path).records == store.records == expected
    assert path.read_bytes() == b"".join(map(encode, expected))


def test_two_stores_see_each_other(tmp_path: Path) -> None:
    one, other = RecordStore(tmp_path / "r.jsonl"), RecordStore(tmp_path / "r.jsonl")
    assert one.append(sized(1))
    assert not other.append(sized(1, median_us=99.0))
    assert other.append(sized(2))
    assert one.append(sized(3))
    assert one.records == (sized(1), sized(2), sized(3))
    assert sized(2).key in one and sized(3).key not in other


def test_a_replaced_file_is_read_anew(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "r.jsonl")
    store.append(sized(1))
    write_records(store.path, [sized(5), sized(6)])
    assert store.append(sized(7))
    assert RecordStore(store.path).records == store.records == (sized(5), sized(6), sized(7))


def _append_many(path: str, first: int, barrier: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    store = RecordStore(Path(path))
    for size in range(first, first + 40):
        store.append(sized(size))


def test_processes_append_at_the_same_time(tmp_path: Path) -> None:
    path, context = tmp_path / "r.jsonl", multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    # Half of what each writes the next one writes too.
    processes = [context.Process(target=_append_many, args=(str(path), 20 * i, barrier)) for i in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert path.read_bytes().count(b"\n") == 80
    assert {one.parameters["size"] for one in RecordStore(path).records} == set(range(80))


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(encode(sized(1)) + b"garbage\n" + encode(sized(2)))
    with pytest.raises(UserError, match=r"r\.jsonl:2: not a line of JSON"):
        RecordStore(path)
    path.write_bytes(encode(sized(1)).replace(b"mnv3c-record/1", b"mnv3c-record/9"))
    with pytest.raises(UserError, match=r"r\.jsonl:1: format: must be 'mnv3c-record/1', not 'mnv3c-record/9'"):
        RecordStore(path)


@pytest.mark.parametrize("text", ["some notes", '{"name": "a document of somebody else"}'])
def test_a_foreign_file_is_left_alone(tmp_path: Path, text: str) -> None:
    """A last line without an end is taken away only where it is the beginning of a record."""
    path = tmp_path / "r.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"r\.jsonl:1: "):
        RecordStore(path).append(sized(1))
    with pytest.raises(UserError, match=r"r\.jsonl:1: "):
        RecordStore(path).require_writable()
    assert path.read_text(encoding="utf-8") == text


def test_what_has_no_end_is_not_read() -> None:
    with pytest.raises(UserError, match="/dev/zero: is not a regular file"):
        RecordStore(Path("/dev/zero"))


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    """A limit on the file's size cuts a write short, as a full disk does; what is asked for later fits again."""
    store = RecordStore(tmp_path / "r.jsonl")
    store.append(sized(1))
    whole = store.path.read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 100, before[1]))
    try:
        for _ in range(2):
            with pytest.raises(MissingError, match=r"cannot write the records .*r\.jsonl: the disk is full"):
                store.append(sized(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert store.path.read_bytes() == whole and store.records == (sized(1),)
    assert store.append(sized(2))
    assert RecordStore(store.path).records == (sized(1), sized(2))


def test_requiring_a_file_makes_and_repairs_it(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "new" / "r.jsonl")
    store.require_writable()
    assert store.path.read_bytes() == b""
    store.path.write_bytes(encode(sized(1)) + encode(sized(2))[:50])
    store.require_writable()
    assert store.records == (sized(1),) and store.path.read_bytes() == encode(sized(1))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Is a directory"):
        RecordStore(tmp_path)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(MissingError, match="cannot write the records"):
        RecordStore(tmp_path / "file" / "records.jsonl").append(sized(1))


@given(SEVERAL, SEVERAL, SEVERAL)
def test_merging_has_no_order(a: list[Record], b: list[Record], c: list[Record]) -> None:
    merged = merge_records([a, b, c])
    assert merged == merge_records([c, b, a]) == merge_records([merge_records([b, a]), c, c]) == merge_records([merged])
    assert {one.key for one in merged} == {one.key for one in (*a, *b, *c)}
    for one in merged:
        assert one.when == max(other.when for other in (*a, *b, *c) if other.key == one.key)


def test_the_users_records_of_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNV3C_DATA_DIR", str(tmp_path))
    device = find_device("haswell")
    assert user_store_path(device) == tmp_path / "tuned" / "x86_64-haswell.jsonl"
    before = known_records(device)
    RecordStore(user_store_path(device)).append(sized(77))
    assert [one for one in known_records(device) if one not in before] == [sized(77)]
