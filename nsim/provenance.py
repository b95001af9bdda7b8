"""What a result was made with, so that it can be made again."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = ("numpy", "numba", "llvmlite", "torch", "pandas", "pyarrow", "scipy")
WITHOUT_EFFECT = {
    **dict.fromkeys(["--out", "--resume", "--threads", "--workers", "--dask", "--energy"], True),
    "--json": False,
}
"""Options that change no number of a run, and whether a value follows them."""


def provenance() -> dict[str, object]:
    """Versions, source revision, machine and command line. No time of day: equal runs give equal files."""
    from nsim import __version__

    return {
        "nsim": __version__,
        "revision": _revision(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "machine": f"{platform.system()} {platform.machine()}",
        "command": _command(sys.argv[1:]),
    }


def _command(arguments: list[str]) -> list[str]:
    """The command line without what cannot change a number, so that equal runs give equal files."""
    kept, words = [], iter(arguments)
    for word in words:
        name = word.partition("=")[0]
        if name in WITHOUT_EFFECT:
            if WITHOUT_EFFECT[name] and "=" not in word:
                next(words, None)
        else:
            kept.append(word)
    return kept


def _revision() -> str | None:
    """Commit of the source tree nsim runs from, "-dirty" where it was changed; None for an installed copy."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        asked = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return asked.stdout.strip() or None
