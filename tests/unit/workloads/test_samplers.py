"""Samplers against formulas derived another way: Gaussian data, whose best denoiser is known exactly."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nsim.errors import ModelFileError, RunError
from nsim.workloads.samplers import (
    DDIM,
    DDPM,
    DIFFUSION_STEPS,
    Absorbing,
    AnalyticDPM,
    Denoiser,
    DPMSolver,
    SamplerSpec,
    initial_noise,
    linear_schedule,
    parse_sampler,
    sample,
    trajectory,
)
from nsim.workloads.samplers.analytic import mean_square_eps, read_statistics, save_statistics
from nsim.workloads.samplers.scheduler_object import SchedulerObject
from nsim.workloads.samplers.walk import initial_state

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
        ("ddim-unclamped:50", list(range(999, 0, -20))),
        ("dpm-solver:50", list(range(999, 0, -20))),
        ("ddpm:1000", list(range(999, -1, -1))),
        ("ddpm-small:1000", list(range(999, -1, -1))),
    ],
)
def test_time_lists(text: str, times: list[int]) -> None:
    timesteps = parse_sampler(text).build(seed=0).timesteps
    assert timesteps.tolist() == times
    assert timesteps.dtype == np.int64


@pytest.mark.parametrize("kind", ["ddim", "ddim-unclamped"])
@pytest.mark.parametrize("steps", [2, 10, 50, 1000])
def test_ddim_multiplies_gaussian_data_by_a_known_factor_per_hop(kind: str, steps: int) -> None:
    """``x_s = x_t (sqrt(ab_s ab_t) d^2 + sqrt((1 - ab_s)(1 - ab_t))) / (ab_t d^2 + 1 - ab_t)``, unclamped."""
    deviation = 0.1  # small enough that no x0 reaches the clamp
    spec = SamplerSpec(kind, steps)
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


def test_ddim_unclamped_clamps_nothing_but_the_last_image() -> None:
    x, eps = np.full(SHAPE, 3.0, np.float32), np.full(SHAPE, -0.5, np.float32)
    sampler = DDIM(clamped=False)
    sampler.set_timesteps(50)
    x0 = (3.0 + np.sqrt(1 - ALPHA_BAR[499]) * 0.5) / np.sqrt(ALPHA_BAR[499])
    assert x0 > 1
    expected = np.sqrt(ALPHA_BAR[479]) * x0 + np.sqrt(1 - ALPHA_BAR[479]) * -0.5
    np.testing.assert_allclose(sampler.step(eps, 499, x).prev_sample, expected, rtol=1e-6)
    assert (sampler.step(eps, 19, x).prev_sample == 1.0).all()


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
    "text", ["ddim", "ddim:", "ddim:-5", "ddim:50 ", "dpm-solver:20@0.5", "ddpm-large:1000", ""]
)
def test_an_unknown_sampler_is_refused(text: str) -> None:
    with pytest.raises(RunError) as error:
        parse_sampler(text)
    assert str(error.value) == (
        f"sampler {text!r} is none of ddim:N (N from 1 to 1000), ddim-unclamped:N, ddpm:1000, "
        "ddpm-small:1000, dpm-solver:N, analytic:N, absorbing:N or "
        "absorbing:N@TEMPERATURE (tokens); for example ddim:50"
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


@pytest.mark.parametrize("text", ["ddim:50", "ddpm:1000", "ddpm-small:1000", "dpm-solver:20", "analytic:50"])
def test_a_sampler_prints_as_it_was_written(text: str) -> None:
    assert str(parse_sampler(text)) == text


# ---- DPM-Solver++ -------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 10, 50])
def test_dpm_solver_multiplies_gaussian_data_by_known_factors(steps: int) -> None:
    """The paper's algorithm 2 on a number: x0 = c_t x_t, with everything else as it is written there."""
    deviation = 0.1  # small enough that no x0 reaches the clamp
    spec = SamplerSpec("dpm-solver", steps)
    times = [*spec.build(seed=0).timesteps, 0]
    a, b = np.sqrt(ALPHA_BAR), np.sqrt(1 - ALPHA_BAR)
    log_snr = np.log(a) - np.log(b)
    x, x0_before, h_before = 1.0, 0.0, 0.0
    for i, (t, s) in enumerate(pairwise(times)):
        x0 = a[t] * deviation**2 / (ALPHA_BAR[t] * deviation**2 + 1 - ALPHA_BAR[t]) * x
        h = log_snr[s] - log_snr[t]
        r = h_before / h
        d = x0 if i == 0 or s == 0 else (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * x0_before
        x = b[s] / b[t] * x - a[s] * (np.exp(-h) - 1) * d
        x0_before, h_before = x0, h
    images = sample(gaussian_denoiser(deviation), spec, SHAPE, seed=1)
    assert images.dtype == np.float32
    np.testing.assert_allclose(images, x * initial_noise(SHAPE, seed=1), rtol=0, atol=1e-6)


def test_dpm_solver_is_of_second_order_where_ddim_is_of_first() -> None:
    """Towards the exact flow ``x_0 = x_T sqrt(var_0 / var_T)``, errors fall with the square of the steps."""
    deviation = 0.5
    variance = ALPHA_BAR * deviation**2 + 1 - ALPHA_BAR
    start = np.full(SHAPE, 0.5)
    exact = start * np.sqrt(variance[0] / variance[-1])

    def error(kind: str, steps: int) -> float:
        walk = SamplerSpec(kind, steps).build(seed=0)
        *_, last = trajectory(gaussian_denoiser(deviation), walk, start.astype(np.float32))
        return float(np.abs(last.x - exact).max())

    assert error("dpm-solver", 50) < 0.1 * error("ddim", 50)
    assert error("dpm-solver", 25) > 2.5 * error("dpm-solver", 50)


def test_dpm_solver_begins_with_a_step_of_ddim() -> None:
    rng = np.random.default_rng(0)
    x, eps = rng.standard_normal((2, *SHAPE), dtype=np.float32)
    solver, ddim = DPMSolver(), DDIM()
    for sampler in (solver, ddim):
        sampler.set_timesteps(10)
    # the two write one formula differently: eps here is that of the clamped x0
    x0 = np.clip((x - np.sqrt(1 - ALPHA_BAR[999]) * eps) / np.sqrt(ALPHA_BAR[999]), -1, 1)
    own = (x - np.sqrt(ALPHA_BAR[999]) * x0) / np.sqrt(1 - ALPHA_BAR[999])
    np.testing.assert_allclose(
        solver.step(eps, 999, x).prev_sample, ddim.step(own, 999, x).prev_sample, rtol=0, atol=2e-5
    )


def test_dpm_solver_refuses_to_be_taken_up_in_the_middle() -> None:
    with pytest.raises(RunError) as error:
        [*trajectory(gaussian_denoiser(0.1), SamplerSpec("dpm-solver", 5).build(0), np.zeros(SHAPE), first=2)]
    assert str(error.value) == (
        "dpm-solver: the step to t = 599 was not taken here, and this one needs what it found; "
        "start the walk from its first time"
    )


# ---- Analytic-DPM -------------------------------------------------------------------------------


def gaussian_mean_square(deviation: float) -> np.ndarray:
    """E[eps^2] of the best denoiser: (1 - ab) / (ab d^2 + 1 - ab)."""
    return (1 - ALPHA_BAR) / (ALPHA_BAR * deviation**2 + 1 - ALPHA_BAR)


@pytest.mark.parametrize("steps", [5, 50, 1000])
def test_analytic_variance_is_that_of_the_true_reverse_step(steps: int) -> None:
    """Of Gaussian data x_s given x_t is Gaussian, with a variance known from conditioning alone."""
    deviation = 0.3
    sampler = AnalyticDPM(0, gaussian_mean_square(deviation))
    sampler.set_timesteps(steps)
    variance = ALPHA_BAR * deviation**2 + 1 - ALPHA_BAR
    for t, s in pairwise(sampler.timesteps.tolist()):
        covariance = np.sqrt(ALPHA_BAR[t] / ALPHA_BAR[s]) * variance[s]
        assert sampler.variance(t) == pytest.approx(variance[s] - covariance**2 / variance[t], rel=1e-9)


def test_analytic_gives_gaussian_data_their_deviation_in_fewer_steps() -> None:
    walk = AnalyticDPM(3, gaussian_mean_square(0.2))
    walk.set_timesteps(200)
    *_, last = trajectory(gaussian_denoiser(0.2), walk, initial_noise((64, 1, 8, 8), 3))
    assert abs(last.x.std() / 0.2 - 1) < 0.05


def test_statistics_are_measured_saved_and_kept_apart(tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(0, 0.3, (400, 1, 8, 8)).astype(np.float32)
    times = np.arange(19, 1000, 20)
    found = mean_square_eps(gaussian_denoiser(0.3), images, times, seed=0)
    np.testing.assert_allclose(found[times], gaussian_mean_square(0.3)[times], rtol=0.03)
    path = tmp_path / "model.ms_eps.npz"
    assert read_statistics(path, "a" * 64, 4) is None
    save_statistics(path, found, "a" * 64, 4)
    np.testing.assert_array_equal(read_statistics(path, "a" * 64, 4), found)
    assert read_statistics(path, "a" * 64, 8) is None  # with more time steps it is another denoiser
    with pytest.raises(ModelFileError, match="statistics of another model file, aaaaaaaaaaaa; remove it"):
        read_statistics(path, "b" * 64, 4)


def test_analytic_without_statistics_says_how_to_make_them() -> None:
    with pytest.raises(RunError, match="make them with `nsim statistics MODEL`"):
        SamplerSpec("analytic", 50).build(0)


# ---- scheduler objects --------------------------------------------------------------------------


class TorchDDIM:
    """A scheduler as diffusers writes them: torch tensors, a config apart, scaled input, a generator."""

    init_noise_sigma = 2.0

    def set_timesteps(self, steps: int) -> None:
        self.timesteps = torch.arange(999, -1, -(1000 // steps))

    def scale_model_input(self, sample: torch.Tensor, timestep: int) -> torch.Tensor:
        return sample / 2

    def step(
        self, model_output: torch.Tensor, timestep: int, sample: torch.Tensor, generator: torch.Generator
    ) -> SimpleNamespace:
        assert model_output.dtype == sample.dtype == torch.float32
        noise = torch.randn(sample.shape, generator=generator)
        return SimpleNamespace(prev_sample=sample - model_output + 0.1 * noise)


def test_a_scheduler_object_walks_as_its_own_loop_would() -> None:
    scheduler = TorchDDIM()
    scheduler.set_timesteps(4)
    walk = SchedulerObject(scheduler, seed=7)
    assert str(walk) == "TorchDDIM:4"
    assert walk.timesteps.tolist() == [999, 749, 499, 249]
    x = initial_state(walk, SHAPE, seed=7)
    np.testing.assert_array_equal(x, 2 * initial_noise(SHAPE, seed=7))
    seen = []

    def denoise(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        seen.append(x)
        return (x * 0.5).astype(np.float64)

    *_, last = trajectory(denoise, walk, x)
    expected, generator = torch.from_numpy(x), torch.Generator().manual_seed(7)
    for _ in range(4):
        expected = expected - expected / 4 + 0.1 * torch.randn(SHAPE, generator=generator)
    np.testing.assert_allclose(last.x, expected.numpy(), rtol=1e-6)
    np.testing.assert_array_equal(seen[0], x / 2)


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (object(), "sampler object: no set_timesteps, timesteps, step; a scheduler has set_timesteps"),
        (SimpleNamespace(set_timesteps=1, step=1, timesteps=[]), "its timesteps are not set, and a denoiser"),
        (
            SimpleNamespace(set_timesteps=1, step=1, timesteps=np.array([999.0, 500.5])),
            "its timesteps are 999, 500.5, ..., and a denoiser takes whole numbers; call set_timesteps",
        ),
    ],
)
def test_what_is_no_scheduler_is_refused(scheduler: object, message: str) -> None:
    with pytest.raises(RunError) as error:
        SchedulerObject(scheduler, 0)
    assert message in str(error.value)


def test_a_batch_of_tokens_draws_what_it_would_in_the_whole() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 8, 3, 3)).astype(np.float32)
    whole, part = Absorbing(seed=4, codes=8, cells=9), Absorbing(seed=4, codes=8, cells=9)
    start = whole.initial((5, 1, 3, 3), seed=4)
    part.first_image = 2
    expected = whole.step(logits, 9, start).prev_sample[2:]
    assert np.array_equal(part.step(logits[2:], 9, start[2:]).prev_sample, expected)
    assert (expected != 8).any()
