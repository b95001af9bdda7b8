"""Imports go one way, and nothing heavy is imported before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ORDER = ["frontends", "hw_models", "simulator", "workloads", "reports"]
TORCH_HOMES = {"frontends", "workloads"}


def _imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("room", ORDER)
def test_rooms_import_only_from_those_before_them(room: str) -> None:
    allowed = set(ORDER[: ORDER.index(room) + 1])
    for path in (ROOT / room).rglob("*.py"):
        for name in _imported(ast.parse(path.read_text())):
            parts = name.split(".")
            if parts[0] == "nsim" and len(parts) > 1 and parts[1] in ORDER:
                assert parts[1] in allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_torch_stays_in_its_rooms() -> None:
    for room in ORDER:
        for path in (ROOT / room).rglob("*.py"):
            uses = any(n.split(".")[0] == "torch" for n in _imported(ast.parse(path.read_text())))
            assert not uses or room in TORCH_HOMES, f"{path.relative_to(ROOT)} imports torch"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("nsim.cli", {"torch", "numba", "pandas", "numpy", "matplotlib", "brian2", "rich.progress"}),
        ("nsim.frontends.network", {"torch", "numba", "pandas", "matplotlib"}),
        ("nsim.hw_models.mapping.mapping", {"torch", "numba", "matplotlib"}),
        ("nsim.simulator.engine", {"torch", "matplotlib", "brian2"}),
        ("nsim.reports.run", {"torch", "matplotlib", "brian2"}),
    ],
)
def test_importing_does_not_load(module: str, absent: set[str]) -> None:
    code = f"import sys, {module}; print(*(m for m in {sorted(absent)!r} if m in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []
