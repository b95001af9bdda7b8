"""The mesh: cases worked out by hand, and every packet's arrival against SimPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nsim.simulator.noc import EAST, NORTH, SOUTH, WEST, Mesh, route_packets, serve_in_order
from nsim.simulator.reference_noc import route_one_by_one


def traffic(mesh: Mesh, packets: int, span: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Departures within ``span`` ps, in no order, between random tiles."""
    rng = np.random.default_rng(seed)
    tiles = mesh.width * mesh.height
    return rng.integers(0, span, packets), rng.integers(0, tiles, packets), rng.integers(0, tiles, packets)


def route(mesh: Mesh, packets: list[tuple[int, int, int]]) -> list[int]:
    """Arrivals of packets (departure, source, target), the same by both models."""
    columns = np.array(packets).T
    arrivals = route_packets(mesh, *columns).time_ps.tolist()
    assert route_one_by_one(mesh, *columns).time_ps.tolist() == arrivals
    return arrivals


def test_alone_a_packet_takes_the_service_time_of_every_hop() -> None:
    mesh = Mesh(5, 4, 41, 65)
    for source in range(20):
        for target in range(20):
            (y, x), (to_y, to_x) = divmod(source, 5), divmod(target, 5)
            expected = 1000 + 41 * abs(to_x - x) + 65 * abs(to_y - y)
            assert route(mesh, [(1000, source, target)]) == [expected]


def test_a_link_serves_one_packet_after_the_other() -> None:
    row = Mesh(4, 1, 10, 10)
    # the second waits for the first at the first link only; the third finds a free link
    assert route(row, [(0, 0, 3), (4, 0, 3), (50, 0, 3)]) == [30, 40, 80]
    # one that enters half-way at 12 has its link first, and holds up the one that comes at 20
    assert route(row, [(0, 0, 3), (12, 2, 3)]) == [32, 22]
    # the two directions of a row do not meet
    assert route(row, [(0, 0, 3), (0, 3, 0)]) == [30, 30]


def test_ties_go_by_port_then_packet_id() -> None:
    """All want the link from the middle (tile 4) of a 3 x 3 mesh to the north (tile 7) at 10 ps."""
    mesh = Mesh(3, 3, 10, 10)
    east, west, south, own, own_again = (0, 5, 7), (0, 3, 7), (0, 1, 7), (10, 4, 7), (10, 4, 7)
    assert route(mesh, [east, west, south, own, own_again]) == [60, 50, 40, 20, 30]
    assert route(mesh, [own, east, own_again, west, south]) == [20, 60, 30, 50, 40]
    assert route(mesh, [east, west]) == [30, 20]


def test_links_that_take_no_time_keep_the_order_of_packets() -> None:
    """At 5 ps all reach the link from tile 2 to tile 5: its own two, then as the row brings them."""
    mesh = Mesh(3, 2, 0, 10)
    assert route(mesh, [(5, 1, 5), (5, 2, 5), (5, 2, 5), (5, 0, 5)]) == [35, 15, 25, 45]


@settings(max_examples=1500)
@given(
    width=st.integers(1, 6),
    height=st.integers(1, 6),
    service_x_ps=st.integers(0, 6),
    service_y_ps=st.integers(0, 6),
    packets=st.integers(1, 60),
    span=st.integers(1, 80),
    seed=st.integers(0, 2**32),
)
@example(1, 1, 3, 2, 20, 10, 0)
@example(9, 1, 3, 2, 60, 20, 1)
@example(1, 9, 3, 2, 60, 20, 2)
@example(4, 4, 5, 5, 300, 1, 3)
@example(19, 4, 41, 65, 300, 400, 4)
def test_every_packet_arrives_as_in_simpy(
    width: int, height: int, service_x_ps: int, service_y_ps: int, packets: int, span: int, seed: int
) -> None:
    mesh = Mesh(width, height, service_x_ps, service_y_ps)
    departures, source, target = traffic(mesh, packets, span, seed)
    routed = route_packets(mesh, departures, source, target)
    expected = route_one_by_one(mesh, departures, source, target)
    np.testing.assert_array_equal(routed.time_ps, expected.time_ps)
    for links in ("link_packets", "link_first_ps", "link_last_ps"):
        np.testing.assert_array_equal(getattr(routed, links), getattr(expected, links), links)


def test_heavy_traffic_is_conserved_and_never_faster_than_alone() -> None:
    mesh = Mesh(23, 7, 3, 5)
    departures, source, target = traffic(mesh, 50_000, 5_000, seed=7)
    routed = route_packets(mesh, departures, source, target)
    x, y = target % 23 - source % 23, target // 23 - source // 23
    hops = {EAST: x.clip(0), WEST: (-x).clip(0), NORTH: y.clip(0), SOUTH: (-y).clip(0)}
    for direction, expected in hops.items():
        assert routed.link_packets[direction].sum() == expected.sum()
    wait = routed.time_ps - departures - 3 * abs(x) - 5 * abs(y)
    assert wait.min() == 0 and wait.max() > 100
    assert not wait[source == target].any()


def test_the_order_in_which_packets_are_listed_does_not_matter_without_ties() -> None:
    mesh = Mesh(5, 5, 3, 4)
    _, source, target = traffic(mesh, 2000, 1, seed=3)
    departures = np.random.default_rng(4).permutation(2000)
    shuffled = np.random.default_rng(5).permutation(2000)
    listed = route_packets(mesh, departures, source, target)
    other = route_packets(mesh, departures[shuffled], source[shuffled], target[shuffled])
    np.testing.assert_array_equal(other.time_ps, listed.time_ps[shuffled])


def test_no_packets() -> None:
    none = np.zeros(0, np.int64)
    routed = route_packets(Mesh(3, 2, 1, 1), none, none, none)
    assert routed.time_ps.shape == (0,)
    assert not routed.link_packets.any()
    assert serve_in_order(none, none, none, 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("mesh", "packet", "message"),
    [
        (Mesh(3, 2, 1, 1), (0, 6, 0), "packets between tiles that a mesh of 6 does not have"),
        (Mesh(3, 2, 1, 1), (0, 0, -1), "packets between tiles that a mesh of 6 does not have"),
        (Mesh(3, 2, 1, 1), (-1, 0, 1), "departure and service times must not be below 0"),
        (Mesh(3, 2, 1, -1), (0, 0, 1), "departure and service times must not be below 0"),
        (Mesh(2**16 + 1, 1, 1, 1), (0, 0, 1), "a mesh of 65537 x 1 tiles; 65536 is the most along a side"),
    ],
)
def test_what_is_refused(mesh: Mesh, packet: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError) as error:
        route_packets(mesh, *np.array([packet]).T)
    assert str(error.value) == message


def test_servers_take_packets_as_they_come_then_by_id() -> None:
    rng = np.random.default_rng(0)
    arrivals, server, work = rng.integers(0, 300, 400), rng.integers(0, 4, 400), rng.integers(0, 9, 400)
    expected = [0] * 5
    for packet in sorted(range(400), key=lambda p: (arrivals[p], p)):
        expected[server[packet]] = max(expected[server[packet]], arrivals[packet]) + work[packet]
    assert serve_in_order(arrivals, server, work, 5).tolist() == expected
    assert expected[4] == 0 < min(expected[:4])
