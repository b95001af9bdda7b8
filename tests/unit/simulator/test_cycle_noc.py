"""Routers with finite buffers: cases worked out by hand, every packet against SimPy, and full load."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nsim.simulator.cycle_noc import Delivery, Load, Routers, deliver
from nsim.simulator.noc import Mesh, route_packets
from nsim.simulator.reference_cycle_noc import deliver_one_by_one, steps_of


def random_load(cores: int, packets: int, span: int, work: int, seed: int) -> Load:
    """Packets between random cores, ready within ``span`` ps, that make up to ``work`` ps each."""
    rng = np.random.default_rng(seed)
    source = np.sort(rng.integers(0, cores, packets))
    ready = rng.integers(0, span, packets)
    ready = ready[np.lexsort((ready, source))]
    return Load(ready, source, rng.integers(0, cores, packets), rng.integers(0, work + 1, packets))


def assert_as_in_simpy(routers: Routers, tile: np.ndarray, load: Load) -> Delivery:
    """The kernel's delivery, found equal to SimPy's in every part."""
    found = deliver(routers, tile, load)
    expected, _ = deliver_one_by_one(routers, tile, steps_of(load, len(tile)))
    for part in fields(Delivery):
        np.testing.assert_array_equal(
            getattr(found, part.name), getattr(expected, part.name), err_msg=part.name
        )
    return found


@settings(max_examples=1000)
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
    assert_as_in_simpy(routers, tile, random_load(cores, packets, span, work, seed))


ROW = Mesh(3, 1, 10, 10)


def listed(packets: list[tuple[int, int, int]], work_ps: int) -> Load:
    """A load of packets (ready, source core, target core)."""
    ready, source, target = np.array(packets, np.int64).T
    return Load(ready, source, target, np.full(len(packets), work_ps, np.int64))


def test_alone_a_packet_takes_every_link_once_and_a_cycle_into_its_core() -> None:
    mesh = Mesh(4, 3, 41, 65)
    for source, target in np.ndindex(12, 12):
        (y, x), (to_y, to_x) = divmod(source, 4), divmod(target, 4)
        way = 41 * abs(to_x - x) + 65 * abs(to_y - y) + (21 if source == target else 1)
        found = assert_as_in_simpy(
            Routers(mesh, 21, 4, 1), np.arange(12), listed([(1000, source, target)], 7)
        )
        assert found.arrival_ps.tolist() == [1000 + way]
        assert found.served_ps[target] == 1000 + way + 7


def test_times_are_rounded_up_to_whole_cycles() -> None:
    """Ready at 1 ps: handed over at 4; two links of 10 ps take 12 each; the core's input a cycle."""
    found = assert_as_in_simpy(Routers(ROW, 1, 4, 4), np.arange(3), listed([(1, 0, 2)], 5))
    assert (found.handed_ps[0], found.arrival_ps[0], found.served_ps[2]) == (4, 4 + 24 + 4, 37)


def test_a_slow_core_holds_up_the_one_that_sends() -> None:
    """One place everywhere, five packets at once; the way is 2 links of 10 ps, the work 100 ps.

    The first is taken out as it arrives, at 21, and the second when that is served, at 121. Each of those
    behind moves up as a place becomes free, one cycle (1 ps) after it was left; the third waits in the
    core's buffer, the fourth in the router there, the fifth in the one before.
    """
    found = assert_as_in_simpy(Routers(ROW, 1, 1, 1), np.arange(3), listed([(0, 0, 2)] * 5, 100))
    assert found.served_ps[2] == 21 + 5 * 100
    assert found.arrival_ps.tolist() == [21, 32, 123, 223, 323]
    assert found.handed_ps[0] == 0 and found.stalled_ps[0] == found.last_handed_ps[0] - 4 > 0
    assert found.router_peak.max() == found.core_peak.max() == 1
    deep = assert_as_in_simpy(Routers(ROW, 1, 8, 1), np.arange(3), listed([(0, 0, 2)] * 5, 100))
    assert deep.handed_ps.tolist() == [0, 1, 2, 3, 4] and not deep.stalled_ps.any()
    assert deep.arrival_ps.tolist() == [21, 31, 41, 51, 61]


def test_inputs_are_granted_in_turn() -> None:
    """Four inputs of tile 1 of three keep wanting core 1: from the west, the east, and its own two cores."""
    tile = np.array([0, 1, 1, 1, 2])
    packets = [(0, source, 1) for source in (0, 2, 3, 4) for _ in range(4)]
    found = assert_as_in_simpy(Routers(Mesh(3, 1, 1, 1), 1, 4, 1), tile, listed(packets, 1))
    from_each = found.arrival_ps.reshape(4, 4)
    assert (np.sort(from_each.ravel()) == np.arange(1, 17)).all()  # a packet in every cycle
    assert (np.diff(from_each, axis=1) <= 4).all()  # and nobody waits for more than one turn of all


@pytest.mark.parametrize("buffer", [1, 2, 16])
@pytest.mark.parametrize(("width", "height", "per_tile"), [(8, 8, 1), (6, 5, 4), (64, 1, 2), (1, 64, 2)])
def test_at_full_load_every_packet_arrives(width: int, height: int, per_tile: int, buffer: int) -> None:
    """All cores have all they send ready at once, half of it for one core, whose input side is slow."""
    mesh, cores, each = Mesh(width, height, 3, 5), width * height * per_tile, 60
    rng = np.random.default_rng(buffer)
    source = np.repeat(np.arange(cores), each)
    target = np.where(rng.random(len(source)) < 0.5, cores // 3, rng.integers(0, cores, len(source)))
    load = Load(np.zeros_like(source), source, target, rng.integers(0, 9, len(source)))
    tile = np.arange(cores) // per_tile
    found = deliver(Routers(mesh, 2, buffer, 1), tile, load)
    (y, x), (to_y, to_x) = divmod(tile[source], width), divmod(tile[target], width)
    assert (found.handed_ps >= load.ready_ps).all()
    assert (found.arrival_ps > found.handed_ps + 3 * abs(x - to_x) + 5 * abs(y - to_y)).all()
    assert (found.served_ps >= np.bincount(target, load.work_ps, minlength=cores)).all()
    into, order = np.diff(np.sort(target)), np.lexsort((found.arrival_ps, target))
    assert (np.diff(found.arrival_ps[order])[into == 0] > 0).all()  # a core takes one packet at a time
    assert found.router_peak.max() == buffer and found.core_peak.max() == buffer
    assert found.stalled_ps.sum() > 0


def test_with_room_for_all_only_packets_ahead_in_the_same_buffer_hold_up() -> None:
    """Along a row, all to its end: nobody turns, so it is the mesh of `noc` but for whose turn it is, and
    the link into the last tile is as busy."""
    mesh = Mesh(9, 1, 7, 7)
    load = random_load(9, 400, 1500, 0, 5)
    load = Load(load.ready_ps, load.source, np.full_like(load.target, 8), load.work_ps)
    found = deliver(Routers(mesh, 1, 400, 1), np.arange(9), load)
    free = route_packets(mesh, load.ready_ps, load.source, load.target)
    away = load.source != 8
    assert not found.stalled_ps.any() and not found.held_ps.any()
    np.testing.assert_allclose(np.sort(found.arrival_ps[away]), np.sort(free.time_ps[away]) + 1, atol=9)


def test_what_cannot_be_is_refused() -> None:
    tile, load, routers = np.arange(3), listed([(0, 0, 2), (1, 0, 2)], 1), Routers(ROW, 1, 1, 1)
    with pytest.raises(ValueError, match="buffers of 0 packets and a cycle of 1 ps; both are at least 1"):
        deliver(Routers(ROW, 1, 0, 1), tile, load)
    with pytest.raises(ValueError, match="must not be below 0"):
        deliver(routers, tile, listed([(-1, 0, 2)], 1))
    with pytest.raises(ValueError, match="in order of source core, then of time"):
        deliver(routers, tile, listed([(1, 0, 2), (0, 0, 2)], 1))
    with pytest.raises(ValueError, match="cores on tiles that a mesh of 3 does not have"):
        deliver(routers, np.array([0, 1, 3]), load)
    with pytest.raises(ValueError, match="packets between cores that are not among the 3 there are"):
        deliver(routers, tile, listed([(0, 0, 3)], 1))
