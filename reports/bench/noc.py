"""Packets per second through a mesh, against SimPy playing the same rules."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator

import numpy as np

from nsim.reports.bench.measure import Measurement, best_of
from nsim.simulator.cycle_noc import Load, Routers, deliver
from nsim.simulator.noc import Mesh, route_packets

PACKETS, SIMPY_PACKETS = 1_000_000, 2_000
REPEATS = 5
SERVICE_PS = 1_000
LOAD = 0.25
"""Packets that each tile sends per service time of a link: the busiest links of an 8x8 mesh are half full."""
PLACES = 4
"""In every buffer, at the ``cycle`` level."""


def noc_event(side: int) -> Iterator[Measurement]:
    """The ``event`` level on a square mesh, uniform random pairs."""
    mesh, traffic = Mesh(side, side, SERVICE_PS, SERVICE_PS), _traffic(side, PACKETS)
    (ours,) = best_of(REPEATS, lambda: route_packets(mesh, *traffic))
    rival = None
    if importlib.util.find_spec("simpy"):
        from nsim.simulator.reference_noc import route_one_by_one

        start = time.perf_counter()
        route_one_by_one(mesh, *_traffic(side, SIMPY_PACKETS))
        rival = SIMPY_PACKETS / (time.perf_counter() - start) / 1e6
    rate = PACKETS / ours / 1e6
    yield Measurement(f"noc_event_{side}x{side}", rate, "Mpacket/s", "simpy", rival, less_is_better=False)


def noc_cycle(side: int) -> Iterator[Measurement]:
    """The ``cycle`` level on a square mesh, a core per tile, the same traffic; input sides keep up."""
    routers, tile = Routers(Mesh(side, side, SERVICE_PS, SERVICE_PS), 0, PLACES, 1), np.arange(side * side)

    def load(packets: int) -> Load:
        departure, source, target = _traffic(side, packets)
        return Load(departure, source, target, np.full(packets, SERVICE_PS, np.int64))

    many = load(PACKETS)
    (ours,) = best_of(REPEATS, lambda: deliver(routers, tile, many))
    rival = None
    if importlib.util.find_spec("simpy"):
        from nsim.simulator.reference_cycle_noc import deliver_one_by_one, steps_of

        steps = steps_of(load(SIMPY_PACKETS), len(tile))
        start = time.perf_counter()
        deliver_one_by_one(routers, tile, steps)
        rival = SIMPY_PACKETS / (time.perf_counter() - start) / 1e6
    rate = PACKETS / ours / 1e6
    yield Measurement(f"noc_cycle_{side}x{side}", rate, "Mpacket/s", "simpy", rival, less_is_better=False)


def _traffic(side: int, packets: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Departures in ps, sources and targets; packets leave each tile in order of time, as cores send them."""
    rng = np.random.default_rng(0)
    tiles = side * side
    source = np.sort(rng.integers(0, tiles, packets))
    departure = rng.integers(0, round(packets / tiles / LOAD * SERVICE_PS), packets)
    departure = departure[np.lexsort((departure, source))]
    return departure, source, rng.integers(0, tiles, packets)
