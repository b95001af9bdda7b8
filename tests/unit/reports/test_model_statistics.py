"""`nsim statistics`: measured on the model's own images, found again on loading, used by analytic:N."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import nsim
from nsim.errors import RunError
from nsim.reports.model_statistics import measure_statistics
from nsim.workloads.random_weights import random_unet
from nsim.workloads.sddpm import SDDPMConfig


def test_statistics_are_found_beside_the_model(tmp_path: Path) -> None:
    file = tmp_path / "small.pt"
    module = random_unet(SDDPMConfig(1, 8, 8, (1, 2), blocks_per_level=1), seed=0)
    torch.save(
        {"net_model": module.state_dict(), "optim": {}, "step": 1, "x_T": torch.zeros(1, 1, 8, 8)}, file
    )
    model = nsim.load(file)
    with pytest.raises(RunError, match="make them with `nsim statistics MODEL`"):
        nsim.run(nsim.map(model), "analytic:3")
    seen = []
    path, found = measure_statistics(model, file, 4, 0, lambda done, total: seen.append((done, total)))
    assert path == tmp_path / "small.pt.ms_eps.npz"
    assert seen == [(i, 100) for i in range(1, 101)]
    assert found.shape == (1000,) and (found > 0).all()
    again = nsim.load(file)
    np.testing.assert_array_equal(again.ms_eps, found)
    for other in (nsim.load(file, time_steps=3), nsim.load(file, v_threshold=0.9)):  # other denoisers
        assert other.ms_eps is None
    run = nsim.run(nsim.map(again), "analytic:3")
    assert run.manifest["sampler"] == "analytic:3"
    with pytest.raises(RunError, match="no file holds this model"):
        measure_statistics(model, tmp_path / "other.pt", 4, 0, lambda done, total: None)
