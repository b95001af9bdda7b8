"""The ``event`` level for a mapping given neuron by neuron: `event_timing` over lists of packets."""

from __future__ import annotations

import numpy as np
from numba import njit

from nsim.hw_models.mapping.listed import ListedMapping
from nsim.hw_models.spec import Calibration
from nsim.simulator.call import Call
from nsim.simulator.core_counts import EventCounts
from nsim.simulator.event_timing import EventTimer
from nsim.simulator.listed_counts import updated_neurons
from nsim.simulator.timing import TickTimes
from nsim.simulator.traffic import Packets


class ListedTimer(EventTimer):
    """Times calls of one image on a listed mapping: cores visit their neurons in the order of their index."""

    mapping: ListedMapping  # type: ignore[assignment]

    def __init__(self, mapping: ListedMapping, calibration: Calibration) -> None:
        self.mapping = mapping
        self.set_costs(mapping.placement, calibration)
        self.synapse_ps = np.full(mapping.core_count, self.cost_ps["synaptic_event_dense"])
        self._updated: dict[str, np.ndarray] = {}

    def times(self, call: Call, counts: EventCounts) -> TickTimes:
        """Times of as many ticks as ``counts`` has."""
        self._updated = {
            name: updated_neurons(self.mapping.network, call, name) for name in self.mapping.core_of
        }
        return super().times(call, counts)

    def sent(self, call: Call, image: int, tick: int) -> tuple[np.ndarray, Packets]:
        """The neuron side of one tick: when each core is done, int64 ps [cores], and what it sent."""
        network = self.mapping.network
        clock = np.zeros(self.mapping.core_count, np.int64)
        sent = [np.empty((4, 0), np.int64)]
        for name, core_of in self.mapping.core_of.items():
            step, cores, fanout = tick - network.depth[name], core_of.ravel(), self.mapping.fanouts[name]
            if not 0 <= step < network.time_steps:
                clock += np.bincount(cores, minlength=len(clock)) * self.cost_ps["update_idle"]
                continue
            spikes = call.spikes[name][step, image].ravel()
            packets = np.empty((4, int(np.diff(fanout.first)[spikes].sum())), np.int64)
            _visit(
                spikes.view(np.uint8),
                self._updated[name][step].ravel().view(np.uint8),
                cores,
                (fanout.first, fanout.core, fanout.synapses),
                (
                    self.cost_ps["update_idle"],
                    self.cost_ps["update_active"],
                    self.cost_ps["spike"],
                    self.cost_ps["packet_out"],
                ),
                clock,
                packets,
            )
            sent.append(packets)
        return clock, Packets(*np.concatenate(sent, axis=1))


@njit(nogil=True, cache=True)
def _visit(
    spikes: np.ndarray,
    updated: np.ndarray,
    core_of: np.ndarray,
    fanout: tuple[np.ndarray, np.ndarray, np.ndarray],
    cost_ps: tuple[int, int, int, int],
    clock: np.ndarray,
    packets: np.ndarray,
) -> None:
    """Every core visits its neurons from where its ``clock`` stands; out: clocks, and ``packets`` [4, n]."""
    first, target, synapses = fanout
    idle_ps, active_ps, spike_ps, packet_ps = cost_ps
    sent = 0
    for neuron in range(len(spikes)):
        core = core_of[neuron]
        clock[core] += active_ps if updated[neuron] else idle_ps
        if not spikes[neuron]:
            continue
        clock[core] += spike_ps
        for i in range(first[neuron], first[neuron + 1]):
            clock[core] += packet_ps
            packets[0, sent], packets[1, sent] = clock[core], core
            packets[2, sent], packets[3, sent] = target[i], synapses[i]
            sent += 1
