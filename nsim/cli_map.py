"""What `nsim map` adds to a layout: the same model under every policy for analog streams."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nsim.cli_output import show

if TYPE_CHECKING:
    from nsim.frontends.model import Model
    from nsim.hw_models.mapping.crossbar import PartialSums
    from nsim.hw_models.mapping.schedule import Schedule


def show_with_policies(
    said: dict[str, Any] | list[Any],
    model: Model,
    chip: str,
    rate: float,
    calibration: str | None,
    schedule: Schedule,
    weight_bits: int | None,
    partial_sums: PartialSums,
) -> None:
    """Show facts (as JSON) or tables of a layout, and what every policy would take instead."""
    from nsim.reports.footprint import policies_side_by_side
    from nsim.reports.layout_tables import policy_tables

    compared = policies_side_by_side(model, chip, rate, calibration, schedule, weight_bits, partial_sums)
    if isinstance(said, dict):
        show(said | {"policies": [asdict(footprint) for footprint in compared]})
    else:
        show([*said, *policy_tables(compared, rate)])
