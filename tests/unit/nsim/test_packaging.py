"""The folders, the package list and the symlinks tell the same story."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
ROOMS = ("frontends", "hw_models", "simulator", "workloads", "reports")
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_room_is_linked_into_the_front_door() -> None:
    for room in ROOMS:
        link = ROOT / "nsim" / room
        assert link.is_symlink(), f"nsim/{room} is not a symlink"
        assert link.readlink() == Path("..") / room


def test_every_folder_with_code_is_a_listed_package() -> None:
    found = {"nsim"}
    for room in ROOMS:
        for init in (ROOT / room).rglob("__init__.py"):
            found.add(".".join(("nsim", *init.parent.relative_to(ROOT).parts)))
    assert set(SETUP["packages"]) == found


def test_every_data_file_is_packaged() -> None:
    patterns = SETUP["package-data"]
    for room in ROOMS:
        for path in (ROOT / room).rglob("*"):
            if path.is_dir() or path.suffix == ".py" or "__pycache__" in path.parts:
                continue
            package = ".".join(("nsim", *path.parent.relative_to(ROOT).parts))
            assert any(path.match(p) for p in patterns.get(package, [])), f"{path} would not be installed"
