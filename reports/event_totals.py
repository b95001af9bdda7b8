"""Events of a whole run by layer and core, added up over ticks."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nsim.reports.run_checks import read_table
from nsim.reports.run_folder import RunFolder
from nsim.simulator.core_counts import CORE_EVENTS


def event_totals(folder: RunFolder, layer_of_core: list[str]) -> pd.DataFrame:
    """Columns sampler_step, layer, core (missing beside the cores), event, count; no rows of 0.

    File by file: the events of a step by tick and core are large, their sums over ticks are not. Names are
    held as arrays of text and only indexed here, since there may be millions of rows.
    """
    beside = folder.all_steps("beside")
    outside = len(layer_of_core)
    layers = pd.array([*layer_of_core, *beside["layer"]], dtype="str")
    events = pd.array([*CORE_EVENTS, *beside["event"]], dtype="str")
    steps, places, kinds, counts = [], [], [], []
    for path in folder.steps("events"):
        table = read_table(path)
        own = np.flatnonzero(beside["sampler_step"] == int(path.stem))
        totals = np.stack([_over_ticks(table[event].to_numpy(), outside) for event in CORE_EVENTS])
        kind, core = np.nonzero(totals)
        places += [core, outside + own]
        kinds += [kind, len(CORE_EVENTS) + own]
        counts += [totals[kind, core], beside["count"].to_numpy()[own]]
        steps.append(np.full(len(core) + len(own), int(path.stem)))
    place = np.concatenate(places)
    return pd.DataFrame(
        {
            "sampler_step": np.concatenate(steps),
            "layer": layers.take(place),
            "core": pd.arrays.IntegerArray(place, mask=place >= outside),
            "event": events.take(np.concatenate(kinds)),
            "count": np.concatenate(counts),
        }
    )


def _over_ticks(counts: np.ndarray, cores: int) -> np.ndarray:
    """Sum a column of an events file, which holds every core of tick 0, then of tick 1, and so on."""
    return np.asarray(counts.reshape(-1, cores).sum(axis=0))
