"""Loihi's integers against what Brian2Loihi computed (brian2_loihi.json, see record_brian2_loihi.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nsim.hw_models.catalog import load_chip
from nsim.hw_models.cores.loihi_arithmetic import (
    Compartment,
    activated_weights,
    effective_decay,
    play_compartments,
    threshold_value,
)

WIDTHS = load_chip("loihi").arithmetic
assert WIDTHS is not None
CASES = json.loads(Path(__file__).with_name("brian2_loihi.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_weights_currents_and_potentials_to_the_bit(case: dict[str, Any]) -> None:
    weights = activated_weights(
        np.array(case["mantissas"]), case["exponent"], case["bits"], case["sign"], WIDTHS
    )
    assert weights.tolist() == case["weights"]
    arriving = np.zeros((len(case["v"]), 1), np.int64)
    np.add.at(arriving, (case["input_ticks"], 0), weights[case["input_sources"]])
    # its decays are met as they are asked for
    decay_u, decay_v = (effective_decay(case[name], "full_only", WIDTHS) for name in ("decay_u", "decay_v"))
    group = Compartment(decay_u, decay_v, threshold_value(case["threshold"], WIDTHS), case["refractory"])
    spikes, u, v = play_compartments(arriving, np.zeros(1, np.int64), group)
    assert u[:, 0].tolist() == case["u"]
    assert v[:, 0].tolist() == case["v"]
    assert spikes.any() == any(potential == 0 for potential in case["v"][2:])


def test_the_recorded_cases_fire_and_do_not() -> None:
    fired = [0 in case["v"][2:] for case in CASES]
    assert any(fired) and not all(fired)
