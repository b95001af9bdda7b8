"""Measure some sampler steps and say what all of them cost, with an interval.

The steps of a trajectory change slowly from one to the next, so a sample spread evenly over them says much
about the rest. Each step that was not measured is taken to be like the nearest one that was (of two, the
earlier and the later in turn, so that a steady rise cancels out). With n steps spread evenly this is the
estimator of a systematic sample, stratified over the sampler step, N_h steps to each measured step h,

    total = sum_h N_h y_h .

Its error is judged from how much neighbours in the sample differ (the estimator by successive differences;
Wolter, Introduction to Variance Estimation, 2nd ed. 2007, section 8.2):

    var(total) = sum_h N_h^2 (1 - 1/N_h) s^2,    s^2 = sum_h (y_(h+1) - y_h)^2 / (2 (n - 1)) ,

and the interval is Student's with n - 1 degrees of freedom. Where costs rise or fall steadily this is wider
than need be; it is too narrow if steps that were not measured differ from their neighbours in a way that
no measured step does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nsim.errors import RunError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Extrapolation:
    """The total of all steps; ``low`` and ``high`` bound it with CONFIDENCE, None from a single step."""

    total: float
    standard_error: float | None
    low: float | None
    high: float | None


def parse_detail_steps(text: str, steps: int) -> tuple[int, ...]:
    """Read "all", step numbers as "0,10,20", or "n:20" for twenty in the middles of equal stretches.

    ``steps``: sampler steps of the run. RunError for anything else.
    """
    if text == "all":
        return tuple(range(steps))
    if re.fullmatch(r"n:[1-9]\d*", text):
        number = int(text[2:])
        if number >= steps:
            return tuple(range(steps))
        return tuple((2 * i + 1) * steps // (2 * number) for i in range(number))
    if re.fullmatch(r"\d+(,\d+)*", text):
        chosen = sorted({int(part) for part in text.split(",")})
        if chosen[-1] >= steps:
            raise RunError(
                f"--detail-steps: no sampler step {chosen[-1]}; the {steps} steps are 0 to {steps - 1}"
            )
        return tuple(chosen)
    raise RunError(
        f"--detail-steps {text!r} is none of all, n:20 (20 steps, spread evenly), 0,10,20 (these steps)"
    )


def nearest_measured(measured: np.ndarray, steps: int) -> np.ndarray:
    """For each of ``steps`` the nearest of ``measured`` (increasing), of two the earlier or later in turn."""
    step = np.arange(steps)
    after = np.searchsorted(measured, step).clip(max=len(measured) - 1)
    before = (after - 1).clip(min=0)
    further = np.abs(step - measured[after]) - np.abs(step - measured[before])
    tied = (further == 0) & (after != before)
    later = (further < 0) | (tied & (np.cumsum(tied) % 2 == 0))
    return np.asarray(measured[np.where(later, after, before)])


def fill_steps(frame: pd.DataFrame, measured: np.ndarray, steps: int) -> pd.DataFrame:
    """A frame with a column sampler_step, each step not measured given the rows of the nearest that was.

    Rows of what comes after the last of ``steps``, the decoder's call, stay as they are.
    """
    by_step = frame.set_index("sampler_step", drop=False)
    parts = [by_step.loc[[m]].assign(sampler_step=i) for i, m in enumerate(nearest_measured(measured, steps))]
    return pd.concat([*parts, by_step[by_step["sampler_step"] >= steps]], ignore_index=True)


def extrapolate(values: np.ndarray, measured: np.ndarray, steps: int, known: float = 0.0) -> Extrapolation:
    """Estimate the total over ``steps`` from the values [n] of the ``measured`` steps (increasing).

    ``known`` is added: what all steps cost beside, without an error of its own.
    """
    sizes = np.bincount(np.searchsorted(measured, nearest_measured(measured, steps)), minlength=len(measured))
    total = float(sizes @ values) + known
    if len(measured) == steps:
        return Extrapolation(total, 0.0, total, total)
    if len(measured) == 1:
        return Extrapolation(total, None, None, None)
    from scipy.stats import t

    spread = np.sum(np.diff(values) ** 2) / (2 * (len(values) - 1))
    error = float(np.sqrt(np.sum(sizes * (sizes - 1.0)) * spread))
    reach = error * float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return Extrapolation(total, error, total - reach, total + reach)
