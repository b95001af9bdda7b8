"""The papers' rule, for comparison: 45 nm energy of accumulates and multiply-accumulates, nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from nsim.hw_models.spec import CostRule


@dataclass(frozen=True)
class PapersRule:
    """Energy of one denoiser call and image by ``ac_pj * AC + mac_pj * MAC``, and of the ANN twin."""

    ac_pj: float
    mac_pj: float
    ac: float
    graded_ac: float
    mac: float
    energy_pj: float
    twin_macs: int | None
    twin_energy_pj: float | None


def papers_rule(operations: pd.DataFrame, rule: CostRule, calls: int, twin_macs: int | None) -> PapersRule:
    """Apply the rule to the operations of ``calls`` denoiser calls (model as traced), per call.

    A graded accumulate is priced as an accumulate, and so is a product of spikes in attention (Spikformer's
    count; Zhou et al., ICLR 2023).
    """
    mac_pj, ac_pj = rule.mac_pj.value, rule.ac_pj.value
    assert mac_pj is not None and ac_pj is not None
    totals = operations[["ac", "graded_ac", "mac", "spike_product"]].sum() / calls
    accumulates = totals["ac"] + totals["graded_ac"] + totals["spike_product"]
    energy = ac_pj * accumulates + mac_pj * totals["mac"]
    return PapersRule(
        ac_pj=ac_pj,
        mac_pj=mac_pj,
        ac=float(totals["ac"]),
        graded_ac=float(totals["graded_ac"]),
        mac=float(totals["mac"]),
        energy_pj=float(energy),
        twin_macs=twin_macs,
        twin_energy_pj=None if twin_macs is None else mac_pj * twin_macs,
    )
