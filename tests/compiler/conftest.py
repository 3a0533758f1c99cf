"""A program of three calls, its kernels, and the artifact linked from them; and machines to run it on."""

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from tests.compiler.transport.loopback import FakeAdb, SshServer, ssh_server

from mnv3c.compiler.check_input import check_input
from mnv3c.compiler.link import ArtifactFiles, link_artifact
from mnv3c.compiler.machine_code import LlvmTools
from mnv3c.compiler.program import Argument, Call, Port, Program, Region
from mnv3c.compiler.transport.rpc import build_shell_library
from mnv3c.compiler.zig import Zig
from mnv3c.graph.errors import MissingError
from mnv3c.targets.toolchain import Toolchain

HERE = Path(__file__).parent
RUNTIME = HERE.parents[1] / "compiler" / "runtime"
ELEMENTS = 40
WEIGHTS = np.linspace(-1.5, 2.0, ELEMENTS, dtype=np.float32)

Floats = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def tools() -> LlvmTools:
    """LLVM's tools; skips where they are missing, and fails on CI."""
    try:
        return LlvmTools.find()
    except MissingError as error:
        if "CI" in os.environ:
            raise
        pytest.skip(str(error))


def compute(values: Floats) -> Floats:
    """What the program computes, in NumPy."""
    return np.ascontiguousarray((values * WEIGHTS)[::-1][:8])


def run_zig_cc(target: str, output: Path, *arguments: str | Path) -> None:
    """Compile or link with zig, and let every warning fail the test."""
    strict = ("-Wall", "-Wextra", "-Werror", f"-I{RUNTIME}")
    Zig(output.parent, print).run(target, (*strict, *map(str, arguments)), output.name)


@dataclass(frozen=True)
class Linker:
    """Links the program for a toolchain; data can be replaced."""

    program: Program
    kernels: Callable[[str], Path]

    def __call__(
        self,
        directory: Path,
        toolchain: Toolchain,
        weights: Floats = WEIGHTS,
        reference: Floats | None = None,
        progress: Callable[[str], None] = print,
    ) -> ArtifactFiles:
        directory.mkdir(parents=True, exist_ok=True)
        weights_file, reference_file = directory / "weights.raw", directory / "reference.raw"
        weights.tofile(weights_file)
        (compute(check_input(ELEMENTS)) if reference is None else reference).tofile(reference_file)
        objects = [self.kernels(toolchain.triple)]
        return link_artifact(directory, self.program, objects, weights_file, reference_file, toolchain, progress)


@pytest.fixture(scope="session")
def program() -> Program:
    """Scale, reverse, split into two outputs, the second of which is not aligned in the caller's buffer."""
    size = ELEMENTS * 4
    arena = (Argument(Region.ARENA, 0, ELEMENTS), Argument(Region.ARENA, 192, ELEMENTS))
    outputs = (Argument(Region.OUTPUT, 0, 5), Argument(Region.OUTPUT, 20, 3))
    inputs = (Argument(Region.INPUT, 0, ELEMENTS), Argument(Region.WEIGHTS, 0, ELEMENTS))
    calls = (
        Call("stem", "scale", "5x8", "scale", (*inputs, arena[0]), ELEMENTS),
        Call('odd "name" */ \\ é??/\n', "reverse", "40 -> 40", "reverse", (arena[0], arena[1]), 0),
        Call("head", "split", "40 -> 5 + 3", "split", (arena[1], *outputs), 0),
    )
    return Program("net", Port("image", (1, 5, 8)), (Port("first", (1, 5)), Port("second", (3,))), calls, 384, size)


@pytest.fixture(scope="session")
def host_toolchain() -> Toolchain:
    machine = platform.machine()
    return Toolchain(f"{machine}-linux-gnu.2.28", f"{machine}-linux-musl")


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Compile the kernels for a triple, once."""
    directory = tmp_path_factory.mktemp("kernels")

    def compile_for(triple: str) -> Path:
        path = directory / f"{triple}.o"
        if not path.exists():
            run_zig_cc(triple, path, "-c", HERE / "kernels.c")
        return path

    return compile_for


@pytest.fixture(scope="session")
def linker(program: Program, kernels: Callable[[str], Path]) -> Linker:
    return Linker(program, kernels)


@pytest.fixture(scope="session")
def artifact(linker: Linker, host_toolchain: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> ArtifactFiles:
    return linker(tmp_path_factory.mktemp("artifact"), host_toolchain)


@pytest.fixture(scope="session")
def on_ci() -> bool:
    """Whether a missing tool is a failure rather than a reason to skip."""
    return os.environ.get("CI") == "true"


@pytest.fixture(scope="session")
def expected() -> Callable[[Floats], Floats]:
    return compute


@pytest.fixture(scope="session")
def zig_cc() -> Callable[..., None]:
    return run_zig_cc


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[SshServer]:
    folder = tmp_path / "sshd"
    folder.mkdir()
    with ssh_server(folder) as server:
        yield server


@pytest.fixture
def adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeAdb:
    folder = tmp_path / "adb"
    folder.mkdir()
    fake = FakeAdb(folder)
    fake.install(monkeypatch)
    return fake


@pytest.fixture(scope="session")
def shell_library(tmp_path_factory: pytest.TempPathFactory, host_toolchain: Toolchain) -> Path:
    return build_shell_library(host_toolchain, tmp_path_factory.mktemp("shell"))
