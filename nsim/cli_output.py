"""How commands speak: results on stdout, progress and remarks on stderr. rich is imported when needed."""

from __future__ import annotations

import json
import sys
from typing import Any


class progress_bar:
    """A progress bar on stderr, only on a terminal; the context value is ``callback(done, all, value)``."""

    def __init__(self, what: str, value_name: str = "") -> None:
        self.what = what
        self.value_name = value_name

    def __enter__(self) -> Any:
        from rich.console import Console
        from rich.progress import MofNCompleteColumn, Progress, TextColumn

        console = Console(stderr=True)
        columns = [*Progress.get_default_columns(), MofNCompleteColumn(), TextColumn("{task.fields[value]}")]
        self.progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self.task = self.progress.add_task(self.what, total=None, value="")
        self.progress.start()
        return self._advance

    def _advance(self, done: int, total: int, value: float | None = None) -> None:
        text = "" if value is None else f"{self.value_name} {value:.4f}"
        self.progress.update(self.task, completed=done, total=total, value=text)

    def __exit__(self, *error: object) -> None:
        self.progress.stop()


def remark(text: str) -> None:
    """A line on stderr for a person who waits; nothing when stderr is piped."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{text}\n")


def show(content: dict[str, Any] | list[Any], as_json: bool = False) -> None:
    """JSON for a dict, or when asked; tables and lines otherwise, at full width when piped."""
    if as_json or isinstance(content, dict):
        sys.stdout.write(json.dumps(content, indent=2, allow_nan=False) + "\n")
        return
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    for item in content:
        console.print(item, markup=False, highlight=False)
