"""The Frechet distance against its closed form, and the digit features against good and bad images."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import torch
from hypothesis import given
from hypothesis import strategies as st

from nsim.workloads.digits import Digits, load_digits
from nsim.workloads.quality import DigitFeatures, digit_quality, frechet_distance


def with_moments(mean: np.ndarray, covariance: np.ndarray, rows: int, seed: int) -> np.ndarray:
    """Rows whose sample mean and unbiased sample covariance are exactly those given."""
    z = np.random.default_rng(seed).standard_normal((rows, len(mean)))
    z -= z.mean(axis=0)
    white = z @ np.linalg.inv(np.linalg.cholesky(z.T @ z / (rows - 1))).T
    return mean + white @ np.linalg.cholesky(covariance).T


def test_independent_gaussians() -> None:
    """With diagonal covariances: ``|mu_a - mu_b|^2 + sum (sigma_a - sigma_b)^2``."""
    a = with_moments(np.array([0.0, 1.0, 2.0]), np.diag([1.0, 4.0, 9.0]), 50, seed=0)
    b = with_moments(np.array([1.0, 1.0, 0.0]), np.diag([4.0, 4.0, 0.25]), 70, seed=1)
    assert frechet_distance(a, b) == pytest.approx(1 + 4 + 1 + 0 + 2.5**2, rel=1e-12)


def test_correlated_gaussians_against_the_matrix_square_root() -> None:
    rng = np.random.default_rng(2)
    factor_a, factor_b = rng.standard_normal((2, 5, 5))
    cov_a, cov_b = factor_a @ factor_a.T + np.eye(5), factor_b @ factor_b.T + np.eye(5)
    a, b = with_moments(np.zeros(5), cov_a, 40, seed=3), with_moments(np.ones(5), cov_b, 40, seed=4)
    expected = 5 + np.trace(cov_a + cov_b - 2 * scipy.linalg.sqrtm(cov_a @ cov_b).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(2, 12), columns=st.integers(1, 6))
def test_symmetric_never_negative_and_zero_for_identical(seed: int, rows: int, columns: int) -> None:
    """Also with fewer rows than columns, where the covariance is singular."""
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((rows, columns)), 3 * rng.standard_normal((rows + 1, columns)) + 1
    distance = frechet_distance(a, b)
    assert distance >= 0
    assert frechet_distance(b, a) == pytest.approx(distance, rel=1e-9, abs=1e-9)
    assert frechet_distance(a, a) < 1e-10


def test_a_single_row_has_no_covariance() -> None:
    with pytest.raises(ValueError) as error:
        frechet_distance(np.zeros((1, 2)), np.zeros((5, 2)))
    assert str(error.value) == "a covariance takes 2 rows or more, not 1 and 5"


@pytest.fixture(scope="module")
def digits() -> Digits:
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn (nsim[train])")
    return load_digits()


@pytest.fixture(scope="module")
def classifier(digits: Digits) -> DigitFeatures:
    return DigitFeatures(digits)


def test_digits_are_split_once_and_scaled(digits: Digits) -> None:
    assert digits.train_images.shape == (1297, 1, 16, 16)
    assert digits.held_out_images.shape == (500, 1, 16, 16)
    assert digits.train_images.dtype == np.float32
    assert (digits.train_images.min(), digits.train_images.max()) == (-1.0, 1.0)
    assert sorted(set(digits.held_out_labels.tolist())) == list(range(10))


def test_the_classifier_knows_digits_it_has_not_seen(digits: Digits, classifier: DigitFeatures) -> None:
    assert classifier.features(digits.held_out_images).shape == (500, 32)
    assert classifier.accuracy(digits.held_out_images, digits.held_out_labels) > 0.95
    wrong_labels = (digits.held_out_labels + 1) % 10
    assert classifier.accuracy(digits.held_out_images, wrong_labels) < 0.05


def test_training_repeats_itself_and_leaves_torch_as_it_was(
    digits: Digits, classifier: DigitFeatures
) -> None:
    random_state, threads = torch.get_rng_state(), torch.get_num_threads()
    again = DigitFeatures(digits)
    images = digits.held_out_images
    assert np.array_equal(again.features(images), classifier.features(images))
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.get_num_threads() == threads


def test_real_digits_reach_the_targets(digits: Digits) -> None:
    quality = digit_quality(digits.train_images[:500])
    assert quality.fd_samples <= quality.fd_noise / 100
    assert quality.fd_samples <= 2 * quality.fd_halves
    assert quality.classifier_accuracy > 0.95
    assert quality.n_samples == 500
    with pytest.raises(FrozenInstanceError):
        quality.n_samples = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    "defect", ["noise", "clipped noise", "blur", "glued halves", "no threes", "a tenth is noise"]
)
def test_bad_digits_miss_the_target(defect: str, digits: Digits, classifier: DigitFeatures) -> None:
    """Each defect takes real digits further from the held-out ones than 5 times the halves' distance."""
    good = digits.train_images[:500]
    noise = np.random.default_rng(0).standard_normal(good.shape)
    bad = {
        "noise": good + 0.3 * noise,
        "clipped noise": np.clip(good + 0.3 * noise, -1, 1),
        "blur": scipy.ndimage.gaussian_filter(good, (0, 0, 1, 1)),
        "glued halves": np.concatenate([good[..., :8], good[::-1][..., 8:]], axis=-1),
        "no threes": digits.train_images[digits.train_labels != 3][:500],
        "a tenth is noise": np.concatenate([good[:450], np.clip(noise[:50], -1, 1)]),
    }
    held_out = classifier.features(digits.held_out_images)
    real = np.concatenate([classifier.features(digits.train_images), held_out])
    real = np.random.default_rng(0).permutation(real)
    halves = frechet_distance(real[:898], real[898:])
    assert frechet_distance(classifier.features(bad[defect]), held_out) > 5 * halves
