"""Samplers against formulas derived another way: Gaussian data, whose best denoiser is known exactly."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from nsim.errors import RunError
from nsim.workloads.samplers import (
    DDIM,
    DDPM,
    DIFFUSION_STEPS,
    Denoiser,
    SamplerSpec,
    initial_noise,
    linear_schedule,
    parse_sampler,
    sample,
    trajectory,
)

SHAPE = (3, 1, 4, 4)
ALPHA_BAR = linear_schedule(DIFFUSION_STEPS).alpha_bar


def gaussian_denoiser(deviation: float) -> Denoiser:
    """Best eps for data ~ N(0, deviation^2): E[eps | x_t] = sqrt(1 - ab) x / (ab deviation^2 + 1 - ab)."""

    def denoise(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        ab = ALPHA_BAR[t][:, None, None, None]
        return np.sqrt(1.0 - ab) * x / (ab * deviation**2 + 1.0 - ab)

    return denoise


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("ddim:50", list(range(999, 0, -20))),
        ("ddim:1", [999]),
        ("ddim:3", [999, 665, 332]),
        ("ddim:1000", list(range(999, 0, -1))),
        ("ddpm:1000", list(range(999, -1, -1))),
        ("ddpm-small:1000", list(range(999, -1, -1))),
    ],
)
def test_time_lists(text: str, times: list[int]) -> None:
    timesteps = parse_sampler(text).build(seed=0).timesteps
    assert timesteps.tolist() == times
    assert timesteps.dtype == np.int64


@pytest.mark.parametrize("steps", [2, 10, 50, 1000])
def test_ddim_multiplies_gaussian_data_by_a_known_factor_per_hop(steps: int) -> None:
    """``x_s = x_t (sqrt(ab_s ab_t) d^2 + sqrt((1 - ab_s)(1 - ab_t))) / (ab_t d^2 + 1 - ab_t)``, unclamped."""
    deviation = 0.1  # small enough that no x0 reaches the clamp
    spec = SamplerSpec("ddim", steps)
    times = [*spec.build(seed=0).timesteps, 0]
    expected = initial_noise(SHAPE, seed=1).astype(np.float64)
    for t, s in pairwise(times):
        ab_t, ab_s = ALPHA_BAR[t], ALPHA_BAR[s]
        expected *= np.sqrt(ab_s * ab_t) * deviation**2 + np.sqrt((1 - ab_s) * (1 - ab_t))
        expected /= ab_t * deviation**2 + 1 - ab_t
    images = sample(gaussian_denoiser(deviation), spec, SHAPE, seed=1)
    assert images.dtype == np.float32
    np.testing.assert_allclose(images, expected, rtol=0, atol=1e-6)


def test_ddim_approaches_the_exact_flow_as_steps_grow() -> None:
    """The probability flow of Gaussian data only rescales: ``x_0 = x_T sqrt(var_0 / var_T)``."""
    deviation = 0.1
    variance = ALPHA_BAR * deviation**2 + 1 - ALPHA_BAR
    exact = initial_noise(SHAPE, seed=2) * np.sqrt(variance[0] / variance[-1])
    errors = [
        np.abs(sample(gaussian_denoiser(deviation), SamplerSpec("ddim", n), SHAPE, seed=2) - exact).max()
        for n in (10, 100, 1000)
    ]
    assert errors[0] > 5 * errors[1] > 25 * errors[2]


def test_ddim_clamps_x0_and_keeps_eps() -> None:
    x, eps = np.full(SHAPE, 3.0, np.float32), np.full(SHAPE, -0.5, np.float32)
    sampler = DDIM()
    sampler.set_timesteps(50)
    expected = np.sqrt(ALPHA_BAR[479]) * 1.0 + np.sqrt(1 - ALPHA_BAR[479]) * -0.5
    np.testing.assert_allclose(sampler.step(eps, 499, x).prev_sample, expected, rtol=1e-6)


def posterior(t: int, x0: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, float]:
    """q(x_{t-1} | x_t, x0) as a product of two Gaussians: precisions add, means weigh by precision."""
    alpha = ALPHA_BAR[t] / ALPHA_BAR[t - 1]
    from_x, from_x0 = alpha / (1 - alpha), 1 / (1 - ALPHA_BAR[t - 1])
    variance = 1 / (from_x + from_x0)
    mean = variance * (from_x * x / np.sqrt(alpha) + from_x0 * np.sqrt(ALPHA_BAR[t - 1]) * x0)
    return mean, variance


@pytest.mark.parametrize("t", [1, 2, 500, 999])
def test_ddpm_step_draws_from_the_posterior(t: int) -> None:
    shape = (64, 1, 8, 8)
    rng = np.random.default_rng(t)
    x = rng.standard_normal(shape, dtype=np.float32)
    eps = rng.standard_normal(shape, dtype=np.float32)
    x0 = np.clip((x - np.sqrt(1 - ALPHA_BAR[t]) * eps) / np.sqrt(ALPHA_BAR[t]), -1, 1)
    mean, variance = posterior(t, x0, x)
    small = (DDPM(7, "fixedsmall").step(eps, t, x).prev_sample - mean) / np.sqrt(variance)
    # beta_t, but the posterior's variance of t = 1 stands in for beta_0, which t = 0 never uses
    large_variance = 1 - ALPHA_BAR[t] / ALPHA_BAR[t - 1]
    large = (DDPM(7, "fixedlarge").step(eps, t, x).prev_sample - mean) / np.sqrt(large_variance)
    np.testing.assert_allclose(large, small, rtol=0, atol=2e-4)  # both are the same unit noise
    assert abs(large.mean()) < 0.05
    assert abs(large.std() - 1) < 0.05


@pytest.mark.parametrize("variance", ["fixedlarge", "fixedsmall"])
def test_ddpm_ends_on_the_clamped_x0_without_noise(variance: str) -> None:
    x = np.linspace(-2, 2, 16, dtype=np.float32).reshape(1, 1, 4, 4)
    last = DDPM(0, variance).step(np.zeros_like(x), 0, x).prev_sample
    np.testing.assert_allclose(last, np.clip(x / np.sqrt(ALPHA_BAR[0]), -1, 1), rtol=1e-6)


def test_ddpm_gives_gaussian_data_their_deviation() -> None:
    images = sample(gaussian_denoiser(0.2), SamplerSpec("ddpm-small", 1000), (64, 1, 4, 4), seed=3)
    assert abs(images.std() / 0.2 - 1) < 0.05


@pytest.mark.parametrize("text", ["ddim:5", "ddpm:1000"])
def test_an_image_does_not_depend_on_the_batch_size(text: str) -> None:
    one = sample(gaussian_denoiser(0.3), parse_sampler(text), (1, *SHAPE[1:]), seed=4)
    three = sample(gaussian_denoiser(0.3), parse_sampler(text), SHAPE, seed=4)
    assert np.array_equal(one[0], three[0])
    assert not np.array_equal(three[0], three[1])
    other_seed = sample(gaussian_denoiser(0.3), parse_sampler(text), SHAPE, seed=5)
    assert not np.array_equal(three, other_seed)


def test_a_walk_taken_up_in_the_middle_ends_on_the_same_image() -> None:
    denoise, seed = gaussian_denoiser(0.3), 6
    steps = []
    whole = sample(denoise, parse_sampler("ddpm:1000"), SHAPE, seed, on_step=steps.append)
    assert [(s.index, s.t) for s in steps] == [(k, 999 - k) for k in range(1000)]
    resumed = trajectory(denoise, parse_sampler("ddpm:1000").build(seed), steps[699].x, first=700)
    *_, last = resumed
    assert (last.index, last.t) == (999, 0)
    assert np.array_equal(last.x, whole)


def test_the_denoiser_gets_float32_images_and_int64_times() -> None:
    seen = []

    def denoise(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        seen.append((x.dtype, t.dtype, t.tolist()))
        return x.astype(np.float64)

    sample(denoise, parse_sampler("ddim:2"), SHAPE, seed=0)
    assert seen == [(np.float32, np.int64, [999] * 3), (np.float32, np.int64, [499] * 3)]


@pytest.mark.parametrize(
    "text", ["ddim", "ddim:", "ddim:-5", "ddim:50 ", "dpm-solver:20", "ddpm-large:1000", ""]
)
def test_an_unknown_sampler_is_refused(text: str) -> None:
    with pytest.raises(RunError) as error:
        parse_sampler(text)
    assert str(error.value) == (
        f"sampler {text!r} is none of ddim:N (N from 1 to 1000), ddpm:1000, ddpm-small:1000; "
        "for example ddim:50"
    )


@pytest.mark.parametrize("steps", [0, 1001])
def test_ddim_refuses_a_number_of_steps_it_cannot_take(steps: int) -> None:
    with pytest.raises(RunError) as error:
        parse_sampler(f"ddim:{steps}")
    assert str(error.value) == (
        f"sampler 'ddim:{steps}': ddim takes 1 to 1000 steps, not {steps}; for example ddim:50"
    )


@pytest.mark.parametrize("kind", ["ddpm", "ddpm-small"])
def test_ddpm_refuses_fewer_steps(kind: str) -> None:
    with pytest.raises(RunError) as error:
        parse_sampler(f"{kind}:50")
    assert str(error.value) == (
        f"sampler '{kind}:50': ddpm is right only with all 1000 steps, not 50: its coefficients are "
        "one-step ones; take ddpm:1000, or ddim:N for fewer steps"
    )


@pytest.mark.parametrize("text", ["ddim:50", "ddpm:1000", "ddpm-small:1000"])
def test_a_sampler_prints_as_it_was_written(text: str) -> None:
    assert str(parse_sampler(text)) == text
