"""`nsim quality` of a model of tokens: decoded images are measured, whatever the batch."""

from __future__ import annotations

import numpy as np
import pytest

from nsim.errors import RunError
from nsim.frontends.model import Model
from nsim.reports import quality
from nsim.simulator.engine import Engine
from nsim.workloads import quality as measures
from nsim.workloads.load_spiking_diffusion import spiking_diffusion_model
from nsim.workloads.random_weights import random_spiking_diffusion
from nsim.workloads.samplers import build_sampler, initial_state, trajectory
from nsim.workloads.spiking_diffusion import SpikingDiffusionConfig

CONFIG = SpikingDiffusionConfig(
    image_size=16, code_count=8, code_width=4, vae_widths=(4, 8), sdid_widths=(4, 8, 8, 8, 4), time_steps=4
)


def model(config: SpikingDiffusionConfig = CONFIG) -> Model:
    return spiking_diffusion_model("tokens", *random_spiking_diffusion(config, 0), "random")


def ignore(done: int, total: int) -> None:
    """Report to nobody."""


def test_what_is_measured_are_decoded_images_whatever_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []

    def measure(samples: np.ndarray) -> measures.Quality:
        seen.append(samples)
        return measures.Quality(2.0, 8.0, 1.0, 0.9, len(samples))

    monkeypatch.setattr(measures, "digit_quality", measure)
    for batch in (2, 50):
        monkeypatch.setattr(quality, "BATCH", batch)
        facts = quality.quality_facts(model(), "absorbing:16", 5, 3, None, ignore)
    assert facts["samples_over_halves"] == 2.0
    assert np.array_equal(*seen)

    tokens, network = model(), model().network
    walk, _ = build_sampler("absorbing:16", 3, tokens)
    engine, start = Engine(network), initial_state(walk, (5, 1, 4, 4), 3)
    *_, last = trajectory(lambda x, t: engine.call(x, t).eps, walk, start)
    assert tokens.decoder is not None
    decoded = Engine(tokens.decoder).call(last.x).eps
    np.testing.assert_array_equal(seen[0], np.clip(2.0 * decoded, -1.0, 1.0))


def test_images_of_another_size_and_samplers_of_numbers_are_refused() -> None:
    with pytest.raises(RunError, match="tokens makes images of shape 1x28x28; quality is defined for digits"):
        quality.quality_facts(
            model(SpikingDiffusionConfig(code_count=8, sdid_widths=(4, 8, 8, 8, 4), time_steps=2)),
            "absorbing:49",
            2,
            0,
            None,
            ignore,
        )
    with pytest.raises(RunError, match="ddim:5: tokens is not for this sampler, but for absorbing:N"):
        quality.quality_facts(model(), "ddim:5", 2, 0, None, ignore)
