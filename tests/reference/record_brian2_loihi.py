"""Record what Brian2Loihi computes: brian2_loihi.json, read by test_brian2_loihi.py.

Made with brian2-loihi 0.5.2, brian2 2.9.0 and numpy 2.3, in an environment of its own, by
``python record_brian2_loihi.py``. Random weights, inputs and parameters of one compartment, seed 0.
"""

from __future__ import annotations

import json
from pathlib import Path

import brian2_loihi as b2l
import numpy as np
from brian2 import prefs

TICKS, INPUTS, CASES = 60, 6, 6
MIXED, EXCITATORY = 1, 2


def record(case: int, rng: np.random.Generator) -> dict[str, object]:
    """Play one compartment driven by six spike trains."""
    decay_v = int(rng.integers(1, 4096)) if case else 128
    decay_u = int(rng.integers(1, 4097)) if case else 4096
    refractory, threshold = int(rng.integers(1, 8)), int(rng.integers(1, 600))
    sign = (MIXED, EXCITATORY, MIXED)[case % 3]
    bits, exponent = int(rng.integers(3, 9)), int(rng.integers(-3, 4))
    ticks, sources = np.nonzero(rng.random((TICKS - 1, INPUTS)) < 0.4)
    mantissas = 2 * rng.integers(-128, 128, INPUTS) if sign == MIXED else rng.integers(0, 256, INPUTS)
    generator = b2l.LoihiSpikeGeneratorGroup(INPUTS, sources, ticks + 1)
    group = b2l.LoihiNeuronGroup(
        1, refractory=refractory, threshold_v_mant=threshold, decay_v=decay_v, decay_I=decay_u
    )
    synapses = b2l.LoihiSynapses(generator, group, sign_mode=sign, num_weight_bits=bits, w_exp=exponent)
    synapses.connect()
    synapses.w = mantissas.astype(int)
    current, voltage = b2l.LoihiStateMonitor(group, "I"), b2l.LoihiStateMonitor(group, "v")
    b2l.LoihiNetwork(generator, group, synapses, current, voltage).run(TICKS)
    return {
        "decay_u": decay_u,
        "decay_v": decay_v,
        "refractory": refractory,
        "threshold": threshold,
        "sign": "mixed" if sign == MIXED else "excitatory",
        "bits": bits,
        "exponent": exponent,
        "mantissas": mantissas.tolist(),
        "weights": np.asarray(synapses.w_act).astype(int).tolist(),
        "input_ticks": (ticks + 1).tolist(),
        "input_sources": sources.tolist(),
        "u": np.asarray(current.I[0]).astype(int).tolist(),
        "v": np.asarray(voltage.v[0]).astype(int).tolist(),
    }


if __name__ == "__main__":
    prefs.codegen.target = "numpy"
    rng = np.random.default_rng(0)
    cases = [record(case, rng) for case in range(CASES)]
    Path(__file__).with_name("brian2_loihi.json").write_text(json.dumps(cases) + "\n", encoding="utf-8")
