"""Records: what they refuse, their lines, and that JSON and CSV lose nothing."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.profiles.works import record, records

from mnv3c.graph.errors import UserError
from mnv3c.profiles.record import Record, RecordStore, decode, encode, newer, record_of, write_records
from mnv3c.profiles.records_csv import csv_text, read_csv, write_csv
from mnv3c.profiles.work import NetworkWork, Work

in_one_folder = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@given(records())
def test_a_line_is_read_back(one: Record) -> None:
    line = encode(one)
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert decode(line[:-1], "") == one


@in_one_folder
@given(st.lists(records(), max_size=4))
def test_a_table_is_read_back(tmp_path: Path, several: list[Record]) -> None:
    path = tmp_path / "records.csv"
    write_csv(path, several)
    assert read_csv(path) == tuple(several)
    assert csv_text(read_csv(path)) == path.read_text(encoding="utf-8")


@in_one_folder
@given(st.data())
def test_a_file_cut_anywhere_keeps_its_whole_lines(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "records.jsonl"
    several = [record(threads=count) for count in (1, 2, 3)]
    write_records(path, several)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = whole[:cut].count(b"\n")
    assert RecordStore(path).records == tuple(several[:kept])
    store = RecordStore(path)
    assert store.append(record(threads=9))
    # A record that lacks nothing but the end of its line is complete.
    complete = max(kept, whole[: cut + 1].count(b"\n"))
    assert RecordStore(path).records == (*several[:complete], record(threads=9))


def test_nothing_is_measured_twice(tmp_path: Path) -> None:
    """A record of the same work on the same device, by the same runtime and threads, with the same tags."""
    store, other = RecordStore(tmp_path / "r.jsonl"), RecordStore(tmp_path / "r.jsonl")
    assert store.append(record())
    assert not other.append(record(latency_ms=9.0, when="2026-01-02T03:04:05Z"))
    for changes in ({"threads": 2}, {"device": "tablet"}, {"precision": "int8"}, {"tags": {"model": "x"}}):
        assert other.append(record(**changes))
    assert record(tags={"model": "x"}).key in other
    assert store.append(record(work=NetworkWork("large")))
    assert len(RecordStore(store.path).records) == 6


def test_the_newer_record_counts(tmp_path: Path) -> None:
    old, young = record(when="2026-01-02"), record(latency_ms=2.0, when="2026-03-02")
    assert newer(old, young) == newer(young, old) == young
    write_records(tmp_path / "r.jsonl", [young, old])
    assert RecordStore(tmp_path / "r.jsonl").records == (young,)


def test_a_median_is_only_what_is_called_so() -> None:
    assert record().median_ms == 1.5
    assert record(statistic="mean").median_ms is None


def test_columns_by_name() -> None:
    one = record(tags={"model": "m"}, n=5)
    assert [one.column(name) for name in ("device", "n", "model", "kind", "p10_ms", "colour")] == [
        *("phone", "5", "m", "block", None, None)
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threads": 0}, "threads: Input should be greater than 0, not 0"),
        ({"threads": "1"}, "threads: Input should be a valid integer, not '1'"),
        ({"latency_ms": 0.0}, "latency_ms: Input should be greater than 0"),
        ({"latency_ms": float("nan")}, "latency_ms: Input should be a finite number, not nan"),
        ({"device": ""}, "device: must be text without control characters"),
        ({"device": "a\nb"}, "device: must be text without control characters"),
        ({"device": "a "}, "device: must be text without control characters"),
        ({"how": "a\tb"}, "how: must be text without control characters"),
        ({"work": "x"}, "work: work 'x': layer key 'x': unknown op"),
        ({"work": 3}, "work: is not a work or its text, not 3"),
        ({"version": 2}, "version: Input should be 1, not 2"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"statistic": "mode"}, "statistic: Input should be 'median', 'mean' or 'min'"),
        ({"p10_ms": 2.0, "p90_ms": 1.0}, "p10_ms is above p90_ms"),
        ({"ci_low_ms": 2.0, "ci_high_ms": 1.0}, "ci_low_ms is above ci_high_ms"),
        ({"std_ms": -1.0}, "std_ms: Input should be greater than or equal to 0"),
        ({"flags": ("Two words",)}, "flags.0: must be a word of lower-case letters"),
        ({"tags": {"device": "x"}}, "tag 'device' has the name of a field"),
        ({"tags": {"model": ""}}, "tags.model: String should have at least 1 character"),
        ({"when": "yesterday"}, "when: Invalid isoformat string"),
    ],
)
def test_what_is_no_record(changes: dict[str, object], message: str) -> None:
    values = {**dict(record()), **changes}
    with pytest.raises(UserError) as error:
        record_of(values, "file:7")
    text = str(error.value)
    assert text.startswith(f"file:7: {message}") and "\n" not in text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"garbage", "file:1: Invalid JSON"),
        (b'{"version":1}', "file:1: work: Field required"),
        (b"[]", "file:1: Input should be an object"),
        (encode(record()).replace(b'"version":1', b'"version":7')[:-1], "file:1: version: Input should be 1, not 7"),
    ],
)
def test_what_is_no_line(line: bytes, message: str) -> None:
    with pytest.raises(UserError) as error:
        decode(line, "file:1")
    assert str(error.value).startswith(message)


def test_records_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        record().threads = 2  # type: ignore[misc]


def test_a_table_has_the_tags_as_columns(tmp_path: Path) -> None:
    text = csv_text([record(tags={"model": "m"}, flags=("drift", "noisy")), record()])
    head, first, second = text.splitlines()
    assert head.endswith(",how,tag.model") and head.startswith("version,work,device,processor,")
    assert first.endswith(",m") and ",drift noisy," in first and second.endswith(",")


TABLE = csv_text([record(n=3)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TABLE.replace("version", "versions"), ":1: column 'version' is missing"),
        (TABLE.replace(",n,", ",nn,"), ":1: column 'nn' is unknown"),
        (TABLE.replace(",p10_ms,", ",p90_ms,"), ":1: column 'p90_ms' appears twice"),
        (TABLE.replace(",1.5,", ",fast,"), ":2: column 'latency_ms' must be a number, not 'fast'"),
        (TABLE.replace(",phone,", ",,"), ":2: device: Field required"),
        (TABLE.replace("block h_in=56", "block h_in=0"), ":2: work: work 'block h_in=0"),
        (TABLE + "1,2\n", ":3: has 2 cells"),
        ("", ": is empty"),
        ('a,"b', ": is not a CSV table"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "records.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        read_csv(path)
    assert str(error.value).startswith(f"{path}{message}") and "\n" not in str(error.value)


def test_a_work_is_kept_as_it_is() -> None:
    work: Work = NetworkWork("large")
    assert record(work=work).work is work
