"""Loihi's integers against a model written once more in plain Python, with fractions and no shifts."""

from __future__ import annotations

import re
from fractions import Fraction
from math import trunc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsim.hw_models.catalog import load_chip
from nsim.hw_models.cores.loihi_arithmetic import (
    CURRENT_BITS,
    DECAY_BITS,
    Compartment,
    activated_weights,
    bias_value,
    effective_decay,
    loihi_step,
    play_compartments,
    potential_limits,
    threshold_value,
)

WIDTHS = load_chip("loihi").arithmetic
DECAYS = st.integers(0, 4096)
STEPS = {"mixed": 1, "excitatory": 0, "inhibitory": 0}


class PlainCompartment:
    """A compartment by the words of the rule, in exact fractions."""

    def __init__(self, group: Compartment, bias: int) -> None:
        self.group, self.bias = group, bias
        self.u = self.v = 0
        self.silent_until = 0
        self.now = 0

    def tick(self, arriving: int) -> bool:
        keep_u, keep_v = (1 - Fraction(d, 4096) for d in (self.group.decay_u, self.group.decay_v))
        self.u = trunc(self.u * keep_u) + arriving
        while self.u >= 2**23:
            self.u -= 2**24
        while self.u < -(2**23):
            self.u += 2**24
        self.now += 1
        if self.now < self.silent_until:
            self.v = 0
            return False
        self.v = trunc(self.v * keep_v) + self.u + self.bias
        self.v = sorted((self.group.v_min, self.v, self.group.v_max))[1]
        if self.v > self.group.threshold:
            self.v = 0
            self.silent_until = self.now + self.group.refractory
            return True
        return False


@settings(max_examples=150)
@given(
    data=st.data(),
    decay_u=DECAYS,
    decay_v=DECAYS,
    mantissa=st.integers(0, 131071) | st.integers(0, 50),
    refractory=st.integers(1, 63),
    limits=st.tuples(st.integers(0, 23), st.integers(0, 7)),
    scale=st.sampled_from([1, 2**6, 2**12, 2**20]),
)
def test_every_tick_equals_the_plain_model(
    data: st.DataObject,
    decay_u: int,
    decay_v: int,
    mantissa: int,
    refractory: int,
    limits: tuple[int, int],
    scale: int,
) -> None:
    group = Compartment(
        decay_u, decay_v, threshold_value(mantissa, WIDTHS), refractory, *potential_limits(*limits, WIDTHS)
    )
    bias = bias_value(data.draw(st.integers(-4096, 4095)), data.draw(st.integers(0, 7)), WIDTHS)
    inputs = data.draw(st.lists(st.integers(-7, 7), min_size=1, max_size=40))
    spikes, u, v = play_compartments(scale * np.array(inputs)[:, None], np.array([bias]), group)
    plain = PlainCompartment(group, bias)
    for t, x in enumerate(inputs):
        assert spikes[t, 0] == plain.tick(scale * x)
        assert (u[t, 0], v[t, 0]) == (plain.u, plain.v)


def test_a_current_wraps_and_a_potential_saturates() -> None:
    step = loihi_step(2**23 - 1, 0, 0, 1, 0, 0, 0, 2**24, 1, -(2**23) + 1, 2**23 - 1)
    assert step == (-(2**23), -(2**23) + 1, 0, False)
    step = loihi_step(2**22, 2**23 - 1, 0, 0, 0, 0, 0, 2**24, 1, -(2**23) + 1, 2**23 - 1)
    assert step == (2**22, 2**23 - 1, 0, False)


def test_the_threshold_is_strict() -> None:
    def fires(v: int) -> bool:
        return loihi_step(0, 0, 0, v, 0, 4096, 4096, 640, 1, -(2**23), 2**23)[3]

    assert [fires(v) for v in (639, 640, 641)] == [False, False, True]


def test_decay_cuts_toward_zero_on_both_sides() -> None:
    for u, left in ((7, 3), (-7, -3), (1, 0), (-1, 0)):
        assert loihi_step(u, 0, 0, 0, 0, 2048, 0, 2**24, 1, -(2**23), 2**23)[0] == left


@pytest.mark.parametrize("refractory", [1, 2, 5])
def test_refractory_ticks_and_the_current_meanwhile(refractory: int) -> None:
    group = Compartment(decay_u=2048, decay_v=0, threshold=64, refractory=refractory)
    spikes, u, _ = play_compartments(np.full((12, 1), 100), np.zeros(1, int), group)
    assert np.diff(np.flatnonzero(spikes[:, 0])).tolist() == [refractory] * ((12 - 1) // refractory)
    assert u[:3, 0].tolist() == [100, 150, 175]


def test_both_conventions_of_the_decay_offset() -> None:
    assert [effective_decay(d, "always", WIDTHS) for d in (0, 128, 4095)] == [1, 129, 4096]
    assert [effective_decay(d, "full_only", WIDTHS) for d in (0, 128, 4095, 4096)] == [0, 128, 4095, 4096]


@settings(max_examples=200)
@given(
    sign=st.sampled_from(["mixed", "excitatory", "inhibitory"]),
    bits=st.integers(1, 8),
    exponent=st.integers(-8, 7),
    raw=st.integers(0, 255),
)
def test_activated_weight_equals_the_plain_rule(sign: str, bits: int, exponent: int, raw: int) -> None:
    mantissa = {"mixed": 2 * raw - 256, "excitatory": raw, "inhibitory": -raw}[sign]
    step = 2 ** (8 - bits + STEPS[sign])
    kept = trunc(Fraction(mantissa, step)) * step
    plain = 64 * (kept * Fraction(2) ** exponent // 1)
    plain = max(-(2**21) + 64, min(2**21 - 64, plain))
    assert activated_weights(np.array([mantissa]), exponent, bits, sign, WIDTHS).tolist() == [plain]


def test_largest_weights_are_clipped_to_21_bits() -> None:
    weights = activated_weights(np.array([-256, -2, 0, 254]), 7, 8, "mixed", WIDTHS)
    assert weights.tolist() == [-(2**21) + 64, -(2**14), 0, 254 * 2**13]


def test_constants_are_those_of_the_chip_file() -> None:
    assert (DECAY_BITS, CURRENT_BITS) == (WIDTHS.decay_bits.value, WIDTHS.current_bits.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bias_value(4096, 0, WIDTHS), "bias mantissa 4096: Loihi has -4096 to 4095"),
        (lambda: bias_value(0, 8, WIDTHS), "bias exponent 8: Loihi has 0 to 7"),
        (lambda: threshold_value(131072, WIDTHS), "threshold mantissa 131072: Loihi has 0 to 131071"),
        (lambda: effective_decay(4096, "always", WIDTHS), "decay register 4096: Loihi has 0 to 4095"),
        (
            lambda: activated_weights(np.array([255]), 0, 8, "mixed", WIDTHS),
            "mixed weight mantissa 255: Loihi has -256 to 254",
        ),
        (lambda: potential_limits(24, 0, WIDTHS), "exponent of the lower limit of v 24: Loihi has 0 to 23"),
        (lambda: potential_limits(0, 8, WIDTHS), "setting of the upper limit of v 8: Loihi has 0 to 7"),
    ],
)
def test_what_no_register_holds_is_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()  # type: ignore[operator]
