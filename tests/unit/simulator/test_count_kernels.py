"""Spikes summed by channel unit and by core, against numpy."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nsim.simulator.count_kernels import count_by_unit, sum_by_core


@settings(max_examples=60)
@given(
    channels=st.integers(1, 200) | st.sampled_from([64, 128, 192]),
    parts=st.sets(st.integers(1, 199), max_size=40),
    places=st.integers(1, 4),
    rate=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_units_of_channels(channels: int, parts: set[int], places: int, rate: float) -> None:
    edges = np.array([0, *sorted(p for p in parts if p < channels), channels])
    spikes = (np.random.default_rng(channels).random((places, channels)) < rate).astype(np.uint8)
    counts = np.full((places, len(edges) - 1), -1, np.int32)
    count_by_unit(0, places, spikes, edges, counts)
    np.testing.assert_array_equal(counts, np.add.reduceat(spikes, edges[:-1], axis=1, dtype=np.int32))


def test_every_unit_adds_its_weighted_spikes_to_its_own_core() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4, (2, 3, 5, 3)).astype(np.int32)
    core = rng.integers(0, 6, (5, 3)).astype(np.int32)
    weights = rng.integers(0, 2**33, (5, 3, 4))
    sums = np.full((4, 3, 2, 6), -1, np.int64)  # whatever stood there is gone
    sum_by_core(counts, core, weights, sums)
    expected = np.zeros_like(sums)
    for step, image, place, unit in np.ndindex(*counts.shape):
        expected[:, image, step, core[place, unit]] += counts[step, image, place, unit] * weights[place, unit]
    np.testing.assert_array_equal(sums, expected)
