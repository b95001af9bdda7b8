"""A model's networks on their cores: each plays, counts and times its own calls.

Every network has chips of its own. While one is called, the cores of the other stand still: they take no
part in its ticks, but their chips are powered, so that floors are paid for all chips all the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from nsim.hw_models.mapping.mapping import Mapping
from nsim.hw_models.spec import Calibration
from nsim.simulator.core_counts import CORE_EVENTS, CoreCounter, EventCounts
from nsim.simulator.engine import Call, Engine, Precision
from nsim.simulator.event_timing import EventTimer
from nsim.simulator.link_loads import LinkCounter
from nsim.simulator.timing import TickTimes, analytic_times

Timing = Literal["analytic", "event"]
"""How ticks are timed: by closed formulas (a lower bound), or packet by packet through the mesh."""


class Stage:
    """One network of a mapped model; its cores are ``first_core`` and those that follow, of ``all_cores``."""

    def __init__(
        self,
        mapping: Mapping,
        first_core: int,
        all_cores: int,
        calibration: Calibration,
        precision: Precision,
        timing: Timing,
        threads: int | None,
    ) -> None:
        self.mapping = mapping
        self.first_core, self.all_cores = first_core, all_cores
        self.engine = Engine(mapping.model.network, precision, threads)
        self.counter = CoreCounter(mapping)
        self.links = LinkCounter(mapping)
        self.times = _tick_timer(timing, mapping, calibration)

    def events_table(self, counts: EventCounts) -> pa.Table:
        """Columns tick, core, and one per event: every tick and core of the whole, images added up."""
        _, ticks, cores = counts.per_core["spike"].shape
        after = self.all_cores - self.first_core - cores
        columns = {
            "tick": np.repeat(np.arange(ticks, dtype=np.int32), self.all_cores),
            "core": np.tile(np.arange(self.all_cores, dtype=np.int32), ticks),
        }
        for event in CORE_EVENTS:
            total = counts.per_core[event].sum(axis=0)
            columns[event] = np.pad(total, ((0, 0), (self.first_core, after))).ravel()
        return pa.table(columns)

    def latency_table(self, times: TickTimes) -> pd.DataFrame:
        """One row per image and tick."""
        images, ticks = times.core_ns.shape
        busiest = times.busiest.ravel()
        return pd.DataFrame(
            {
                "image": np.repeat(np.arange(images), ticks),
                "tick": np.tile(np.arange(ticks), images),
                "core_ns": times.core_ns.ravel(),
                "barrier_ns": times.barrier_ns.ravel(),
                "time_ns": (times.core_ns + times.barrier_ns).ravel(),
                "busiest_core": busiest + self.first_core,
                "busiest_layer": self.mapping.layer_of_core[busiest],
            }
        )


def stages_of(
    mapping: Mapping, calibration: Calibration, precision: Precision, timing: Timing, threads: int | None
) -> list[Stage]:
    """The networks of a mapped model, in the order in which they are called."""
    stages, first = [], 0
    for part in mapping.parts:
        everything = sum(p.core_count for p in mapping.parts)
        stages.append(Stage(part, first, everything, calibration, precision, timing, threads))
        first += part.core_count
    return stages


def all_cores(mapping: Mapping) -> pd.DataFrame:
    """The cores of all networks, one row each, numbered through; chips likewise."""
    frames, core, chip = [], 0, 0
    for part in mapping.parts:
        frame = part.cores
        frames.append(frame.assign(core=frame["core"] + core, chip=frame["chip"] + chip))
        core, chip = core + part.core_count, chip + part.chips
    return pd.concat(frames, ignore_index=True)


def beside_cores(stages: list[Stage]) -> pd.DataFrame:
    """What one image's call of each network costs beside the cores: network, layer, event, count."""
    rows = [
        (i, layer, event, count)
        for i, stage in enumerate(stages)
        for (layer, event), count in stage.counter.per_call.items()
    ]
    return pd.DataFrame(rows, columns=["network", "layer", "event", "count"])


def _tick_timer(
    timing: Timing, mapping: Mapping, calibration: Calibration
) -> Callable[[Call, EventCounts], TickTimes]:
    if timing == "event":
        return EventTimer(mapping, calibration).times
    return lambda _, counts: analytic_times(counts, calibration)
