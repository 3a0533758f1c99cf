"""A tuning run that is killed again and again, in its own process as a user starts it."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from abuse.claims import Claim, Outcome
from mnv3c.compiler.lower import lower
from mnv3c.compiler.tune.choice import RecordedChoice
from mnv3c.compiler.tune.record import Record, choice_text, decode
from mnv3c.compiler.tune.store import RecordStore, merge_records
from mnv3c.compiler.tune.work import candidate_name, work_key
from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.ir import Graph
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device
from mnv3c.targets.target import Candidate, GroupWork, LayerWork

# Worker processes that are left may live so long: one of them may be in the middle of a kernel.
_SURVIVAL_S = 5.0
_TORN_EVERY = 3
_SOONER = 0.7


@dataclass(frozen=True)
class Victim:
    """A tuning run of `words` for `search_s` seconds at most; `folder` has everything that it writes."""

    words: Sequence[str]
    folder: Path
    search_s: float

    @property
    def records(self) -> Path:
        """The file of records."""
        return self.folder / "records.jsonl"

    def command(self, records: Path) -> list[str]:
        """The command line of a run."""
        words = ("tune", *self.words, "--records", str(records), "--budget", str(self.search_s), "--json")
        return [sys.executable, "-m", "mnv3c", *words]

    def start(self) -> "subprocess.Popen[str]":
        """A run in a process group of its own."""
        return subprocess.Popen(
            self.command(self.records),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=self._environment,
        )

    def finish(self, records: Path) -> dict[str, Any]:
        """The document of a run that nobody disturbs. Raises MissingError with its message where it fails."""
        done = subprocess.run(self.command(records), capture_output=True, text=True, check=False, env=self._environment)
        if done.returncode != 0:
            raise MissingError(f"mnv3c tune ended with {done.returncode}: {done.stderr.strip()[-300:]}")
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    @property
    def _environment(self) -> dict[str, str]:
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        own = {"MNV3C_DATA_DIR": str(self.folder / "data"), "TMPDIR": str(temporary)}
        if "MNV3C_CACHE_DIR" not in os.environ:
            own["MNV3C_CACHE_DIR"] = str(self.folder / "cache")
        return {**os.environ, **own}


@dataclass(frozen=True)
class Kill:
    """One kill: after how long, how many whole records lay on the disk before and after, what was found wrong."""

    after_s: float
    before: int
    records: int
    torn: str
    survivors: int
    gone_s: float
    lost: tuple[str, ...]
    invalid: tuple[str, ...]

    def row(self, number: int) -> dict[str, Any]:
        """For the table."""
        return {
            "kill": number,
            "after s": round(self.after_s, 2),
            "records before": self.before,
            "records": self.records,
            "torn": self.torn,
            "workers left": self.survivors,
            "gone after s": round(self.gone_s, 2),
        }


def kill_and_resume(
    victim: Victim, graph: Graph, kills: int, longest_s: float, seed: int, tell: Callable[[str], None]
) -> Outcome:
    """Kill `victim` at random moments, at most `longest_s` after its start, then let it end."""
    chance = random.Random(seed)
    seen: list[Kill] = []
    before: tuple[bytes, ...] = ()
    ended = 0
    while len(seen) < kills:
        after_s, tear = longest_s * chance.random(), len(seen) % _TORN_EVERY == _TORN_EVERY - 1
        kill = _one(victim, before, after_s, tear)
        if kill is None:
            # There was little left to do; the next ones are killed sooner.
            ended, longest_s = ended + 1, _SOONER * after_s
            continue
        before = whole_lines(victim.records)
        seen.append(kill)
        tell(f"kill {len(seen)} of {kills}: {kill.records} records")
    tell("the last run, to its end")
    return _ended(victim, graph, seen, before, {"seed": seed, "runs that ended before their kill": ended})


def _ended(
    victim: Victim, graph: Graph, seen: Sequence[Kill], before: tuple[bytes, ...], totals: dict[str, Any]
) -> Outcome:
    """Let the search end, and compare with a run that finds the same records and is not disturbed."""
    last = victim.finish(victim.records)
    after = whole_lines(victim.records)
    copy = victim.folder / "undisturbed.jsonl"
    shutil.copy(victim.records, copy)
    again = victim.finish(copy)
    records = RecordStore(victim.records).records
    totals |= {
        "records": len(after),
        "measured by the last run": last["measured"],
        "seconds of the last run": last["seconds"],
        "measured by a further run": again["measured"],
        "longest life of a worker s": round(max((kill.gone_s for kill in seen), default=0.0), 2),
    }
    ends = [] if last["seconds"] < victim.search_s else [f"it took {last['seconds']} s"]
    same_bytes = [] if whole_lines(copy) == after else ["the file has changed"]
    claims = (
        Claim.of(
            "no finished record is lost or changed",
            [*(x for kill in seen for x in kill.lost), *_missing(before, after)],
        ),
        Claim.of("no worker outlives a killed run", [_left(n, k) for n, k in enumerate(seen, 1) if k.survivors]),
        Claim.of("every whole line is a record", [x for kill in seen for x in kill.invalid]),
        Claim.of("a torn last line is repaired", ["there still is one"] if _tail(victim.records) else []),
        Claim.of("no candidate is recorded twice", _twice(after)),
        Claim.of("the search ends", ends),
        Claim.of("a further run measures nothing", [*_again(again), *same_bytes]),
        Claim.of("it chooses as an undisturbed run with the same records", _differences(last, again)),
        Claim.of("the compiler chooses the same, whatever the records' order", _choices(graph, records, last)),
    )
    return Outcome(tuple(kill.row(number) for number, kill in enumerate(seen, 1)), totals, claims)


def _one(victim: Victim, before: tuple[bytes, ...], after_s: float, tear: bool) -> Kill | None:
    """Start a run and kill it `after_s` later; None where it ended before."""
    tail = _tail(victim.records)
    process = victim.start()
    try:
        _, errors = process.communicate(timeout=after_s)
    except subprocess.TimeoutExpired:
        kill = _killed(victim, process, before, after_s)
    else:
        if process.returncode != 0:
            raise MissingError(f"mnv3c tune ended with {process.returncode}: {errors.strip()[-300:]}")
        return None
    torn = _tail(victim.records)
    if torn:
        return replace(kill, torn="not yet repaired" if torn == tail else "by the kill")
    if tear and kill.records:
        _tear(victim.records)
        return replace(kill, torn="planted")
    return kill


def _tear(path: Path) -> None:
    """As if a kill had come in the middle of a line, which one write seldom leaves."""
    line = whole_lines(path)[-1]
    with path.open("ab") as file:
        file.write(line[: len(line) // 2])


def _killed(victim: Victim, process: "subprocess.Popen[str]", before: tuple[bytes, ...], after_s: float) -> Kill:
    at_the_kill = whole_lines(victim.records)
    process.kill()
    process.communicate()
    survivors, gone_s = _end_of_group(process.pid)
    after = whole_lines(victim.records)
    lost = (*_missing(before, at_the_kill), *_missing(at_the_kill, after))
    return Kill(after_s, len(at_the_kill), len(after), "", survivors, gone_s, lost, tuple(_invalid(after)))


def whole_lines(path: Path) -> tuple[bytes, ...]:
    """The lines of a file that have an end; none where there is no file."""
    return tuple(path.read_bytes().split(b"\n")[:-1]) if path.exists() else ()


def _tail(path: Path) -> bytes:
    return path.read_bytes().rpartition(b"\n")[2] if path.exists() else b""


def _missing(before: Sequence[bytes], after: Sequence[bytes]) -> list[str]:
    kept = tuple(after[: len(before)]) == tuple(before)
    return [] if kept else [f"{len(before)} lines before, {len(after)} after, which do not begin with those"]


def _invalid(lines: Sequence[bytes]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            decode(line, f"line {number}")
        except UserError as error:
            yield str(error)


def _twice(lines: Sequence[bytes]) -> list[str]:
    keys = [decode(line, "").key for line in lines]
    return sorted({f"{key[0]} {key[-1]}" for key in keys if keys.count(key) > 1})


def _end_of_group(group: int) -> tuple[int, float]:
    """How many processes of a killed run had to be ended, and how long the others lived."""
    begin_s = time.monotonic()
    while (now_s := time.monotonic()) < begin_s + _SURVIVAL_S:
        if not _alive(group):
            return 0, now_s - begin_s
        time.sleep(0.02)
    left = len(_members(group))
    os.killpg(group, signal.SIGKILL)
    return left, _SURVIVAL_S


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return bool(_members(group))


def _members(group: int) -> list[int]:
    """Processes of a group; those that have ended and wait for whoever inherited them do not count."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                state, _, process_group, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(process_group) == group and state != "Z":
                found.append(int(entry.name))
    return found


def _left(number: int, kill: Kill) -> str:
    return f"{kill.survivors} after kill {number}"


def _again(document: dict[str, Any]) -> list[str]:
    new = document["measured"] + document["failed"]
    return [f"it measured {new}"] if new else []


def _chosen(document: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {layer["layer"]: (layer["count"], layer["kernel"], layer["parameters"]) for layer in document["layers"]}


def _differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    first, second = _chosen(one), _chosen(other)
    return [f"{layer}: {first[layer]} and {second.get(layer)}" for layer in first if first[layer] != second.get(layer)]


def _choices(graph: Graph, records: Sequence[Record], document: dict[str, Any]) -> list[str]:
    """What speaks against the compiler choosing the tuner's kernels, by the records as they are and sorted by key."""
    kernels, backwards = (_compiled(graph, order) for order in (records, merge_records([records[::-1]])))
    against = [] if kernels == backwards else ["the order of the records changes the choice"]
    wanted = {layer["layer"]: layer for layer in document["layers"] if layer["count"]}
    if set(kernels) != set(wanted):
        against.append(f"other layers: {', '.join(sorted(set(kernels) ^ set(wanted)))}")
    for name in sorted(set(kernels) & set(wanted)):
        tuned = choice_text(wanted[name]["kernel"], wanted[name]["parameters"])
        if kernels[name] != tuned:
            against.append(f"{name}: {kernels[name]} and not {tuned}")
    return against


def _compiled(graph: Graph, records: Sequence[Record]) -> dict[str, str]:
    """The candidate of every layer and group that the compiler would build, by the layer's text in records."""
    device = find_device("host")
    by_records, chosen = RecordedChoice(records, device), {}

    def choose(work: LayerWork, candidates: Sequence[Candidate]) -> Candidate:
        candidate = by_records.choose(work, candidates)
        chosen[work_key(work)[0]] = candidate_name(candidate)
        return candidate

    def choose_group(work: GroupWork, candidates: Sequence[Candidate]) -> Candidate | None:
        candidate = by_records.choose_group(work, candidates)
        if candidate is not None:
            chosen[work_key(work)[0]] = candidate_name(candidate)
        return candidate

    lower(run_passes(graph, default_passes()), load_target(device.target), device, choose, choose_group)
    return chosen
