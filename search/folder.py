"""The folder of a search: what was asked, what is done so far, and the networks with their weights."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.ir import Graph
from mnv3c.graph.whole_file import write_whole
from mnv3c.graph.yaml_io import load_graph, save_graph

FORMAT = "mnv3c-search/1"
_STATE = "search.json"


class SearchFolder:
    """A folder with `search.json` and graphs; every file appears whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self, asked: Mapping[str, Any], resume: bool) -> dict[str, Any]:
        """What is done so far, empty for a new search; the folder is made where there is none.

        Raises UserError where the folder holds a search but `resume` is off, or one that was asked something else.
        """
        state = self._read()
        if state is None:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise MissingError(f"{self.path}: cannot be made: {error.strerror or error}") from None
            self.write(asked, {})
            return {}
        if not resume:
            raise UserError(f"{self.path}: holds a search already; go on with it by --resume, or take another folder")
        before = state["asked"]
        for key, value in json.loads(json.dumps(asked)).items():
            if before.get(key) != value:
                raise UserError(f"{self.path}: was begun with {key} {_short(before.get(key))}, not {_short(value)}")
        done: dict[str, Any] = state["done"]
        return done

    def write(self, asked: Mapping[str, Any], done: Mapping[str, Any]) -> None:
        """Put down what is done. Raises MissingError where the disk refuses."""
        document = {"format": FORMAT, "asked": asked, "done": done}
        write_whole(self.path / _STATE, json.dumps(document, indent=1) + "\n")

    def save(self, name: str, graph: Graph) -> Path:
        """Write NAME.yaml, and NAME.npz where the graph has weights; returns the former."""
        path = self.path / f"{name}.yaml"
        save_graph(graph, path)
        return path

    def load(self, name: str) -> Graph:
        """The graph that was saved under this name."""
        return load_graph(self.path / f"{name}.yaml")

    def forget(self, name: str) -> None:
        """Remove a saved graph, if there is one."""
        for suffix in (".yaml", ".npz"):
            with suppress(OSError):
                (self.path / f"{name}{suffix}").unlink(missing_ok=True)

    def _read(self) -> dict[str, Any] | None:
        path = self.path / _STATE
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot be read: {error}") from None
        try:
            state = json.loads(text)
        except (ValueError, RecursionError):
            state = None
        right = isinstance(state, dict) and state.get("format") == FORMAT
        if not right or not all(isinstance(state.get(key), dict) for key in ("asked", "done")):
            raise UserError(f"{path}: is not the state of a search ({FORMAT})")
        return dict(state)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
