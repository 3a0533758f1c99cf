"""What is claimed, and whether it was seen to hold."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Claim:
    """A sentence, whether it held, and what speaks against it where it did not."""

    text: str
    holds: bool
    against: str = ""

    @staticmethod
    def of(text: str, against: Sequence[str]) -> "Claim":
        """A claim that holds where nothing speaks against it."""
        return Claim(text, not against, "; ".join(against))

    def line(self) -> str:
        """The claim as one line."""
        return f"{'holds' if self.holds else 'FAILS'}: {self.text}" + (f": {self.against}" if self.against else "")


@dataclass(frozen=True)
class Outcome:
    """A table of what was seen, one row per event, totals, and the claims."""

    rows: tuple[dict[str, Any], ...]
    totals: dict[str, Any]
    claims: tuple[Claim, ...]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"rows": list(self.rows), **self.totals, "claims": [asdict(claim) for claim in self.claims]}

    def text(self) -> str:
        """As a Markdown table, totals, claims."""
        header = list(self.rows[0]) if self.rows else []
        cells = [header, ["---"] * len(header), *([str(row[key]) for key in header] for row in self.rows)]
        table = [f"| {' | '.join(row)} |" for row in cells] if header else []
        totals = [", ".join(f"{key} {value}" for key, value in self.totals.items())]
        return "\n".join([*table, "", *totals, *(claim.line() for claim in self.claims)]) + "\n"
