"""A content-addressed store of files: a key names everything that went into a file, so an entry is never stale."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import platformdirs

from mnv3c.graph.errors import MissingError

# On a full disk LLVM ends the process in the middle of an object (some 10 KB; up to 8 workers write at once).
_LEAST_FREE_BYTES = 4 << 20


def content_key(*parts: object) -> str:
    """SHA-256 in hex of the parts' canonical JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@lru_cache
def source_fingerprint(package: str) -> str:
    """SHA-256 over the Python sources of a package: what it generates changes with them."""
    folder = Path(str(import_module(package).__file__)).parent
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def generator_fingerprint(kind: type) -> str:
    """SHA-256 over the packages of our own that a class and its bases come from."""
    modules = {base.__module__ for base in kind.__mro__ if base.__module__.startswith("mnv3c.")}
    packages = sorted({name.rpartition(".")[0] for name in modules})
    return content_key(*(source_fingerprint(package) for package in packages))


@lru_cache
def file_fingerprint(path: str) -> str:
    """SHA-256 of one source file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@lru_cache
def toolchain_versions() -> dict[str, str]:
    """Versions of the packages that generate code."""
    return {name: version(name) for name in ("apache-tvm", "apache-tvm-ffi", "ziglang")}


@dataclass(frozen=True)
class FileCache:
    """Files by key in one folder. Writers never see each other's halves: each file is renamed into place."""

    folder: Path

    @staticmethod
    def default() -> "FileCache":
        """The user's cache folder, or the one that MNV3C_CACHE_DIR names."""
        return FileCache(Path(os.environ.get("MNV3C_CACHE_DIR") or platformdirs.user_cache_dir("mnv3c")))

    def path(self, key: str, suffix: str) -> Path:
        """Where a file lies or would lie."""
        return self.folder / "objects" / key[:2] / f"{key}{suffix}"

    def get(self, key: str, suffix: str, make: Callable[[Path], None]) -> Path:
        """The file of a key; `make(path)` writes it first when there is none. Raises MissingError without space."""
        path = self.path(key, suffix)
        if path.is_file():
            return path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(path.parent).free < _LEAST_FREE_BYTES:
                raise MissingError(f"no space left in the cache {self.folder} (MNV3C_CACHE_DIR)")
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                fresh = Path(folder) / path.name
                make(fresh)
                fresh.replace(path)
        except OSError as error:
            raise MissingError(f"cannot write to the cache {self.folder}: {error.strerror or error}") from error
        return path
