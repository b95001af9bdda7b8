"""What happens on every core in every tick, for a mapping given neuron by neuron.

The same events and the same schedule as `core_counts`, counted spike by spike over lists of packets.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nsim.frontends.network import Network
from nsim.hw_models.mapping.listed import ListedMapping
from nsim.simulator.call import Call
from nsim.simulator.core_counts import CORE_EVENTS, EventCounts


def listed_counts(mapping: ListedMapping, call: Call, ticks: int) -> EventCounts:
    """Events of the first ``ticks`` ticks of a call of one image; every synapse is a dense entry.

    A population at depth d runs time step t in tick t + d. A neuron is updated (``update_active``) when its
    state was not zero, or a spike or a current reached it; it is idle in every other tick.
    """
    network = mapping.network
    events = {event: np.zeros((ticks, mapping.core_count), np.int64) for event in CORE_EVENTS}
    for name, core_of in mapping.core_of.items():
        first = network.depth[name]
        steps = min(network.time_steps, ticks - first)
        spikes = np.ascontiguousarray(call.spikes[name][:steps, 0]).view(np.uint8)
        updated = updated_neurons(network, call, name)[:steps]
        fanout = mapping.fanouts[name]
        _count(
            spikes.reshape(steps, -1),
            updated.view(np.uint8).reshape(steps, -1),
            core_of.ravel(),
            (fanout.first, fanout.core, fanout.synapses),
            mapping.packet_sums[name],
            tuple(events[e][first : first + steps] for e in OF_NEURONS),
            tuple(events[e][first : first + steps] for e in OF_PACKETS),
        )
    events["update_idle"] += mapping.neurons_per_core - events["update_active"]
    return EventCounts(mapping, {event: counts[None] for event, counts in events.items()}, {})


OF_NEURONS = ("packet_out", "tile_local", "hop_x", "hop_y", "chip_crossing", "spike", "update_active")
"""Counted at the core of the neuron that fires; those of its packets in the order of `packet_sums`."""
OF_PACKETS = ("packet_in", "synaptic_event_dense")


def updated_neurons(network: Network, call: Call, name: str) -> np.ndarray:
    """Neurons that have something to do: a state that is not zero, or a spike or a current that reaches them.

    Bool [T, C, H, W] of the first image. Spikes that add up to nothing reach a neuron too; all channels
    alike: a projection with groups counts as if it had none.
    """
    _, height, width = network.population_by_name[name].shape
    reached = np.zeros((network.time_steps, height, width), bool)
    for p in network.incoming(name):
        if p.source in call.spikes:
            fired = call.spikes[p.source][:, 0].any(axis=1)
            rows = p.kernel.reach(0, fired.shape[1], height) > 0
            columns = p.kernel.reach(1, fired.shape[2], width) > 0
            reached |= np.einsum("ry,tyx,sx->trs", rows, fired.astype(np.float32), columns, optimize=True) > 0
    return np.ascontiguousarray(call.active[name][:, 0] | reached[:, None])


@njit(nogil=True, cache=True)
def _count(
    spikes: np.ndarray,
    updated: np.ndarray,
    core_of: np.ndarray,
    fanout: tuple[np.ndarray, np.ndarray, np.ndarray],
    sums: np.ndarray,
    of_neurons: tuple[np.ndarray, ...],
    of_packets: tuple[np.ndarray, ...],
) -> None:
    """Count one population: ``spikes`` and ``updated`` uint8 [steps, neurons]; counts [steps, cores] each."""
    first, target, synapses = fanout
    sent, local, hop_x, hop_y, crossed, fired, visited = of_neurons
    received, fed = of_packets
    for t in range(spikes.shape[0]):
        core, here = core_of[0], 0
        for neuron in range(spikes.shape[1]):
            if core_of[neuron] != core:  # neurons of one core mostly follow each other
                visited[t, core] += here
                core, here = core_of[neuron], 0
            here += updated[t, neuron]
            if spikes[t, neuron]:
                fired[t, core] += 1
                sent[t, core] += sums[0, neuron]
                local[t, core] += sums[1, neuron]
                hop_x[t, core] += sums[2, neuron]
                hop_y[t, core] += sums[3, neuron]
                crossed[t, core] += sums[4, neuron]
                for i in range(first[neuron], first[neuron + 1]):
                    received[t, target[i]] += 1
                    fed[t, target[i]] += synapses[i]
        visited[t, core] += here
