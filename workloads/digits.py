"""Scikit-learn's handwritten digits as 16x16 images, split once and for all into training and held-out."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from nsim.errors import TrainError

IMAGE_SIZE = 16
HELD_OUT = 500
SPLIT_SEED = 0


@dataclass(frozen=True)
class Digits:
    """Images [N, 1, 16, 16] float32 in [-1, 1] and labels [N]; the held-out part is never trained on."""

    train_images: np.ndarray
    train_labels: np.ndarray
    held_out_images: np.ndarray
    held_out_labels: np.ndarray


def load_digits() -> Digits:
    """Read the 1,797 digits that scikit-learn ships, upscale 8x8 to 16x16 (bilinear), scale to [-1, 1].

    Raises TrainError when scikit-learn is not installed.
    """
    if find_spec("sklearn") is None:
        raise TrainError("the digits come with scikit-learn: pip install 'nsim[train]'")
    from scipy.ndimage import zoom
    from sklearn import datasets

    bunch = datasets.load_digits()
    scale = IMAGE_SIZE / bunch.images.shape[1]
    images = zoom(bunch.images, (1, scale, scale), order=1, grid_mode=True, mode="nearest")
    images = (images / 8.0 - 1.0).astype(np.float32)[:, None]
    order = np.random.default_rng(SPLIT_SEED).permutation(len(images))
    held_out, train = order[:HELD_OUT], order[HELD_OUT:]
    return Digits(images[train], bunch.target[train], images[held_out], bunch.target[held_out])
