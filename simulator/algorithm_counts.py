"""Operations of the model as traced: what an operation counter on the torch model would count.

AC: one weight added to one target because of one spike, or taken off because of a signed one. MAC: one
weight times an analog value. Graded AC: one weight times a small integer. Spike product: a spike meets a
spike, or a count of such meetings, in attention; no weight takes part. Taps on padding do not count; an
up-sampled spike counts under every tap. What a gate keeps from running costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nsim.frontends.network import HostOp, Network, Projection
from nsim.simulator import attention

if TYPE_CHECKING:
    import pandas as pd

    from nsim.simulator.call import Call

COLUMNS = ("ac", "graded_ac", "mac", "spike_product", "elementwise", "updates", "spikes")


def algorithm_counts(call: Call) -> pd.DataFrame:
    """One row per layer and time step (-1: once per call), summed over the batch.

    Columns: layer, time_step, ac, graded_ac, mac, spike_product, elementwise (additions and scalings of
    analog tensors, one per element of a norm, Swish, ...), updates (neuron updates), spikes. A projection's
    operations stand under its own name, a population's updates and spikes under its name, a host op under
    its name.
    """
    import pandas as pd

    network, batch = call.network, len(call.eps)
    rows: list[dict[str, object]] = []

    def add(layer: str, step: int, **counts: int) -> None:
        rows.append({"layer": layer, "time_step": step, **dict.fromkeys(COLUMNS, 0), **counts})

    for population in network.populations:
        for projection in network.incoming(population.name):
            for step, counts in enumerate(_projection_counts(network, projection, call)):
                add(projection.name, step, **counts)
        images = _images(call, population.name)
        if population.kind == "neuron":
            for step, spikes in enumerate(call.spikes[population.name]):
                updates = int(images[step]) * population.size
                add(population.name, step, updates=updates, spikes=int(spikes.sum()))
        elif population.gate is not None:
            for step, n in enumerate(images):
                add(population.name, step, elementwise=int(n) * population.size)
    for op in network.host_ops:
        products = _spike_products(op, call)
        for step in range(network.time_steps) if op.every_step else (-1,):
            met = int(products[step]) if op.every_step else 0
            add(op.name, step, mac=batch * op.macs, elementwise=batch * op.elementwise, spike_product=met)
    return pd.DataFrame(rows)


def _images(call: Call, *populations: str) -> np.ndarray:
    """For how many images all of the ``populations`` run in each time step, int64 [T]."""
    everywhere = np.ones((call.network.time_steps, len(call.eps)), bool)
    running = [call.running[name] for name in populations if name in call.running]
    return np.logical_and.reduce([everywhere, *running]).sum(axis=1)


def _spike_products(op: HostOp, call: Call) -> np.ndarray:
    """Products of spikes with spikes in each time step, int64 [T]."""
    if op.kind != "attention":
        return np.zeros(call.network.time_steps, np.int64)
    return attention.products(op, [call.spikes[name] for name in op.inputs]).sum(axis=1)


def _projection_counts(network: Network, projection: Projection, call: Call) -> list[dict[str, int]]:
    """Counts of one projection at every time step."""
    images = _images(call, projection.source, projection.target)
    source = network.population_by_name[projection.source].shape
    target = network.population_by_name[projection.target].shape
    kernel = projection.kernel
    elements = kernel.c_out * target[1] * target[2]
    # a factor per time step multiplies every sum once
    scaled = elements if projection.step_factor is not None else 0
    if projection.source not in call.spikes:
        each = {"elementwise": elements + scaled}
        if not kernel.is_identity:
            each = {"mac": kernel.taps(source[1:], target[1:]), "elementwise": scaled}
        return [{name: int(n) * count for name, count in each.items()} for n in images]
    rows = kernel.reach(0, source[1], target[1]).sum(axis=0)
    columns = kernel.reach(1, source[2], target[2]).sum(axis=0)
    out_per_channel = kernel.c_out // (kernel.channels if kernel.is_identity else kernel.groups)
    spikes = call.spikes[projection.source]
    running = call.running.get(projection.target)
    if running is not None:
        spikes = spikes & running[..., None, None, None]
    per_step = np.einsum("tyx,y,x->t", spikes.sum(axis=(1, 2), dtype=np.int64), rows, columns)
    return [
        {"ac": int(n) * out_per_channel, "elementwise": int(m) * scaled}
        for n, m in zip(per_step, images, strict=True)
    ]
