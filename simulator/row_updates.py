"""What is done with rows of a population once all that they get in a call is there: `RowWork` for threads."""

from __future__ import annotations

from collections.abc import Sequence

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


def in_turn(works: Sequence[RowWork]) -> RowWork:
    """All of ``works`` on some rows, one after the other."""

    def done(first: int, last: int) -> None:
        for work in works:
            work(first, last)

    return done


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
    bits, fraction = arithmetic.decay_bits, arithmetic.unit_bits
    kept = round((1 << bits) * (1 - 1 / neuron.tau)) if neuron.tau else 1 << bits
    # inputs are whole units: a potential reaches a threshold when it is beyond the unit before it
    whole = ((integer_threshold(neuron, unit) - 1) << fraction) + 1
    taken, limit = integer_reset(neuron, unit), arithmetic.limit
    soft, subtract = taken is not None, (taken or 0) << fraction
    return lambda first, last: update_integer_neurons(
        first, last, current, fraction, kept, bits, whole, soft, subtract, limit, *out
    )


def clipping(values: np.ndarray, arithmetic: IntegerArithmetic) -> tuple[RowWork, np.ndarray]:
    """Keeps analog values [T, B, H, W, C] within the width of a potential; and what will be the largest of
    each row."""
    rows = rows_of(values)
    largest = np.zeros(rows.shape[1], np.int64)
    limit = arithmetic.limit >> arithmetic.unit_bits
    return lambda first, last: saturate(first, last, limit, rows, largest), largest
