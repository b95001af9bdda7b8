"""What is done with rows of a population once all that they get in a call is there: `RowWork` for threads."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from nsim.frontends.network import NeuronModel
from nsim.simulator.integers import IntegerArithmetic
from nsim.simulator.neuron_kernels import (
    integer_reset,
    integer_threshold,
    kernel_parameters,
    saturate,
    update_integer_neurons,
    update_neurons,
    update_signed_neurons,
)
from nsim.simulator.projector import RowWork, rows_of


def neuron_update(
    neuron: NeuronModel,
    unit: float | None,
    arithmetic: IntegerArithmetic,
    current: np.ndarray,
    spikes: np.ndarray,
    active: np.ndarray,
    potential: np.ndarray,
) -> RowWork:
    """Updates neurons: ``current`` [T, B, H, W, C] in; ``spikes``, ``active`` and ``potential`` out.

    ``unit``: of a quantised population, whose state is kept in ``arithmetic``; None for real numbers.
    """
    arrays = rows_of(current), rows_of(spikes), rows_of(active), rows_of(potential[None])[0]
    if neuron.signed:
        return _signed(neuron, *arrays)
    if unit is not None:
        return _integer(neuron, unit, arithmetic, *arrays)
    model = kernel_parameters(neuron, current.dtype)
    currents, *out = arrays
    return lambda first, last: update_neurons(first, last, currents, *model, *out)


def _signed(
    neuron: NeuronModel, current: np.ndarray, spikes: np.ndarray, active: np.ndarray, potential: np.ndarray
) -> RowWork:
    signs, threshold = spikes.view(np.int8), neuron.v_threshold
    return lambda first, last: update_signed_neurons(
        first, last, current, threshold, signs, active, potential
    )


def _integer(
    neuron: NeuronModel, unit: float, arithmetic: IntegerArithmetic, current: np.ndarray, *out: np.ndarray
) -> RowWork:
    model = _integer_parameters(neuron, unit, arithmetic)
    return lambda first, last: update_integer_neurons(first, last, current, *model, *out)


@lru_cache(maxsize=4096)
def _integer_parameters(
    neuron: NeuronModel, unit: float, arithmetic: IntegerArithmetic
) -> tuple[int, int, int, int, bool, int, int]:
    """A NeuronModel as `update_integer_neurons` takes it, from ``fraction`` to ``limit``."""
    bits, fraction = arithmetic.decay_bits, arithmetic.unit_bits
    kept = round((1 << bits) * (1 - 1 / neuron.tau)) if neuron.tau else 1 << bits
    # inputs are whole units: a potential reaches a threshold when it is beyond the unit before it
    whole = ((integer_threshold(neuron, unit) - 1) << fraction) + 1
    taken = integer_reset(neuron, unit)
    return fraction, kept, bits, whole, taken is not None, (taken or 0) << fraction, arithmetic.limit


def clipping(values: np.ndarray, arithmetic: IntegerArithmetic) -> tuple[RowWork, np.ndarray]:
    """Keeps analog values [T, B, H, W, C] within the width of a potential; and what will be the largest of
    each row."""
    rows = rows_of(values)
    largest = np.zeros(rows.shape[1], np.int64)
    limit = arithmetic.limit >> arithmetic.unit_bits
    return lambda first, last: saturate(first, last, limit, rows, largest), largest


def narrowing(values: np.ndarray, narrow: np.ndarray) -> RowWork:
    """Copies integers [T, B, H, W, C] into 16 bits, whether they fit or not."""
    wide, copies = rows_of(values), rows_of(narrow)
    return lambda first, last: np.copyto(copies[:, first:last], wide[:, first:last], casting="unsafe")
