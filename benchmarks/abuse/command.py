"""The command line of the abuse."""

import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from command_line import run_command_line
from peers.network import option_words

from abuse.claims import Outcome
from abuse.kills import Victim, kill_and_resume
from abuse.planting import tune_among_hostile
from mnv3c.cli.model import ModelArgument, ModelOptions, load_model, with_model_options
from mnv3c.graph.whole_file import write_whole


def main() -> None:
    """Run the command; exit 1 where a claim fails, 2 for wrong input, 3 for what is missing."""
    run_command_line("tuner_abuse", abuse)


@with_model_options
def abuse(
    model: ModelArgument = "small",
    *,
    options: ModelOptions,
    kills: Annotated[int, typer.Option(min=0, help="How often to kill a tuning run and resume it.")] = 0,
    hostile: Annotated[int, typer.Option(min=0, help="How many hostile candidates to plant in another.")] = 0,
    longest: Annotated[float, typer.Option(min=0.1, help="A run lives at most so many seconds.")] = 20.0,
    search: Annotated[float, typer.Option(min=1.0, help="The search has to end within so many seconds.")] = 1800.0,
    random_seed: Annotated[int | None, typer.Option(help="Of everything random; printed.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write what was seen here.")] = None,
) -> None:
    """Kill tuning runs with SIGKILL, and tune among hostile candidates; exit 1 when a claim does not hold.

    Example: python benchmarks/tuner_abuse.py small --width 0.35 --resolution 96 --kills 20 --hostile 50
    """
    seed = random.SystemRandom().randrange(10**6) if random_seed is None else random_seed
    print(f"random seed {seed}", file=sys.stderr, flush=True)
    graph = load_model(model, options)
    outcomes: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="tuner-abuse-") as temporary:
        folder = Path(temporary)
        if kills:
            victim = Victim((model, *option_words(options)), folder, search)
            outcomes["kills"] = kill_and_resume(victim, graph, kills, longest, seed, _tell)
        if hostile:
            own = folder / "hostile"
            own.mkdir()
            outcomes["hostile"] = tune_among_hostile(graph, hostile, search, seed, own, _tell)
    for outcome in outcomes.values():
        typer.echo(outcome.text())
    if json_file is not None:
        document = {name: outcome.document() for name, outcome in outcomes.items()}
        write_whole(json_file, json.dumps(document, indent=1) + "\n")
    if not all(claim.holds for outcome in outcomes.values() for claim in outcome.claims):
        sys.exit(1)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
