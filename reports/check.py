"""What `nsim check` says: the simulator's neurons against Brian2's."""

from __future__ import annotations

from typing import Any

import pandas as pd
from rich.table import Table

from nsim.frontends.model import Model

POTENTIAL_TOLERANCE = 1e-9
"""Largest difference of final potentials that counts as equal (both sides in float64)."""


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
