"""Lemaire et al. 2022: what operations and memory accesses of a model as traced cost at 45 nm.

For one convolution (kernel k x k, stride s, Cout outputs of H x W) fed by theta spikes in a call:

    weight reads       theta Cout k^2
    potential reads    theta Cout k^2, and as many writes
    input reads        theta, from a queue
    accumulations      theta ceil(kh / s) ceil(kw / s) Cout
    addressing         2 theta multiply-accumulates and theta k^2 accumulations

for its N neurons with theta_out spikes in T steps:

    potential reads    T N, and as many writes
    bias reads         T N
    output writes      theta_out, to a queue
    accumulations      T N + theta_out
    multiplications    T N where there is a leak

and for a layer fed by analog values, the formulas of an ANN, at every step: a read of an input and of a
weight for every multiply-accumulate, one write per output. An access costs
``access_pj + access_pj_per_bit * bits`` of the memory it goes to. Our reading where the facts leave it open:
an up-sampled spike counts as its copies; residual streams are potentials; queues are as large as the map they
serve; norms and Swish are not in the rule.
"""

from __future__ import annotations

import pandas as pd

from nsim.hw_models.spec import MemoryRule


def lemaire_energy(layers: pd.DataFrame, spikes: dict[str, float], steps: int, rule: MemoryRule) -> pd.Series:
    """Energy of one call of one image in pJ by part: operations, addressing, and memory accesses by content.

    ``layers``: `traced_layers`; ``spikes``: spikes of each population in a call of one image; ``steps``: T.
    """
    mac_pj = rule.add_pj.value + rule.multiply_pj.value
    energy = dict.fromkeys(
        ("operations", "addressing", "weights", "potentials", "biases", "inputs and outputs"), 0.0
    )

    def access(elements: int) -> float:
        return rule.access_pj.value + rule.access_pj_per_bit.value * elements * rule.word_bits.value

    for layer in layers.itertuples(index=False):
        taps = layer.kernel_rows * layer.kernel_columns
        input_map = layer.channels_in * layer.rows_in * layer.columns_in
        if layer.kind in ("IF", "LIF"):
            updates, fired = steps * layer.elements, spikes[layer.layer]
            energy["potentials"] += 2 * updates * access(layer.elements)
            energy["biases"] += updates * access(layer.channels_out)
            energy["inputs and outputs"] += fired * access(layer.elements)
            energy["operations"] += (updates + fired) * rule.add_pj.value
            if layer.kind == "LIF":
                energy["operations"] += updates * rule.multiply_pj.value
        elif layer.kind == "conv" and layer.input == "spikes":
            fed = spikes[layer.source] * layer.upsample**2
            reads = fed * layer.channels_out * taps
            energy["weights"] += reads * access(_weights(layer))
            energy["potentials"] += 2 * reads * access(layer.elements)
            energy["inputs and outputs"] += fed * access(input_map)
            reached = -(-layer.kernel_rows // layer.stride_rows) * -(
                -layer.kernel_columns // layer.stride_columns
            )
            energy["operations"] += fed * reached * layer.channels_out * rule.add_pj.value
            energy["addressing"] += fed * (2 * mac_pj + taps * rule.add_pj.value)
        elif layer.kind in ("conv", "linear"):
            times = steps if layer.every_step else 1
            macs = times * layer.dense_macs
            energy["operations"] += macs * mac_pj
            energy["weights"] += macs * access(_weights(layer))
            energy["inputs and outputs"] += macs * access(input_map)
            energy["inputs and outputs"] += times * layer.elements * access(layer.elements)
    return pd.Series(energy, name="energy_pj")


def _weights(layer: object) -> int:
    """Weights of a layer, each once: its dense operations over the outputs' positions."""
    return int(layer.dense_macs // (layer.rows_out * layer.columns_out))  # type: ignore[attr-defined]
