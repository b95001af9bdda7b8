"""Image quality of generated digits, measured against real ones without downloading anything.

The measure is the Frechet distance of FID (Heusel et al. 2017), with the features of a small classifier
of the same digits in place of Inception's. It says how far samples are from held-out digits on a scale
whose ends are measured too: noise at one end, real digits against real digits at the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from nsim.workloads.digits import IMAGE_SIZE, Digits, load_digits

FEATURES = 32
SPOILED = 10
"""The class after the ten digits."""
EPOCHS = 15
BATCH_SIZE = 64
LEARNING_RATE = 2e-3
SPLITS = 10


def frechet_distance(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """Squared Frechet distance of the Gaussians fitted to two feature sets [N, D] and [M, D].

    ``|mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2))`` (Dowson and Landau 1982; FID), with unbiased
    covariances. With S = R^T R from the QR decomposition of the centred features, the trace of the root
    is the sum of the singular values of R_a R_b^T: real and symmetric in the two sets even where a
    covariance is singular. A finite sample raises it: compare only sets of similar sizes.
    """
    if min(len(features_a), len(features_b)) < 2:
        raise ValueError(f"a covariance takes 2 rows or more, not {len(features_a)} and {len(features_b)}")
    mean_a, root_a = _mean_and_root(features_a)
    mean_b, root_b = _mean_and_root(features_b)
    overlap = np.linalg.norm(root_a @ root_b.T, "nuc")
    distance = np.sum((mean_a - mean_b) ** 2) + np.sum(root_a**2) + np.sum(root_b**2) - 2.0 * overlap
    return max(0.0, float(distance))


def _mean_and_root(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [D] and R [min(N, D), D] with R^T R the unbiased covariance, in float64."""
    features = features.astype(np.float64)
    mean = features.mean(axis=0)
    return mean, np.linalg.qr((features - mean) / np.sqrt(len(features) - 1)).R


class DigitFeatures:
    """A small classifier trained on the training digits in a second or two; same seed, same classifier.

    The features are the 32 values before the last rectifier. Beside the ten digits it learns an eleventh
    class, training digits spoiled (noisy, glued from two halves, blended): a classifier that has seen only
    clean digits learns to overlook noise, and the distance would overlook it too.
    """

    def __init__(self, digits: Digits, seed: int = 0) -> None:
        with torch.random.fork_rng(devices=[]), _one_thread():
            torch.manual_seed(seed)
            self._body = nn.Sequential(
                nn.Conv2d(1, 16, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.Conv2d(16, 32, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(32 * (IMAGE_SIZE // 4) ** 2, FEATURES),
            )
            self._head = nn.Sequential(nn.ReLU(), nn.Linear(FEATURES, SPOILED + 1))
            self._train(torch.from_numpy(digits.train_images), torch.from_numpy(digits.train_labels))

    def _train(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        parameters = [*self._body.parameters(), *self._head.parameters()]
        optimiser = torch.optim.Adam(parameters, lr=LEARNING_RATE)
        for _ in range(EPOCHS):
            for batch in torch.randperm(len(images)).split(BATCH_SIZE):
                seen = torch.cat([images[batch], _spoil(images[batch])])
                wanted = torch.cat([labels[batch], torch.full_like(batch, SPOILED)])
                loss = nn.functional.cross_entropy(self._head(self._body(seen)), wanted)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()

    @torch.no_grad()
    def features(self, images: np.ndarray) -> np.ndarray:
        """Features [N, 32] float32 of images [N, 1, 16, 16] in [-1, 1]."""
        return self._body(torch.from_numpy(images.astype(np.float32))).numpy()

    @torch.no_grad()
    def accuracy(self, images: np.ndarray, labels: np.ndarray) -> float:
        """Fraction of ``images`` given their own label, when told that all are digits."""
        classes = self._head(torch.from_numpy(self.features(images)))[:, :SPOILED].argmax(dim=1)
        return float(np.mean(classes.numpy() == labels))


def _spoil(images: torch.Tensor) -> torch.Tensor:
    """Each image [B, 1, H, W] either with noise, or its right half from another, or blended with it."""
    other = images[torch.randperm(len(images))]
    level = torch.rand(len(images), 1, 1, 1)
    noisy = images + level * torch.randn(images.shape)
    middle = images.shape[-1] // 2
    glued = torch.cat([images[..., :middle], other[..., middle:]], dim=-1)
    blended = torch.lerp(images, other, 0.2 + 0.6 * level)
    kind = torch.randint(0, 3, level.shape)
    return torch.where(kind == 0, noisy, torch.where(kind == 1, glued, blended))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run torch on one thread: sums keep one order, and batches this small gain nothing from more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Quality:
    """Frechet distances to the held-out digits, and what frames them."""

    fd_samples: float
    """The samples."""
    fd_noise: float
    """As many images of unit Gaussian noise, clipped to [-1, 1]."""
    fd_halves: float
    """Two random halves of all real digits against each other, mean over seeded splits."""
    classifier_accuracy: float
    """On the held-out digits: whether the features can be trusted at all."""
    n_samples: int


def digit_quality(samples: np.ndarray) -> Quality:
    """Measure generated digits [N, 1, 16, 16]; a pixel outside [-1, 1] counts as it is.

    Takes 500 samples or more to be fair: few samples fit a Gaussian badly, and even real digits are
    7.8 times ``fd_halves`` away at 100 of them, 2.5 times at 200, 1.2 times at 500.
    """
    digits = load_digits()
    classifier = DigitFeatures(digits)
    held_out = classifier.features(digits.held_out_images)
    noise = np.clip(np.random.default_rng(0).standard_normal(samples.shape), -1.0, 1.0)
    real = np.concatenate([classifier.features(digits.train_images), held_out])
    orders = [np.random.default_rng(seed).permutation(len(real)) for seed in range(SPLITS)]
    half = len(real) // 2
    return Quality(
        fd_samples=frechet_distance(classifier.features(samples), held_out),
        fd_noise=frechet_distance(classifier.features(noise), held_out),
        fd_halves=float(np.mean([frechet_distance(real[o[:half]], real[o[half:]]) for o in orders])),
        classifier_accuracy=classifier.accuracy(digits.held_out_images, digits.held_out_labels),
        n_samples=len(samples),
    )
