"""Sums in parts, tick by tick on programmed crossbars, against the same neurons in one piece."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsim.hw_models.catalog import load_any_chip
from nsim.hw_models.cores.truenorth import Crossbar, fault_of, program
from nsim.hw_models.cores.truenorth_arithmetic import synaptic_input, truenorth_step
from nsim.hw_models.cores.truenorth_relay import TWIN, gate_for
from nsim.hw_models.spec import CrossbarChip
from nsim.simulator.reference import update_integers_naive

CHIP = load_any_chip("truenorth")
assert isinstance(CHIP, CrossbarChip)
CORE = CHIP.core


def twins(weights: np.ndarray) -> Crossbar:
    """The core of a part: every neuron twice on the same axons, with its weights and with their negatives."""
    single = program(weights, CORE)
    both = np.concatenate([single.weights, -single.weights])
    crossbar = Crossbar(np.hstack([single.connected, single.connected]), single.types, both)
    assert fault_of(crossbar, CORE) is None
    return crossbar


def play_in_parts(
    weights: np.ndarray, bias: np.ndarray, threshold: int, spikes: np.ndarray, each: int
) -> tuple[np.ndarray, int]:
    """Spikes [T, neurons] by cores of ``each`` inputs, and the ticks that a time step took.

    The constant is a part of its own, over axons that are always active.
    """
    steps, neurons = len(spikes), len(bias)
    starts = range(0, len(weights), each)
    parts = [weights[i : i + each] for i in starts]
    above, below = ([np.maximum(sign * p, 0).sum(axis=0) for p in (*parts, bias[None])] for sign in (1, -1))
    gate = gate_for(int(np.max([above, below])), int(np.sum(above, axis=0).max()), CORE)
    assert gate.weight <= 255
    heard = np.zeros((steps, len(parts) + 1, 2 * neurons), np.int64)
    heard[:, -1] = np.concatenate([bias, -bias])
    for k, (start, part) in enumerate(zip(starts, parts, strict=True)):
        core = twins(part)
        on_axons = np.repeat(spikes[:, start : start + each], len(core.types) // len(part), axis=1)
        heard[:, k] = [synaptic_input(active, core.effective) for active in on_axons]
    potentials = np.zeros_like(heard[0])
    sent = np.zeros_like(potentials, bool)
    v, out = np.zeros(neurons, np.int64), np.zeros((steps, neurons), bool)
    for t in range(steps):
        for tick in range(gate.ticks + 1):
            arriving = sent[:, :neurons].sum(axis=0) - sent[:, neurons:].sum(axis=0)
            arriving += gate.height * (int(tick == gate.ticks) - int(tick == 0 and t > 0))
            v, out[t] = truenorth_step(v, arriving, gate.final_neuron(threshold))
            assert tick == gate.ticks or not out[t].any()  # the gate holds
            potentials, sent = truenorth_step(potentials, heard[t] * (tick == 0), TWIN)
        assert gate.ticks == 0 or not potentials.any()  # every part has been sent
    return out, gate.ticks + 1


@settings(max_examples=40, deadline=None)
@given(
    inputs=st.integers(1, 60),
    largest=st.sampled_from([1, 3, 7, 31]),
    each=st.sampled_from([4, 14, 18]),
    threshold=st.integers(1, 90),
    rate=st.sampled_from([0.1, 0.5, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_sum_in_parts_fires_as_the_whole_does(
    inputs: int, largest: int, each: int, threshold: int, rate: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    neurons, steps = 5, 6
    weights = rng.integers(-largest, largest + 1, (inputs, neurons))
    bias = rng.integers(-threshold, threshold + 1, neurons)
    spikes = rng.random((steps, inputs)) < rate
    found, ticks = play_in_parts(weights, bias, threshold, spikes, each)
    currents = (spikes.astype(np.int64) @ weights + bias)[:, None, :, None, None]
    whole, _ = update_integers_naive(currents, threshold, None, 4096, 12, 2**23 - 1)
    np.testing.assert_array_equal(found, whole.reshape(found.shape))
    assert ticks == 1 + max(
        np.abs(bias).max(),
        *(
            np.maximum(sign * weights[i : i + each], 0).sum(axis=0).max()
            for sign in (1, -1)
            for i in range(0, inputs, each)
        ),
    )


def test_without_the_gate_neurons_would_fire_too_early() -> None:
    """What the gate is for: a positive part comes in faster than the negative one that outweighs it."""
    weights = np.array([[7], [-7], [-7]])
    open_gate = gate_for(7, 0, CORE).final_neuron(3)
    v, fired = np.zeros(1, np.int64), []
    for tick in range(1, 15):  # +1 in ticks 1..7, -1 in ticks 1..14 but one late
        v, now = truenorth_step(v, np.array([(tick <= 7) - (tick > 4)]), open_gate)
        fired.append(bool(now[0]))
    assert any(fired)
    found, _ = play_in_parts(weights, np.zeros(1, np.int64), 3, np.ones((1, 3), bool), 1)
    assert not found.any()


@pytest.mark.parametrize(
    ("largest_sum", "axons", "weight"), [(0, 1, 0), (255, 1, 255), (256, 2, 128), (1000, 4, 250)]
)
def test_a_gate_is_no_lower_than_the_largest_sum(largest_sum: int, axons: int, weight: int) -> None:
    gate = gate_for(9, largest_sum, CORE)
    assert (gate.axons, gate.weight) == (axons, weight)
    assert largest_sum <= gate.height < largest_sum + gate.axons
