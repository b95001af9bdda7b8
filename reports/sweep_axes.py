"""What a sweep can vary, one line each; flags, plan files, table columns and run options all follow.

Imported at the start of the command line: nothing heavy here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Value = int | float | str | None
"""Value of an axis; None where the model's or the chip's own is to be taken."""


@dataclass(frozen=True)
class Axis:
    """One thing to vary: the keyword ``name`` of ``stage`` (nsim.load, nsim.map or nsim.run).

    ``default`` is its value where a sweep names none, ``least`` the smallest it can take. ``used`` says where
    a run's manifest holds the value that None stood for. ``makes_images``: other values, other images; what
    depends on images alone, such as their quality, is worked out once for all points that agree in these.
    ``choices``: the only values there are, where they are few. ``or_text``: text with a
    "=" in it is a value too. ``none``: what None is called where it stands for no other value.
    """

    name: str
    kind: type[int] | type[float] | type[str]
    stage: Literal["load", "map", "run"]
    help: str
    default: Value = None
    least: int | None = None
    used: tuple[str, ...] = ()
    makes_images: bool = False
    choices: tuple[str, ...] = ()
    or_text: bool = False
    none: str = ""


AXES = (
    Axis("time_steps", int, "load", "time steps T", None, 1, ("model", "time_steps"), makes_images=True),
    Axis(
        "v_threshold",
        float,
        "load",
        "firing thresholds, of all layers or layer by layer (1+layer=0.997)",
        None,
        0,
        ("model", "v_threshold"),
        makes_images=True,
        or_text=True,
    ),
    Axis("chip", str, "map", "chips, by name or file", "loihi"),
    Axis(
        "policy",
        str,
        "map",
        "ways with analog streams",
        "expand",
        makes_images=True,
        choices=("expand", "host", "graded", "colocate"),
    ),
    Axis("schedule", str, "map", "schedules", "pipelined", choices=("pipelined", "layerwise")),
    Axis(
        "weight_bits",
        int,
        "map",
        "bits that weights are rounded to, or real",
        None,
        2,
        ("weight_bits",),
        makes_images=True,
        none="real",
    ),
    Axis("placement", str, "map", "placements", "optimised", choices=("optimised", "row-major")),
    Axis("calibration", str, "run", "sets of figures of the chip", None, None, ("calibration",)),
    Axis("timing", str, "run", "timing of ticks", "analytic", choices=("analytic", "event", "cycle")),
    Axis(
        "sampler",
        str,
        "run",
        "samplers with their steps, as ddim:10",
        None,
        None,
        ("sampler",),
        makes_images=True,
    ),
    Axis("seed", int, "run", "seeds of the noise", 0, 0, makes_images=True),
    Axis("images", int, "run", "images per point", 1, 1),
)
"""Slowest first: points that share a model and a mapping stand together, so that these are made once."""
