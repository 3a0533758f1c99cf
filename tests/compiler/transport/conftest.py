"""A farm for all tests of a module."""

from collections.abc import Iterator

import pytest
from tests.compiler.transport.loopback import TvmFarm, tvm_farm


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TvmFarm]:
    with tvm_farm(tmp_path_factory.mktemp("farm")) as started:
        yield started
