"""Every command's help has an example, and the examples of the help and of docs/cli.md work as shown."""

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.profiles.model.made_up import records, write_block_table
from tests.test_pp_ocr import CLASSIFIER, model

from mnv3c.cli.app import app
from mnv3c.compiler.transport.emulator import find_emulator
from mnv3c.graph.errors import MissingError

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"
COMMANDS = sorted(str(command.name) for command in app.registered_commands)

NOT_CHEAP = {"measure", "search", "tune"}  # minutes, or devices; their examples are read, not run


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the files that the examples speak of."""
    try:
        find_emulator("aarch64")
    except MissingError as error:
        assert "CI" not in os.environ, str(error)
        pytest.skip(str(error))
    pixels = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "cat.jpg")
    shutil.copy(model(CLASSIFIER), tmp_path / "cls.onnx")
    for name, count in (("rows10.csv", 10), ("rows.csv", 30)):
        write_block_table(tmp_path / name, records(count, seed=count))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def help_example(mnv3c: Any, *words: str) -> str:
    outcome = mnv3c(*words, "--help")
    assert (outcome.code, outcome.stderr) == (0, "")
    (example,) = re.findall(r"Example: (mnv3c .*?) *$", outcome.stdout, re.MULTILINE)
    return str(example)


def sessions() -> Iterator[tuple[str, list[str]]]:
    """Every `$ mnv3c` command of the document with the output shown below it."""
    for block in re.findall(r"^```console\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        for session in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *shown = session.splitlines()
            yield command, shown


def plain(line: str) -> str:
    """A line without what differs between machines and with every better kernel: values, times, versions, totals."""
    line = re.sub(r"\(qemu.*\)", "(qemu)", " ".join(line.split()))
    return re.sub(
        r"-?\d+\.\d{4,}|median \S+|in [\d.]+ s$|^activations .*|\d+ layers, \d+ kernels|^\d+ (?=-?\d)", "#", line
    )


def test_bare_command_and_version(mnv3c: Any) -> None:
    bare = mnv3c()
    assert (bare.code, bare.stderr) == (0, "")
    assert all(f" {command} " in bare.stdout for command in COMMANDS)
    assert re.fullmatch(r"mnv3c \d+\.\d+\.\d+\S*\n", mnv3c("--version").stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_document_has_every_option(mnv3c: Any, command: str) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert f"\n## {command}\n" in text
    # Where an option is required, a column with its star comes first.
    options = set(re.findall(r"^│ (?:\*  |   )?(--[a-z-]+)", mnv3c(command, "--help").stdout, re.MULTILINE))
    assert {"--json", "--help"} <= options
    assert {option for option in options if f"`{option}" not in text and option != "--help"} == set()


def test_examples_of_the_help(mnv3c: Any, desk: Path) -> None:
    # `compile` makes what the example of `run` runs.
    examples = {command: help_example(mnv3c, command) for command in COMMANDS}
    assert all(example.startswith(f"mnv3c {command}") for command, example in examples.items())
    cheap = [example for command, example in examples.items() if command not in NOT_CHEAP]
    for example in (help_example(mnv3c), *cheap):
        outcome = mnv3c(*shlex.split(example)[1:])
        assert outcome.code == 0, f"{example}: {outcome.stderr}"
        assert outcome.stdout


def test_examples_of_the_document(mnv3c: Any, desk: Path) -> None:
    commands = list(sessions())
    assert {command.split()[1] for command, _ in commands} >= set(COMMANDS) - NOT_CHEAP
    for command, shown in commands:
        outcome = mnv3c(*shlex.split(command)[1:])
        fails = shown[0].startswith("mnv3c: ")
        assert outcome.code == (2 if fails else 0), f"{command}: {outcome.stderr}"
        printed = {plain(line) for line in (outcome.stderr if fails else outcome.stdout).splitlines()}
        assert [line for line in shown if line != "..." and plain(line) not in printed] == [], command
