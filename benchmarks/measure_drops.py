"""A campaign of many layers on a device that drops its connection: python benchmarks/measure_drops.py --help.

The device is this machine behind an sshd of our own, whose connections are cut and which is off for a while now and
then; the campaign itself can be killed too. Every layer must end measured, or failed by name, none be measured twice.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.compiler.transport.loopback import SshServer, ssh_server  # noqa: E402

from mnv3c.graph.layer import layer_key, layers  # noqa: E402
from mnv3c.graph.networks import mobilenet_v3  # noqa: E402
from mnv3c.graph.passes.default import default_passes  # noqa: E402
from mnv3c.graph.passes.pipeline import run_passes  # noqa: E402

_OFF_EVERY = 4  # drops of which the device is off for a while
_OFF_S = 3.0


@dataclass
class Campaign:
    """One campaign under attack: what was done to it."""

    server: SshServer
    layers: Path
    records: Path
    count: int
    rounds: int
    drops: int
    kills: int
    chance: random.Random
    done: list[str] = field(default_factory=list)

    def run(self) -> dict[str, Any]:
        """Run until the command ends by itself; its document."""
        plan = sorted(self.chance.sample(range(1, self.count), self.drops + self.kills))
        kinds = ["drop"] * self.drops + ["kill"] * self.kills
        self.chance.shuffle(kinds)
        attacks = list(zip(plan, kinds, strict=True))
        while True:
            process = self._start()
            while process.poll() is None:
                time.sleep(0.02)
                if attacks and len(_lines(self.records)) >= attacks[0][0] and self._attack(attacks[0][1], process):
                    attacks.pop(0)
            if process.returncode != -signal.SIGKILL:
                return dict(json.loads(self._said.read_text(encoding="utf-8")))

    @property
    def _said(self) -> Path:
        return self.records.with_name("document.json")

    def _start(self) -> "subprocess.Popen[bytes]":
        options = [word for option in self.server.options for word in ("--ssh-option", option)]
        words = ("--layers", str(self.layers), "--on", self.server.place, *options, "-o", str(self.records), "--json")
        command = (sys.executable, "-m", "mnv3c", "measure", *words, "--rounds", str(self.rounds))
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), os.environ.get("PYTHONPATH", ""))),
        }
        # A file takes all that is said while nobody reads.
        with self._said.open("wb") as said:
            return subprocess.Popen(command, stdout=said, env=environment)

    def _attack(self, kind: str, process: "subprocess.Popen[bytes]") -> bool:
        time.sleep(self.chance.uniform(0.0, 0.5))
        if kind == "kill":
            process.kill()
            process.wait()
        elif not self.server.drop():
            return False
        elif len(self.done) % _OFF_EVERY == _OFF_EVERY - 1:
            self.server.stop()
            time.sleep(_OFF_S)
            self.server.start()
            kind = "off"
        self.done.append(kind)
        print(f"{len(_lines(self.records))} of {self.count} measured: {kind}", file=sys.stderr)
        return True


def main(
    count: Annotated[int, typer.Option("--layers", min=2, help="Layers, from random MobileNetV3 networks.")] = 200,
    drops: Annotated[int, typer.Option(min=0, help="How often the connection is cut.")] = 10,
    kills: Annotated[
        int, typer.Option(min=0, help="How often the campaign is killed (kill -9) and started again.")
    ] = 0,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each layer.")] = 15,
    seed: Annotated[int, typer.Option(help="Of layers and moments.")] = 0,
) -> None:
    """Run the campaign, print one JSON object, and exit 1 unless every layer ended once."""
    chance = random.Random(seed)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="measure-drops-") as folder:
        work = Path(folder)
        keys = _random_layers(count, chance)
        (work / "layers.txt").write_text("\n".join(keys) + "\n", encoding="utf-8")
        (work / "sshd").mkdir()
        with ssh_server(work / "sshd") as server:
            campaign = Campaign(
                server, work / "layers.txt", work / "records.jsonl", count, rounds, drops, kills, chance
            )
            document = campaign.run()
            left = [path.name for path in server.temporary.iterdir()]
        times = Counter(str(json.loads(line)["work"]) for line in _lines(work / "records.jsonl"))
    states = Counter(job["state"] for job in document["jobs"])
    unnamed = [job["name"] for job in document["jobs"] if job["state"] == "failed" and not job["reason"]]
    twice = [key for key, number in times.items() if number > 1]
    lost = [job["name"] for job in document["jobs"] if job["state"] != "failed" and times[job["name"]] != 1]
    good = len(document["jobs"]) == count and not (unnamed or twice or lost)
    result = {
        "layers": count,
        "states": dict(states),
        "attacks": dict(Counter(campaign.done)),
        "records": sum(times.values()),
        "twice": twice,
        "lost": lost,
        "left_on_the_device": left,
        "failed": {job["name"]: job["reason"] for job in document["jobs"] if job["state"] == "failed"},
        "seconds": round(time.monotonic() - begin, 1),
    }
    print(json.dumps(result))
    sys.exit(0 if good else 1)


def _random_layers(count: int, chance: random.Random) -> list[str]:
    keys: dict[str, None] = {}
    while len(keys) < count:
        size, width = chance.choice(("large", "small")), chance.choice((0.35, 0.5, 0.75, 1.0))
        graph = mobilenet_v3(size, width=width, resolution=chance.choice((96, 128, 160, 192, 224)))
        fused = run_passes(graph, default_passes())
        found = sorted({str(layer_key(fused, node)) for node in layers(fused)})
        keys |= dict.fromkeys(chance.sample(found, min(20, len(found))))
    return list(keys)[:count]


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


if __name__ == "__main__":
    typer.run(main)
