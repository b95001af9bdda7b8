"""What every core, every link and the barrier did in one sampler step, as slices of time on tracks.

Packet by packet, as at the ``event`` level (`EventTimer`), whatever level the run was timed at. All times in
integer picoseconds from the start of the step; the images of a step follow one another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nsim.hw_models.mapping.mapping import Mapping
from nsim.reports.replay import Replay
from nsim.simulator.event_timing import EventTimer
from nsim.simulator.noc import EAST, WEST, Arrivals
from nsim.simulator.traffic import Packets
from nsim.units import PS_PER_NS

DIRECTIONS = ("east", "west", "north", "south")
Track = tuple[str, str]
"""A group of tracks and a track in it."""
CHIP: Track = ("chip", "ticks")
"""Every tick, and in it the part of the cores and that of the barrier."""


@dataclass(frozen=True)
class Slice:
    """Something that lasts from ``start_ps`` to ``end_ps``; slices of one track nest or follow each other.

    ``facts``: counts, and ``busy_ps``, how much of that time it was at work.
    """

    track: Track
    name: str
    start_ps: int
    end_ps: int
    facts: dict[str, int]


def timeline(replayed: Replay) -> Iterator[Slice]:
    """The slices of a step, tick by tick; on each track in order of start, an outer slice before its parts.

    Cores: ``neurons``, from the start of the tick until the core has visited its neurons and sent its
    packets, never idle; ``inputs``, from the first packet to come until the last is served. Links: from when
    the first packet is at the link until the last is over it. Where there is no packet there is no slice.
    """
    timer = EventTimer(replayed.mapping, replayed.calibration)
    place, tracks = replayed.mapping.placement, core_tracks(replayed.mapping)
    barrier_ps = round(replayed.calibration.barrier_ns(place.tiles, place.chips) * PS_PER_NS)
    spikes = replayed.counts.per_core["spike"]
    start = 0
    for image, tick in np.ndindex(spikes.shape[:2]):
        neurons_ps, packets = timer.sent(replayed.call, image, tick)
        arrivals = timer.arrivals(packets)
        served_ps = timer.served(packets, arrivals)
        end = start + int(max(neurons_ps.max(), served_ps.max()))
        yield Slice(CHIP, f"tick {tick}", start, end + barrier_ps, {"image": image, "tick": tick})
        yield Slice(CHIP, "cores", start, end, {})
        yield Slice(CHIP, "barrier", end, end + barrier_ps, {})
        for (group, core), done, fired in zip(
            tracks, neurons_ps.tolist(), spikes[image, tick].tolist(), strict=True
        ):
            facts = {"busy_ps": done, "spikes": fired}
            yield Slice((group, f"{core} neurons"), "neurons", start, start + done, facts)
        yield from _inputs(tracks, packets, arrivals, timer.work_ps(packets), served_ps, start)
        yield from _links(timer, arrivals, start)
        start = end + barrier_ps


def core_tracks(mapping: Mapping) -> list[Track]:
    """Layer, and number and tile, of every core."""
    place, layers = mapping.placement, mapping.layer_of_core
    digits = len(str(len(layers) - 1))
    return [
        (str(layer), f"core {core:0{digits}} ({x}, {y})")
        for core, (layer, x, y) in enumerate(zip(layers, place.mesh_x, place.mesh_y, strict=True))
    ]


def _inputs(
    tracks: list[Track],
    packets: Packets,
    arrivals: Arrivals,
    work_ps: np.ndarray,
    served_ps: np.ndarray,
    start: int,
) -> Iterator[Slice]:
    first_ps = np.full(len(tracks), np.iinfo(np.int64).max)
    np.minimum.at(first_ps, packets.target, arrivals.time_ps)
    count, synapses, busy_ps = (np.zeros(len(tracks), np.int64) for _ in range(3))
    for total, each in ((count, 1), (synapses, packets.synapses), (busy_ps, work_ps)):
        np.add.at(total, packets.target, each)
    for core in np.flatnonzero(count):
        group, name = tracks[core]
        facts = {
            "busy_ps": int(busy_ps[core]),
            "packets": int(count[core]),
            "synaptic_events": int(synapses[core]),
        }
        first, last = start + int(first_ps[core]), start + int(served_ps[core])
        yield Slice((group, f"{name} inputs"), "inputs", first, last, facts)


def _links(timer: EventTimer, arrivals: Arrivals, start: int) -> Iterator[Slice]:
    for direction, y, x in np.argwhere(arrivals.link_packets).tolist():
        at = direction, y, x
        packets = int(arrivals.link_packets[at])
        hop_ps = timer.mesh.service_x_ps if direction in (EAST, WEST) else timer.mesh.service_y_ps
        first, last = start + int(arrivals.link_first_ps[at]), start + int(arrivals.link_last_ps[at])
        facts = {"busy_ps": packets * hop_ps, "packets": packets}
        yield Slice(("links", f"({x}, {y}) {DIRECTIONS[direction]}"), "packets", first, last, facts)
