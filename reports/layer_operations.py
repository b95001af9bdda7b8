"""Operations layer by layer, as traced beside as laid out: what a mapping adds, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

BESIDE = "beside the cores"
"""The row of what no layer on cores reads: host ops, and convolutions behind the last layer."""


def layer_operations(
    operations: pd.DataFrame, counts: pd.DataFrame, readers: Mapping[str, str], layers: Sequence[str]
) -> pd.DataFrame:
    """One row per layer on cores, in order, and BESIDE last: layer, traced_ac, traced_graded_ac, traced_mac,
    traced_spike_product, laid_out_ac, laid_out_mac, laid_out_spike_product; all steps added up.

    ``operations``: `Run.operations`; a count stands with the layer in ``readers`` that reads the projection's
    result, see `first_readers`. ``counts``: `Run.counts`; synaptic events stand with the layer whose cores
    have the synapses, MAC and products of spikes of the host like those as traced. The columns add up to the
    totals of both.
    """

    def by_reader(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
        return frame.groupby(frame["layer"].map(readers).fillna(BESIDE))[columns].sum()

    events = counts["event"].astype(str)
    synaptic = counts[events.str.startswith("synaptic_event")]
    parts = [
        by_reader(operations, ["ac", "graded_ac", "mac", "spike_product"]).add_prefix("traced_"),
        synaptic.groupby("layer")["count"].sum().rename("laid_out_ac"),
        *(
            by_reader(counts[events == f"host_{kind}"], ["count"]).rename(
                columns={"count": f"laid_out_{kind}"}
            )
            for kind in ("mac", "spike_product")
        ),
    ]
    rows = pd.concat(parts, axis=1).reindex([*layers, BESIDE]).fillna(0).astype("int64")
    return rows.rename_axis("layer").reset_index()
