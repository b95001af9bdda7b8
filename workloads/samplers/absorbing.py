"""Absorbing-state discrete diffusion (Austin et al. 2021), as Spiking-Diffusion samples its tokens."""

from __future__ import annotations

import numpy as np

from nsim.errors import RunError
from nsim.workloads.samplers.base import StepResult

DEFAULT_TEMPERATURE = 0.65
"""That of the authors' training previews."""


class Absorbing:
    """From tokens that are all masked to tokens that none is, ``cells`` of them (T_d).

    Hop from t to s: each cell still masked is chosen with probability (t - s) / t, 1 / t with all T_d steps;
    a chosen one becomes a draw from softmax(logits / temperature), all others stay. ``codes`` (K) is the
    index of the mask. Draws for image i at time t come from a generator seeded by (seed, i, t); i counts from
    ``first_image``, so that a batch of a larger set can have the draws it would have in the whole.
    """

    first_image = 0

    def __init__(self, seed: int, codes: int, cells: int, temperature: float = DEFAULT_TEMPERATURE) -> None:
        self._seed, self._codes, self._cells, self._temperature = seed, codes, cells, temperature
        self.set_timesteps(cells)

    def set_timesteps(self, steps: int) -> None:
        """``steps`` times from T_d down: all of T_d, ..., 1, or that many of them spread evenly."""
        if not 1 <= steps <= self._cells:
            raise RunError(
                f"absorbing takes 1 to {self._cells} steps, one for each token at most, not {steps}; "
                f"for example absorbing:{self._cells}"
            )
        times = self._cells + (-np.arange(steps) * self._cells) // steps
        self.timesteps = times
        self._next = dict(zip(times.tolist(), [*times[1:].tolist(), 0], strict=True))

    def initial(self, shape: tuple[int, int, int, int], seed: int) -> np.ndarray:
        """Where the walk starts: every token masked."""
        return np.full(shape, self._codes, np.float32)

    def step(self, eps: np.ndarray, t: int, x: np.ndarray) -> StepResult:
        """Fill in some of the masked tokens ``x`` [B, 1, H, W]; ``eps``: their logits [B, K, H, W]."""
        t, s = int(t), self._next[int(t)]
        out = x.copy()
        for i, (logits, tokens) in enumerate(
            zip(eps.astype(np.float64), out[:, 0], strict=True), self.first_image
        ):
            rng = np.random.default_rng([self._seed, i, t])
            chosen = (tokens == self._codes) & (rng.random(tokens.shape) < (t - s) / t)
            drawn = np.argmax(logits / self._temperature + rng.gumbel(size=logits.shape), axis=0)
            tokens[chosen] = drawn[chosen]
        return StepResult(out)
