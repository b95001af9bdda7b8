"""The gallery in docs/: the page shows every figure that there is, and says what made it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nsim.reports.run_plots import FIGURES

ROOT = Path(__file__).parents[3]
LARGEST_BYTES = 1_500_000


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs/gallery.md").read_text()


def test_every_picture_is_shown_once_and_no_other(page: str) -> None:
    shown = re.findall(r"!\[[^\]]+\]\(gallery/([^)]+)\)", page)
    pictures = sorted((ROOT / "docs/gallery").iterdir())
    assert sorted(shown) == [picture.name for picture in pictures]
    assert {f"{figure}.png" for figure in FIGURES} <= set(shown)
    assert sum(picture.stat().st_size for picture in pictures) < LARGEST_BYTES


def test_the_commands_on_the_page_are_those_of_make_gallery(page: str) -> None:
    recipe = (ROOT / "Makefile").read_text().partition("\ngallery:")[2].partition("\n\n")[0]
    commands = re.findall(r"\$\(BIN\)/(nsim .+)", recipe)
    assert len(commands) == 3
    for command in commands:
        assert command.replace("$(GALLERY)", "runs/gallery") in page
