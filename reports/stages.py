"""A model's networks on their cores, one stage each: what is asked of all of them together.

Every network has chips of its own. While one is called, the cores of the other stand still: they take no
part in its ticks, but their chips are powered, so that floors are paid for all chips all the time.
"""

from __future__ import annotations

import pandas as pd

from nsim.hw_models.mapping.mapping import Mapping
from nsim.reports.step_meter import StepMeter, Timing
from nsim.simulator.engine import Precision


def stages_of(
    mapping: Mapping, calibration: str, timing: Timing, precision: Precision, threads: int | None
) -> tuple[StepMeter, ...]:
    """A meter for each network of a mapped model, in the order in which they are called."""
    meters, first, everything = [], 0, sum(part.core_count for part in mapping.parts)
    for part in mapping.parts:
        after = everything - first - part.core_count
        meters.append(StepMeter(part, calibration, timing, precision, threads, first, after))
        first += part.core_count
    return tuple(meters)


def all_cores(mapping: Mapping) -> pd.DataFrame:
    """The cores of all networks, one row each, numbered through, chips too; ``network`` 1: a decoder's."""
    frames, core, chip = [], 0, 0
    for i, part in enumerate(mapping.parts):
        frame = part.cores
        frames.append(frame.assign(core=frame["core"] + core, chip=frame["chip"] + chip, network=i))
        core, chip = core + part.core_count, chip + part.chips
    return pd.concat(frames, ignore_index=True)
