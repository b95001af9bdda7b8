"""The command line, run in the tests' own process."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from nsim import cli


def nsim_exit_code(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run ``nsim`` with these arguments and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["nsim", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def nsim_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What ``nsim ... --json`` prints; it must end well."""
    assert nsim_exit_code(monkeypatch, *arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)
