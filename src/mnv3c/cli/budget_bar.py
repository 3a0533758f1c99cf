"""A bar on stderr over a budget of seconds, with a line of text that says what was found so far."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@dataclass(frozen=True)
class BudgetBar:
    """A bar that is being shown; without a terminal it shows nothing."""

    bar: "Progress"
    task: "TaskID"
    budget_s: float

    def show(self, elapsed_s: float, text: str) -> None:
        """Move the bar to seconds of the budget, with what was found so far."""
        self.bar.update(self.task, completed=min(elapsed_s, self.budget_s), description=text)

    def message(self, text: str) -> None:
        """Print a line above the bar, also without a terminal."""
        self.bar.console.print(text, soft_wrap=True, markup=False, highlight=False)


@contextmanager
def budget_bar(budget_s: float, first: str) -> Iterator[BudgetBar]:
    """Show a bar; `first` is the text to begin with."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    # Without a terminal the bar would leave an empty line.
    bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)
    with bar:
        yield BudgetBar(bar, bar.add_task(first, total=max(budget_s, 1e-3)), budget_s)
