"""The command line in this process and in its own, and a small network compiled once."""

import io
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mnv3c.cli.app import main
from mnv3c.compiler.opencl.installation import opencl_environment
from mnv3c.compiler.transport.emulator import find_emulator
from mnv3c.graph.activation import RELU
from mnv3c.graph.errors import MissingError
from mnv3c.graph.initialise import initialise
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.networks import mobilenet_v3
from mnv3c.graph.ops import Conv2d, Input
from mnv3c.graph.yaml_io import save_graph

# As `--host-cpu` has this machine's CPU, and another.
HOST_CPU = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), "x86_64")
OTHER_CPU = "x86_64" if HOST_CPU == "arm64" else "arm64"


@dataclass(frozen=True)
class Outcome:
    """What a command printed, and its exit code."""

    code: int
    stdout: str
    stderr: str

    @property
    def message(self) -> str:
        """The one line of a failed command."""
        assert not self.stdout
        assert self.stderr.startswith("mnv3c: ") and self.stderr.endswith("\n")
        assert self.stderr.count("\n") == 1, self.stderr
        return self.stderr[len("mnv3c: ") : -1]

    def require_success(self) -> None:
        """Also nothing on stderr, but that a C library is built, the first time on a machine."""
        assert self.code == 0, self.stderr
        assert all(line.startswith("building ") for line in self.stderr.splitlines())

    @property
    def document(self) -> Any:
        """The JSON of a successful command, which printed nothing else."""
        self.require_success()
        return json.loads(self.stdout)


Mnv3c = Callable[..., Outcome]


@pytest.fixture(scope="session", autouse=True)
def no_records_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the user has tuned on this machine shall not change what the tests compile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNV3C_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="session")
def mnv3c() -> Mnv3c:
    """Run the command line in this process."""

    def run(*words: object) -> Outcome:
        stdout, stderr = io.StringIO(), io.StringIO()
        with redirect_stdout(stdout), redirect_stderr(stderr), pytest.raises(SystemExit) as leaving:
            main([str(word) for word in words])
        assert isinstance(leaving.value.code, int)
        return Outcome(leaving.value.code, stdout.getvalue(), stderr.getvalue())

    return run


@pytest.fixture(scope="session")
def mnv3c_process() -> Mnv3c:
    """Run the command line in a process of its own; keywords go to subprocess.run."""

    def run(*words: object, **options: Any) -> Outcome:
        command = [sys.executable, "-m", "mnv3c", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def tiny_yaml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest MobileNetV3 as a graph file: 4 classes at 32x32."""
    path = tmp_path_factory.mktemp("graph") / "tiny.yaml"
    save_graph(mobilenet_v3("small", width=0.35, resolution=32, minimalistic=True, classes=4), path)
    return path


@pytest.fixture(scope="session")
def tiny(tiny_yaml: Path, tmp_path_factory: pytest.TempPathFactory, mnv3c: Mnv3c) -> Path:
    """The tiny network, compiled for this host."""
    folder = tmp_path_factory.mktemp("tiny") / "artifact"
    outcome = mnv3c("compile", tiny_yaml, "-o", folder)
    assert outcome.code == 0, outcome.stderr
    return folder


@pytest.fixture(scope="session")
def tiny_arm64(tiny_yaml: Path, tmp_path_factory: pytest.TempPathFactory, mnv3c: Mnv3c) -> Path:
    """The tiny network for arm64; skips where nothing emulates that, and fails on CI."""
    try:
        find_emulator("aarch64")
    except MissingError as error:
        assert "CI" not in os.environ, str(error)
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("tiny") / "arm64"
    outcome = mnv3c("compile", tiny_yaml, "--target", "arm64", "-o", folder)
    assert outcome.code == 0, outcome.stderr
    return folder


@pytest.fixture(scope="session")
def pocl() -> Mapping[str, str]:
    """The environment in which PoCL is found; skips without an OpenCL, and fails on CI, which installs one."""
    try:
        return opencl_environment(pocl=True)
    except MissingError as error:
        if "CI" in os.environ and platform.machine() == "x86_64":
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def two_layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pointwise layers as a graph file, quick to tune."""
    nodes = (
        Node("x", Input((1, 10, 10, 16))),
        Node("wide", Conv2d(48, (1, 1), bias=True, activation=RELU), ("x",)),
        Node("narrow", Conv2d(24, (1, 1), bias=True), ("wide",)),
    )
    path = tmp_path_factory.mktemp("graph") / "two.yaml"
    save_graph(initialise(Graph("two", nodes, ("narrow",)), 0), path)
    return path


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for one module's records."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def own_folders(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of the user go to the module's own folder."""
    monkeypatch.setenv("MNV3C_DATA_DIR", str(data_folder))
