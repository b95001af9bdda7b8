"""What `nsim convert` says: what was converted, what was not, and how far the spikes are from the ANN."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.table import Table

from nsim.workloads.conversion import Conversion


def conversion_facts(done: Conversion, out: Path) -> dict[str, Any]:
    """Everything as plain values."""
    network = done.model.network
    return {
        "model": done.model.name,
        "weights": done.model.weights,
        "bits": done.bits,
        "time_steps": network.time_steps,
        "activations": len(done.layers),
        "ann_macs": done.model.ann_twin_macs,
        "group_norms_on_host": len(done.group_norms),
        "group_norm_operations_per_call": done.host_elementwise,
        "eps_error": done.eps_error,
        "layers": json.loads(done.layers.to_json(orient="records", double_precision=15)),
        "written_to": str(out),
    }


def conversion_tables(done: Conversion, out: Path) -> list[Any]:
    """The same as lines and a table."""
    network = done.model.network
    table = Table(
        "layer", *("spikes", "of them -1", "mean off", "most off"), title="Against the ANN, on noise"
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for row in done.layers.itertuples():
        cells = (f"{row.rate:.3f}", f"{row.negative:.1%}", f"{row.mean_levels:.3f}", f"{row.max_levels:.0f}")
        table.add_row(str(row.layer), *cells)
    return [
        f"{done.model.name}: {len(done.layers)} activations of {done.bits} bits are signed neurons now, "
        f"played T = {network.time_steps} times; weights: {done.model.weights}",
        f"NOT spiking: {len(done.group_norms)} GroupNorms stay with the host in every time step, "
        f"{done.host_elementwise:,} elementwise operations a call",
        table,
        "off: from the ReLU's value, in its steps of act_alpha / T; spikes: per neuron and time step",
        f"eps differs from the ANN's by {done.eps_error:.1%} (root mean square)",
        f"written to {out}",
    ]
