"""Files that are there whole or not at all, and nothing beside them."""

from pathlib import Path

import pytest

from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.whole_file import check_place, whole_file, write_whole


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for text in ("one", "zw\u00f6lf"):
        write_whole(path, text)
        assert path.read_bytes() == text.encode()
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, "old")
    with pytest.raises(ZeroDivisionError), whole_file(path) as temporary:
        temporary.write_text("ne")
        raise ZeroDivisionError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["absent/a.txt", "file/a.txt", "folder", "x" * 300, ".", ".."])
def test_where_no_file_can_be(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(MissingError, match="cannot write"):
        write_whole(tmp_path / name, "text")
    with pytest.raises(UserError, match=str(tmp_path)):
        check_place(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
