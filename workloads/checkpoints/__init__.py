"""Bundled checkpoints, found by name."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent


def bundled_names() -> list[str]:
    """Names of the bundled models."""
    return sorted(path.stem for path in FOLDER.glob("*.pt"))


def find_checkpoint(name_or_path: str | Path) -> Path:
    """A bundled model's file by its name, or the path as it is."""
    bundled = FOLDER / f"{name_or_path}.pt"
    return bundled if str(name_or_path) in bundled_names() else Path(name_or_path)
