"""TrueNorth's crossbar and neuron: rules by hand, and the neuron once more for one neuron in plain Python."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsim.hw_models.catalog import load_any_chip
from nsim.hw_models.cores.truenorth import (
    Crossbar,
    Splitting,
    fan_in_limit,
    fault_of,
    levels_needed,
    program,
    splitting,
)
from nsim.hw_models.cores.truenorth_arithmetic import (
    KEEP,
    POTENTIAL_BITS,
    RESET,
    SUBTRACT,
    Neuron,
    synaptic_input,
    truenorth_step,
)
from nsim.hw_models.spec import CrossbarChip

CHIP = load_any_chip("truenorth")
assert isinstance(CHIP, CrossbarChip)
CORE = CHIP.core


# ---------------------------------------------------------------------------------------------------------
# crossbar


@pytest.mark.parametrize(
    ("weights", "levels", "inputs"),
    [
        ([1, 0], (1,), 256),
        ([-1, 0, 1], (-1, 1), 128),
        ([-200, 17, 0, 255], (-200, 17, 255), 85),
        ([-8, -3, 5, 7, 1], (-8, 1, 2, 4), 64),
        ([0, 1, 2, 3], (1, 2), 128),
        ([-9, 1, 2, 3, 4, 5, 6], (-9, 1, 1, 3, 6), 51),  # five axons of four types
        ([*range(-15, 16)], (-16, 1, 1, 3, 3, 9), 42),
        ([*range(-127, 128)], (-128, *[1] * 5, *[6] * 4, *[30] * 4), 18),
        ([*range(0, 256)], (*[1] * 3, *[4] * 3, *[16] * 3, *[64] * 3), 21),
        ([0], (), 256),
    ],
)
def test_levels_and_fan_in(weights: list[int], levels: tuple[int, ...], inputs: int) -> None:
    assert levels_needed(np.array(weights), CORE) == levels
    assert fan_in_limit(levels, CORE) == inputs


@settings(max_examples=60)
@given(
    data=st.data(),
    low=st.sampled_from([-255, -128, -8, -4, -1, 0]),
    high=st.sampled_from([0, 1, 3, 7, 90, 255]),
    neurons=st.integers(1, 6),
)
def test_a_programmed_crossbar_adds_up_to_the_weights(
    data: st.DataObject, low: int, high: int, neurons: int
) -> None:
    inputs = data.draw(st.integers(1, 14))  # 18 axons for each at most
    values = data.draw(st.lists(st.integers(low, high), min_size=inputs * neurons, max_size=inputs * neurons))
    weights = np.array(values).reshape(inputs, neurons)
    crossbar = program(weights, CORE)
    lines = len(crossbar.types) // inputs if len(crossbar.types) else 0
    summed = crossbar.effective.reshape(inputs, lines, neurons).sum(axis=1) if lines else 0 * weights
    np.testing.assert_array_equal(summed, weights)
    assert crossbar.connected.dtype == bool
    assert len(set(crossbar.types.tolist())) <= 4


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones((257, 1), int), "axons: needs 257, a core has 256"),
        (np.tile([[1], [-1]], (65, 1)), "axons: needs 260, a core has 256"),
        (np.ones((1, 257), int), "neurons: needs 257, a core has 256"),
        (np.arange(64)[:, None], "axons: needs 512, a core has 256"),
        (np.array([[256]]), "weight: needs 256, a core has 255"),
        (np.array([[-257]]), "weight below zero: needs 257, a core has 256"),
    ],
)
def test_what_no_core_holds_is_refused(weights: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        program(weights, CORE)


def test_each_neuron_has_its_own_four_weights() -> None:
    table = np.array([[1, -1, 255, -256], [7, 7, 0, 3]])
    crossbar = Crossbar(np.ones((5, 2), bool), np.array([0, 1, 2, 3, 3]), table)
    assert fault_of(crossbar, CORE) is None
    assert crossbar.effective.T.tolist() == [[1, -1, 255, -256, -256], [7, 7, 0, 3, 3]]


@pytest.mark.parametrize(
    ("destinations", "needed"),
    [
        ([1] * 10, Splitting(0, 0, 0)),
        ([2], Splitting(2, 1, 1)),
        ([256], Splitting(256, 1, 1)),
        ([257], Splitting(258, 2, 2)),  # 256 relays and the one left over, behind a pair
        ([512], Splitting(514, 3, 2)),
        ([2] * 128, Splitting(256, 1, 1)),
        ([2] * 129, Splitting(258, 2, 1)),
        ([200, 100, 56, 156], Splitting(512, 2, 1)),
        ([2] * 10_000_000, Splitting(20_000_000, 78_125, 1)),
    ],
)
def test_splitters(destinations: list[int], needed: Splitting) -> None:
    assert splitting(destinations, CORE) == needed


# ---------------------------------------------------------------------------------------------------------
# neuron


def plain_step(v: int, x: int, n: Neuron, leak_draw: int, threshold_draw: int) -> tuple[int, bool]:
    """One neuron, one tick, by the words of the rule."""

    def hold(value: int) -> int:
        return max(-(2**19), min(2**19 - 1, value))

    v = hold(v + x)
    leak = n.leak
    if n.stochastic_leak:
        leak = (1 if leak > 0 else -1) if leak_draw < abs(leak) else 0
    if n.leak_reversal:
        leak = leak if v > 0 else -leak if v < 0 else 0
    v = hold(v + leak)
    eta = threshold_draw & n.threshold_mask
    if v >= n.threshold + eta:
        return {RESET: n.reset_to, SUBTRACT: v - n.threshold - eta, KEEP: v}[n.reset], True
    if v < -(n.floor + eta):
        if n.saturates_at_floor:
            return -n.floor, False
        return {RESET: -n.reset_to, SUBTRACT: v + n.floor + eta, KEEP: v}[n.reset], False
    return v, False


NEURONS = st.builds(
    Neuron,
    threshold=st.integers(1, 300),
    leak=st.integers(-255, 255),
    leak_reversal=st.booleans(),
    stochastic_leak=st.booleans(),
    floor=st.integers(0, 300),
    threshold_mask=st.sampled_from([0, 1, 15, 255]),
    reset=st.sampled_from([RESET, SUBTRACT, KEEP]),
    reset_to=st.integers(-50, 50),
    saturates_at_floor=st.booleans(),
)


@settings(max_examples=100)
@given(
    neuron=NEURONS,
    potentials=st.lists(st.integers(-400, 400) | st.integers(-(2**19), 2**19 - 1), min_size=1, max_size=12),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_neuron_equals_the_plain_model(neuron: Neuron, potentials: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    v = np.array(potentials)
    x = rng.integers(-600, 600, v.shape)
    draws = rng.integers(0, 256, (2, *v.shape))
    after, spikes = truenorth_step(v, x, neuron, *draws)
    plain = [plain_step(*each[:2], neuron, *each[2:]) for each in zip(v, x, *draws, strict=True)]
    assert [*zip(after.tolist(), spikes.tolist(), strict=True)] == plain


def test_stochastic_synapses_add_the_sign_as_often_as_the_weight_says() -> None:
    weights = np.array([[64, -128, 256 - 1, 0]]).repeat(256, axis=0)
    draws = np.arange(256)[:, None].repeat(4, axis=1)  # every draw once
    given = synaptic_input(np.ones(256, bool), weights, np.ones((256, 4), bool), draws)
    assert given.tolist() == [64, -128, 255, 0]
    assert synaptic_input(np.ones(256, bool), weights).tolist() == [64 * 256, -128 * 256, 255 * 256, 0]
    assert synaptic_input(np.zeros(256, bool), weights).tolist() == [0, 0, 0, 0]


def test_the_width_is_that_of_the_chip_file() -> None:
    assert CORE.potential_bits.value == POTENTIAL_BITS
