"""Machines of every kind on this one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.compiler.transport.loopback import FakeAdb, SshServer, TvmFarm, ssh_server, tvm_farm

from mnv3c.compiler.transport.rpc import build_shell_library
from mnv3c.targets.toolchain import Toolchain


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[SshServer]:
    folder = tmp_path / "sshd"
    folder.mkdir()
    with ssh_server(folder) as server:
        yield server


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TvmFarm]:
    with tvm_farm(tmp_path_factory.mktemp("farm")) as started:
        yield started


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
