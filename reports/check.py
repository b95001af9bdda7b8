"""What `nsim check` says: the simulator's neurons against Brian2's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from nsim.frontends.model import Model
from nsim.frontends.network import Network
from nsim.simulator.engine import Engine
from nsim.workloads.samplers import DIFFUSION_STEPS, initial_noise

POTENTIAL_TOLERANCE = 1e-9
"""Largest difference of final potentials that counts as equal (both sides in float64)."""


def check_model(model: Model, per_layer: int, seed: int) -> pd.DataFrame:
    """One call of each of the model's networks, and neurons of every layer in Brian2; see `check_call`."""
    from nsim.simulator.brian2_reference import check_call

    calls = (
        Engine(network, "float64").call(*_example_input(network, model.codes, seed), keep_currents=True)
        for network in model.networks
    )
    return pd.concat([check_call(call, per_layer, seed) for call in calls], ignore_index=True)


def _example_input(network: Network, codes: int | None, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Noise in the middle of the diffusion, or random tokens, for a network of tokens: x and t."""
    shape = network.population_by_name[network.image].shape
    for op in network.host_ops:
        if op.kind == "embedding" and network.image in op.inputs:
            codes = len(op.params["table"])
    if codes is None:
        x, middle = initial_noise((1, *shape), seed), DIFFUSION_STEPS // 2
    else:
        x = np.random.default_rng(seed).integers(codes, size=(1, *shape)).astype(np.float32)
        middle = (shape[1] * shape[2] + 1) // 2
    return x, None if network.diffusion_time is None else np.array([middle])


def check_facts(model: Model, result: pd.DataFrame) -> dict[str, Any]:
    """The comparison as plain values; ``agrees`` is False for one spike or potential that differs."""
    spikes = int(result["spike_differences"].sum())
    potential = float(result["max_potential_error"].max())
    return {
        "model": model.name,
        "agrees": spikes == 0 and potential <= POTENTIAL_TOLERANCE,
        "neurons": int(result["neurons"].sum()),
        "spike_differences": spikes,
        "max_potential_error": potential,
        "layers": result.to_dict(orient="records"),
    }


def check_tables(model: Model, result: pd.DataFrame) -> list[Table | str]:
    """One line per layer and the verdict."""
    table = Table("layer", "neuron", "neurons", "spikes", "spikes that differ", "largest potential error")
    for row in result.itertuples(index=False):
        table.add_row(
            str(row.layer),
            str(row.neuron_model),
            f"{row.neurons:,}",
            f"{row.spikes:,}",
            f"{row.spike_differences:,}",
            f"{row.max_potential_error:.1e}",
        )
    for i in range(2, 6):
        table.columns[i].justify = "right"
    facts = check_facts(model, result)
    verdict = "same spikes, potentials equal" if facts["agrees"] else "THEY DIFFER"
    return [
        table,
        f"{model.name} against Brian2, {facts['neurons']:,} neurons with the currents they saw in one call: "
        f"{verdict} (largest potential error {facts['max_potential_error']:.1e})",
    ]
