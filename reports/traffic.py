"""How often the neurons of every core fired in a run: what a placement can be made for."""

from __future__ import annotations

import numpy as np

from nsim.reports.run import Run


def firing_rates(run: Run) -> np.ndarray:
    """Spikes per neuron and time step of every core, over all sampler steps and images (float64 [cores])."""
    cores = run.cores
    counts = run.counts()
    fired = counts[counts["event"] == "spike"]
    # a decoder is called once, after the sampler's steps
    calls = np.where(fired["sampler_step"] < run.manifest["sampler_steps"], run.manifest["sampler_steps"], 1)
    spikes = (fired["count"] / calls).groupby(fired["core"]).sum()
    neurons = np.prod([cores[f"{a}_end"] - cores[f"{a}_first"] for a in ("row", "column", "channel")], axis=0)
    steps = run.images * run.manifest["model"]["time_steps"]
    return spikes.reindex(cores["core"], fill_value=0).to_numpy(np.float64) / (neurons * steps)
