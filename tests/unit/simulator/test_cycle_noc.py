"""Routers with finite buffers: cases worked out by hand, every packet against SimPy, and full load."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nsim.simulator.cycle_noc import LINKS, Delivery, Load, Routers, deliver
from nsim.simulator.noc import Mesh, route_packets
from nsim.simulator.reference_cycle_noc import deliver_one_by_one, steps_of


def random_load(cores: int, packets: int, span: int, work: int, seed: int) -> Load:
    """Packets between random cores, ready within ``span`` ps, that make up to ``work`` ps each."""
    rng = np.random.default_rng(seed)
    source = np.sort(rng.integers(0, cores, packets))
    ready = rng.integers(0, span, packets)
    ready = ready[np.lexsort((ready, source))]
    return Load(ready, source, rng.integers(0, cores, packets), rng.integers(0, work + 1, packets))


def both(routers: Routers, tile: np.ndarray, load: Load) -> Delivery:
    """The kernel's delivery, found equal to SimPy's in every part."""
    found = deliver(routers, tile, load)
    expected, _ = deliver_one_by_one(routers, tile, steps_of(load, len(tile)))
    for part in fields(Delivery):
        np.testing.assert_array_equal(
            getattr(found, part.name), getattr(expected, part.name), err_msg=part.name
        )
    return found


@settings(max_examples=600)
@given(
    width=st.integers(1, 5),
    height=st.integers(1, 5),
    cores=st.integers(1, 30),
    service=st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 5)),
    buffer=st.integers(1, 5),
    cycle=st.sampled_from([1, 1, 2, 3, 7]),
    packets=st.integers(1, 80),
    span=st.integers(1, 120),
    work=st.sampled_from([0, 3, 30]),
    seed=st.integers(0, 2**32),
)
@example(1, 1, 1, (1, 1, 1), 1, 1, 20, 1, 9, 0)
@example(9, 1, 12, (3, 2, 1), 1, 1, 80, 20, 9, 1)
@example(1, 9, 12, (3, 2, 1), 1, 2, 80, 20, 9, 2)
@example(3, 3, 30, (5, 5, 5), 2, 1, 300, 1, 50, 3)
@example(4, 4, 16, (4, 6, 2), 1, 1, 400, 50, 3, 4)
def test_every_packet_as_in_simpy(
    width: int,
    height: int,
    cores: int,
    service: tuple[int, int, int],
    buffer: int,
    cycle: int,
    packets: int,
    span: int,
    work: int,
    seed: int,
) -> None:
    x, y, local = service
    routers = Routers(Mesh(width, height, x, y), local, buffer, cycle)
    tile = np.random.default_rng(seed).integers(0, width * height, cores)
    both(routers, tile, random_load(cores, packets, span, work, seed))
