"""What a result was made with, so that it can be made again."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = ("numpy", "numba", "llvmlite", "torch", "pandas", "pyarrow", "scipy")


def provenance() -> dict[str, object]:
    """Versions, source revision, machine and command line. No time of day: equal runs give equal files."""
    from nsim import __version__

    return {
        "nsim": __version__,
        "revision": _revision(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "machine": f"{platform.system()} {platform.machine()}",
        "command": sys.argv[1:],
    }


def _revision() -> str | None:
    """Commit of the source tree nsim runs from; None for an installed copy."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        asked = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return asked.stdout.strip() or None
