"""The paper's design decisions, judged again by a profile: python benchmarks/paper_decisions.py --help.

"Searching for MobileNetV3", arXiv 1905.02244v5, states for Pixel 1: the efficient last stage saves 7 ms (section 5.1),
16 filters with h-swish in the place of 32 with ReLU save 2 ms (5.1), and the whole of Large takes 51 ms (table 3).
Since another runtime is faster or slower as a whole, each change is also given at that scale.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from command_line import run_command_line

from mnv3c.graph.networks import mobilenet_v3
from mnv3c.graph.whole_file import write_whole
from mnv3c.profiles.library import find_profile
from mnv3c.search.latency import ProfileLatency


@dataclass(frozen=True)
class Decision:
    """A decision of the paper: the network without it, and what it is said to change on Pixel 1, in milliseconds.

    `network` is what it was decided for, `without` what differs from it; the published change is None where the paper
    gives no number for this pair.
    """

    name: str
    network: dict[str, Any]
    without: dict[str, Any]
    published_ms: float | None
    source: str = ""


# What the paper's Large takes on Pixel 1.
PAPER_LARGE_MS = 51.0

LARGE: dict[str, Any] = {"variant": "large"}
SMALL: dict[str, Any] = {"variant": "small"}
DECISIONS = (
    Decision("efficient last stage", LARGE, {"last_stage": "original"}, -7.0, "5.1: 7 ms, 11 % of the running time"),
    Decision("16 filters with h-swish for 32 with ReLU", LARGE, {"stem_filters": 32}, -2.0, "5.1: 2 ms and 10 M MACs"),
    Decision("h-swish only from 80 channels on, for everywhere", LARGE, {"hswish": "all"}, None),
    Decision("h-swish as in the table, for nowhere", LARGE, {"hswish": "none"}, None),
    Decision("squeeze-excite", LARGE, {"se": False}, None),
    Decision("squeeze-excite", SMALL, {"se": False}, None),
    Decision("minimalistic", LARGE | {"minimalistic": True}, {"minimalistic": False}, None),
    Decision("minimalistic", SMALL | {"minimalistic": True}, {"minimalistic": False}, None),
)


@dataclass(frozen=True)
class Judgement:
    """What a profile says of a decision: milliseconds without and with it."""

    decision: Decision
    without_ms: float
    with_ms: float
    large_ms: float

    @property
    def change_ms(self) -> float:
        """Below 0 where it makes the network faster."""
        return self.with_ms - self.without_ms

    @property
    def ratio(self) -> float | None:
        """The predicted change over the published one; above 0 where the sign is right."""
        published_ms = self.decision.published_ms
        return None if published_ms is None else self.change_ms / published_ms

    @property
    def scaled_ms(self) -> float:
        """The change, were Large as fast by the profile as in the paper."""
        return self.change_ms * PAPER_LARGE_MS / self.large_ms


def judged(latency: ProfileLatency, decision: Decision) -> Judgement:
    """Predict the network with and without a decision."""
    with_ms = latency(mobilenet_v3(**decision.network, seed=None))
    without_ms = latency(mobilenet_v3(**(decision.network | decision.without), seed=None))
    return Judgement(decision, without_ms, with_ms, latency(mobilenet_v3("large", seed=None)))


def main() -> None:
    """Run the command; exit 2 for wrong input and 3 for what is missing, with one line on stderr."""
    run_command_line("paper_decisions", paper_decisions)


def paper_decisions(
    device: Annotated[list[str] | None, typer.Option(metavar="PROFILE", help="Repeat for more.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here too.")
    ] = None,
) -> None:
    """Print a table of what each decision changes, beside what the paper says for Pixel 1.

    Example: python benchmarks/paper_decisions.py --device pixel1-cpu-tflite
    """
    names = device or ["pixel1-cpu-tflite"]
    rows = {name: [judged(ProfileLatency(find_profile(name)), each) for each in DECISIONS] for name in names}
    typer.echo(
        "| network | decision | "
        + " | ".join(f"{name}: without, with, change (at 51 ms) ms" for name in names)
        + " | paper ms |"
    )
    typer.echo("|" + "---|" * (3 + len(names)))
    for number, decision in enumerate(DECISIONS):
        cells = [
            f"{row.without_ms:.2f}, {row.with_ms:.2f}, **{row.change_ms:+.2f}** ({row.scaled_ms:+.2f})"
            for row in (rows[name][number] for name in names)
        ]
        published = "" if decision.published_ms is None else f"{decision.published_ms:+.1f}"
        note = f" ({decision.source})" if decision.source else ""
        typer.echo(f"| {decision.network['variant']} | {decision.name} | {' | '.join(cells)} | {published}{note} |")
    if json_file is not None:
        document = {
            name: [
                {
                    "network": row.decision.network["variant"],
                    "decision": row.decision.name,
                    "without_ms": row.without_ms,
                    "with_ms": row.with_ms,
                    "change_ms": row.change_ms,
                    "published_ms": row.decision.published_ms,
                    "ratio": row.ratio,
                    "scaled_ms": row.scaled_ms,
                }
                for row in found
            ]
            for name, found in rows.items()
        }
        write_whole(json_file, json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
