"""The shell scripts that run on a device, and what they print."""

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mnv3c.graph.errors import MissingError

_RAN = re.compile(r"@begin (?P<tag>\S+)\n(?P<text>.*?)@status (?P=tag) (?P<status>\d+)\n", re.DOTALL)
_FILE = re.compile(r"^@file (\S+) +(\d+)$", re.MULTILINE)
_FOLDER = re.compile(r"^@folder (/.*)$", re.MULTILINE)
_MACHINE = re.compile(r"^@machine (.*)$", re.MULTILINE)
# How uname spells an architecture on other systems.
_SPELLINGS = {"arm64": "aarch64", "amd64": "x86_64", "armv8l": "aarch64"}
_SIGNAL_BASE = 128  # of the exit status that a shell gives to what a signal ended
_NO_FILE, _NOT_RUNNABLE, _SIGILL = 127, 126, 4


@dataclass(frozen=True)
class Ran:
    """One command that ran to its end. `text` is its output, or what it said on stderr where `status` is not 0."""

    tag: str
    status: int
    text: str

    @property
    def problem(self) -> str | None:
        """Why it failed; None where it did not."""
        if self.status == 0:
            return None
        if self.status == _SIGNAL_BASE + _SIGILL:
            return "the device lacks instructions that it was compiled for: see --target and --device"
        if self.status == _NOT_RUNNABLE:
            return "the device cannot run the program: see --target and --device"
        if self.status > _SIGNAL_BASE:
            return f"was ended by signal {self.status - _SIGNAL_BASE}"
        lines = self.text.strip().splitlines()
        return lines[-1] if lines else f"exit status {self.status}"


def open_script(root: str, name: str) -> str:
    """Make the folder NAME in `root` (shell text), end what an earlier connection left running there, and list it.

    It prints `@machine ARCHITECTURE`, `@folder PATH`, and `@file NAME BYTES` for each file. Who comes back after a
    lost connection may find its own last script still running, which would disturb what is measured next.
    """
    return f"""d={root}/{shlex.quote(name)}
mkdir -m 700 "$d" 2>/dev/null
cd "$d" && [ -w . ] && echo "@machine $(uname -m)" && echo "@folder $PWD" || exit 1
for p in $(cat pids 2>/dev/null)
do [ "$(readlink /proc/$p/cwd)" = "$PWD" ] && kill -9 "$p"
done 2>/dev/null
for f in *
do [ -f "$f" ] && echo "@file $f $(wc -c < "$f")"
done
"""


@dataclass(frozen=True)
class Opened:
    """What `open_script` found: the architecture, the folder's path, and the sizes in bytes of the files in it."""

    architecture: str
    folder: str
    sizes_bytes: dict[str, int]


def opened(text: str) -> Opened | None:
    """What the script printed; None where no folder can be made."""
    folder, machine = _FOLDER.search(text), _MACHINE.search(text)
    if folder is None or machine is None:
        return None
    sizes = {name: int(size) for name, size in _FILE.findall(text)}
    return Opened(_SPELLINGS.get(machine[1], machine[1]), folder[1], sizes)


def require_opened(text: str, place: str, root: str) -> Opened:
    """What `open_script` printed. Raises MissingError where no folder can be made in `root` of that place."""
    found = opened(text)
    if found is None:
        raise MissingError(f"{place}: no folder can be made in {root}")
    return found


def run_script(folder: str, commands: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Run commands, each under a tag, one after another in a folder.

    `pids` there holds the ids of the shell and the command, for `open_script`.
    """
    lines = [
        f"cd {shlex.quote(folder)} || exit 1",
        't() { n=$1; shift; echo "@begin $n"; "$@" </dev/null 2>stderr & echo $$ $! >pids; wait $!; s=$?',
        '[ $s -eq 0 ] || { head -c 1000 stderr; echo; }; echo "@status $n $s"; }',
        *(f"t {tag} {shlex.join(words)}" for tag, words in commands),
    ]
    return "\n".join(lines) + "\n"


def ran(text: str) -> tuple[Ran, ...]:
    """The commands that ended, in order; one that was cut off is left out."""
    return tuple(Ran(each["tag"], int(each["status"]), each["text"]) for each in _RAN.finditer(text))


def lacks_file(run: Ran) -> bool:
    """Whether the program was not there: the folder was emptied meanwhile, by a restart of the device for example."""
    return run.status == _NO_FILE


def remove_folder_script(root: str, name: str) -> str:
    """End what runs in the folder of `open_script` still, and remove it."""
    return f'{open_script(root, name)}cd / && rm -rf -- "$OLDPWD"\n'


def remove_script(folder: str, names: Iterable[str]) -> str:
    """Remove files of a folder."""
    return f"cd {shlex.quote(folder)} && rm -f -- {' '.join(map(shlex.quote, names))}\n"
