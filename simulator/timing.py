"""How long each tick takes, by closed formulas: the busiest core, then the barrier.

``analytic`` level (the published "simple" model of SANA-FE): in one tick a core spends
N = idle and active updates, spikes and outgoing packets on its neurons, and
M = incoming packets and synaptic events on its inputs; the two halves overlap. The tick takes
max over cores of max(N, M), plus the barrier over the tiles and chips in use. Where chips are shared in
rounds, one is loaded before the first tick of each. The ``event`` level, packet by packet, is in
`event_timing`; the ``cycle`` level, with finite buffers, in `cycle_timing`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nsim.hw_models.mapping.mapping import Mapping
from nsim.hw_models.spec import Calibration
from nsim.simulator.core_counts import EventCounts

NEURON_EVENTS = ("update_idle", "update_active", "spike", "packet_out")
INPUT_EVENTS = ("packet_in", "synaptic_event_conv", "synaptic_event_dense")


@dataclass(frozen=True, eq=False)
class BufferUse:
    """How full the mesh's buffers, of ``places`` packets each, got in every tick: [B, ticks] each.

    ``router_peak`` and ``core_peak``: most packets in one input buffer of a router, and of a core;
    ``routers_full`` and ``cores_full``: how many of these buffers were full at some time. ``stalled_ns``: how
    long cores stood still with a packet for which there was no room, all together; ``stalled_core``: id of
    the one that did longest. ``held_ns``: how long a packet was foremost and its output free, but no room
    ahead, all outputs together.
    """

    places: int
    router_peak: np.ndarray
    core_peak: np.ndarray
    routers_full: np.ndarray
    cores_full: np.ndarray
    stalled_ns: np.ndarray
    stalled_core: np.ndarray
    held_ns: np.ndarray


@dataclass(frozen=True, eq=False)
class TickTimes:
    """Time of every tick: ``core_ns`` (the busiest core) and ``barrier_ns``, float64 [B, ticks].

    ``busiest`` [B, ticks]: id of that core. ``left_out``: events whose time no source gives; the times are
    a lower bound by that much. ``buffers``: where buffers are finite (the ``cycle`` level), their use.
    ``load_ns`` [ticks]: how long a chip is loaded before the tick; None where none ever is.
    """

    core_ns: np.ndarray
    barrier_ns: np.ndarray
    busiest: np.ndarray
    left_out: tuple[str, ...]
    buffers: BufferUse | None = None
    load_ns: np.ndarray | None = None

    @property
    def tick_ns(self) -> np.ndarray:
        """All of every tick's time [B, ticks]."""
        worked = self.core_ns + self.barrier_ns
        return worked if self.load_ns is None else worked + self.load_ns

    @property
    def call_ns(self) -> np.ndarray:
        """Time of one image's call [B]."""
        return self.tick_ns.sum(axis=1)


def analytic_times(counts: EventCounts, calibration: Calibration) -> TickTimes:
    """Tick times by the closed formulas with one calibration's figures."""
    cost = {event: calibration.time_ns(event) for event in (*NEURON_EVENTS, *INPUT_EVENTS)}

    def busy(events: tuple[str, ...]) -> np.ndarray:
        known = [cost[e] * counts.per_core[e] for e in events if cost[e]]
        return np.asarray(sum(known, np.zeros_like(counts.per_core["spike"], dtype=np.float64)))

    return slowest_core(np.maximum(busy(NEURON_EVENTS), busy(INPUT_EVENTS)), counts, calibration)


def slowest_core(
    busy_ns: np.ndarray, counts: EventCounts, calibration: Calibration, buffers: BufferUse | None = None
) -> TickTimes:
    """Tick times from how long each core is busy, float64 [B, ticks, cores]: the longest, and the barrier."""
    core_ns, busiest = busy_ns.max(axis=2), busy_ns.argmax(axis=2)
    load_ns = None
    if counts.rounds is not None:
        core_ns, busiest, load_ns = _round_after_round(busy_ns, counts, calibration)
    place = counts.mapping.placement
    barrier = calibration.barrier_ns(place.tiles, place.chips)
    happened = {event for event, n in counts.per_core.items() if n.any()}
    happened |= {event for _, event in counts.beside}
    left_out = tuple(sorted(e for e in happened if calibration.time_ns(e) is None))
    return TickTimes(core_ns, np.full_like(core_ns, barrier), busiest, left_out, buffers, load_ns)


def _round_after_round(
    busy_ns: np.ndarray, counts: EventCounts, calibration: Calibration
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Time of the busiest core, its id [B, ticks of all rounds], and of loading a chip [ticks].

    Cores that keep their places while others take turns look at their neurons in those ticks too.
    """
    mapping, rounds = counts.mapping, counts.rounds
    assert isinstance(mapping, Mapping) and rounds is not None
    held = np.concatenate([grid.used["compartments"].ravel() for grid in mapping.grids.values()])
    waiting = int(np.argmax(held * mapping.resident))
    waiting_ns = (calibration.time_ns("update_idle") or 0.0) * (held * mapping.resident)[waiting]
    core_ns, busiest, load_ns = [], [], []
    for r, (cores, ticks) in enumerate(zip(rounds.spans, rounds.ticks, strict=True)):
        own = busy_ns[:, :ticks, cores]
        core_ns.append(own.max(axis=2))
        busiest.append(own.argmax(axis=2) + cores.start)
        if r:
            busiest[r] = np.where(core_ns[r] < waiting_ns, waiting, busiest[r])
            core_ns[r] = np.maximum(core_ns[r], waiting_ns)
        load_ns.append(np.where(np.arange(ticks) == 0, calibration.time_ns("config_load") or 0.0, 0.0))
    return np.concatenate(core_ns, axis=1), np.concatenate(busiest, axis=1), np.concatenate(load_ns)
