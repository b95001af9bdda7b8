"""Operations of the model as traced: what an operation counter on the torch model would count.

AC: one weight added to one target because of one spike. MAC: one weight times an analog value. Graded AC:
one weight times a small integer. Taps on padding do not count; an up-sampled spike counts under every tap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nsim.frontends.network import Network, Projection

if TYPE_CHECKING:
    import pandas as pd

    from nsim.simulator.engine import Call

COLUMNS = ("ac", "graded_ac", "mac", "elementwise", "updates", "spikes")


def algorithm_counts(call: Call) -> pd.DataFrame:
    """One row per layer and time step (-1: once per call), summed over the batch.

    Columns: layer, time_step, ac, graded_ac, mac, elementwise (additions and scalings of analog tensors,
    one per element of a norm, Swish, ...), updates (neuron updates), spikes. A projection's operations
    stand under its own name, a population's updates and spikes under its name, a host op under its name.
    """
    import pandas as pd

    network, batch = call.network, len(call.eps)
    rows: list[dict[str, object]] = []

    def add(layer: str, step: int, **counts: int) -> None:
        rows.append({"layer": layer, "time_step": step, **dict.fromkeys(COLUMNS, 0), **counts})

    for population in network.populations:
        for projection in network.incoming(population.name):
            for step, counts in enumerate(_projection_counts(network, projection, call, batch)):
                add(projection.name, step, **counts)
        if population.kind == "neuron":
            for step, spikes in enumerate(call.spikes[population.name]):
                add(population.name, step, updates=batch * population.size, spikes=int(spikes.sum()))
    for op in network.host_ops:
        for step in range(network.time_steps) if op.every_step else (-1,):
            add(op.name, step, mac=batch * op.macs, elementwise=batch * op.elementwise)
    return pd.DataFrame(rows)


def _projection_counts(
    network: Network, projection: Projection, call: Call, batch: int
) -> list[dict[str, int]]:
    """Counts of one projection at every time step."""
    source = network.population_by_name[projection.source].shape
    target = network.population_by_name[projection.target].shape
    kernel = projection.kernel
    elements = batch * kernel.c_out * target[1] * target[2]
    # a factor per time step multiplies every sum once
    scaled = elements if projection.step_factor is not None else 0
    if projection.source not in call.spikes:
        counts = {"elementwise": elements + scaled}
        if not kernel.is_identity:
            counts = {"mac": batch * kernel.taps(source[1:], target[1:]), "elementwise": scaled}
        return [counts] * network.time_steps
    rows = kernel.reach(0, source[1], target[1]).sum(axis=0)
    columns = kernel.reach(1, source[2], target[2]).sum(axis=0)
    out_per_channel = kernel.c_out // (kernel.channels if kernel.is_identity else kernel.groups)
    per_step = np.einsum(
        "tyx,y,x->t", call.spikes[projection.source].sum(axis=(1, 2), dtype=np.int64), rows, columns
    )
    return [{"ac": int(n) * out_per_channel, "elementwise": scaled} for n in per_step]
