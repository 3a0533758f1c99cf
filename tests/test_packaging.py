"""The wheel holds what the source tree holds: pyproject.toml lists packages and files by hand."""

import json
import pkgutil
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import mnv3c

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
# Shipped tuning records; none have to be shipped.
MAY_BE_WITHOUT_FILES = {("mnv3c.profiles", "tuned/*.jsonl")}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def packages_on_disk() -> list[str]:
    found = [module.name for module in pkgutil.walk_packages([str(SOURCE)]) if module.ispkg]
    return sorted(name for name in found if name.split(".")[0] == "mnv3c")


def folders_with_python() -> list[str]:
    """As `packages_on_disk`, but with folders that lack `__init__.py`, which pkgutil does not see."""
    names = {"mnv3c"}
    for top in (SOURCE / "mnv3c").iterdir():
        if top.is_dir():
            for path in top.resolve().rglob("*.py"):
                names.add(".".join(("mnv3c", top.name, *path.parent.relative_to(top.resolve()).parts)))
    return sorted(names)


def test_every_package_is_listed(project: dict[str, Any]) -> None:
    listed = project["tool"]["setuptools"]["packages"]
    assert listed == sorted(listed)
    assert listed == packages_on_disk() == folders_with_python()


def test_the_folders_are_relative_links() -> None:
    for name in ("graph", "targets", "compiler", "profiles", "search"):
        link = SOURCE / "mnv3c" / name
        assert link.is_symlink() and str(link.readlink()) == f"../../{name}"


def test_every_data_file_is_listed(project: dict[str, Any]) -> None:
    listed: dict[str, list[str]] = project["tool"]["setuptools"]["package-data"]
    git = ["git", "-C", str(ROOT), "ls-files", "--", "src/mnv3c", "graph", "targets", "compiler", "profiles", "search"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    tracked = [Path(line.removeprefix("src/mnv3c/")) for line in done.stdout.splitlines()]
    data = [path for path in tracked if path.suffix != ".py" and not (SOURCE / "mnv3c" / path).is_dir()]
    assert data
    packages, used = packages_on_disk(), set()
    for path in data:
        # The innermost folder that is a package carries the file.
        parents = [parent for parent in path.parents if ".".join(("mnv3c", *parent.parts)) in packages]
        package = ".".join(("mnv3c", *parents[0].parts))
        inside = str(path.relative_to(parents[0]))
        patterns = [pattern for pattern in listed.get(package, []) if fnmatch(inside, pattern)]
        assert patterns, f"{path} would be missing from the wheel: no pattern of package-data.{package} fits"
        used |= {(package, pattern) for pattern in patterns}
    unused = {(package, pattern) for package, patterns in listed.items() for pattern in patterns} - used
    assert unused <= MAY_BE_WITHOUT_FILES


def test_the_package_is_typed() -> None:
    assert (SOURCE / "mnv3c" / "py.typed").is_file()


def test_versions_agree(project: dict[str, Any]) -> None:
    declared = project["project"]["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", declared)
    assert version("mnv3c") == declared
    assert getattr(mnv3c, "__version__", declared) == declared
    changelog = ROOT / "CHANGELOG.md"
    assert declared in changelog.read_text()


def modules_after(*arguments: str) -> set[str]:
    """Top-level modules that `mnv3c ARGUMENTS` has imported when it ends."""
    program = (
        "import json, sys\n"
        "from mnv3c.cli.app import main\n"
        "try:\n"
        f"    main({list(arguments)!r})\n"
        "except SystemExit as end:\n"
        "    assert end.code in (0, None), end.code\n"
        "print('MODULES' + json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert arguments == () or done.stdout.strip()
    return set(json.loads(done.stdout.rpartition("MODULES")[2]))


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), ("compile", "--help"), ("run", "--help")], ids=" ".join
)
def test_help_is_quick(arguments: tuple[str, ...]) -> None:
    slow = {"tvm", "tvm_ffi", "onnx", "onnxruntime", "numpy", "torch"}
    assert modules_after(*arguments) & slow == set()
