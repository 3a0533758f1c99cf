"""Other people's programs in environments of their own, which are asked by JSON on stdin and answer so on stdout."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnv3c.graph.errors import MissingError

_TIMEOUT_S = 600


@dataclass(frozen=True)
class Client:
    """Whose program it is, the script that asks it, and the file that says how the environment is made."""

    name: str
    script: Path
    requirements: str

    def answer(self, python: Path, question: object) -> Any:
        """What the script says, run by the environment's Python. Raises MissingError with its last line."""
        command, asked = (python, self.script), json.dumps(question)
        try:
            done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise self._failed(python, str(error)) from None
        if done.returncode != 0:
            raise self._failed(python, (done.stderr.strip().splitlines() or ["it said nothing"])[-1])
        return json.loads(done.stdout)

    def _failed(self, python: Path, why: str) -> MissingError:
        return MissingError(f"{self.name} in {python} failed: {why}; see {self.requirements}")
