"""What a run is: model, chip, settings and versions, as its manifest holds them."""

from __future__ import annotations

from typing import Any

from nsim.frontends.load import sha256
from nsim.frontends.model import Model
from nsim.hw_models.mapping.mapping import Mapping
from nsim.provenance import provenance
from nsim.reports.step_meter import Timing
from nsim.simulator.engine import Precision


def run_manifest(
    mapping: Mapping,
    sampler: str,
    sampler_steps: int,
    seed: int,
    images: int,
    calibration: str,
    precision: Precision,
    timing: Timing,
    measured: tuple[int, ...],
) -> dict[str, Any]:
    """The manifest of a run that is about to begin.

    Two runs with equal manifests, the command apart, give the same numbers: a run goes on only as it began.
    """
    return {
        "complete": False,
        "model": _model_facts(mapping.model),
        "chip": mapping.chip.name,
        "chip_sha256": sha256(mapping.chip_file),
        "calibration": calibration,
        "cores": sum(part.core_count for part in mapping.parts),
        "chips": sum(part.chips for part in mapping.parts),
        "policy": mapping.policy,
        "placement": {
            "measured_traffic": mapping.measured,
            "packet_hops": sum(part.packet_hops()[0] for part in mapping.parts),
        },
        "schedule": mapping.schedule,
        "timing": timing,
        "precision": precision,
        "sampler": sampler,
        "sampler_steps": sampler_steps,
        "detail_steps": "all" if len(measured) == sampler_steps else list(measured),
        "decoder_calls": len(mapping.parts) - 1,
        "seed": seed,
        "images": images,
        "made_with": provenance(),
    }


def _model_facts(model: Model) -> dict[str, Any]:
    """``v_threshold``: the thresholds there are; ``v_threshold_by_layer``: all layers', where they differ."""
    by_layer = {p.name: p.neuron.v_threshold for n in model.networks for p in n.neurons if p.neuron}
    thresholds = sorted(set(by_layer.values()))
    return {
        "name": model.name,
        "workload": model.workload,
        "weights": model.weights,
        "sha256": model.sha256,
        "parameters": model.parameters,
        "time_steps": model.network.time_steps,
        "v_threshold": thresholds,
        "v_threshold_by_layer": by_layer if len(thresholds) > 1 else {},
        "ann_twin_macs": model.ann_twin_macs,
    }
