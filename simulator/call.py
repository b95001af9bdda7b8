"""What one denoiser call did."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from nsim.frontends.network import Network

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Call:
    """What one denoiser call did.

    ``eps`` [B, C, H, W]; ``spikes`` and ``active``: population name to bool [T, B, C, H, W] (active: the
    neuron's state or input was not zero at that step); ``potentials``: the state after the last step
    [B, C, H, W]; ``currents``: input of every neuron [T, B, C, H, W], when asked for. In ``int`` precision
    both are integers, in the population's ``unit``, potentials in the arithmetic's fractions of it and
    counted from the resting value.
    ``running``: for populations with a gate, in which time steps and for which images they ran: bool [T, B].
    ``signs``: spikes of signed neurons with their sign, int8 [T, B, C, H, W]; ``spikes`` says where they are.
    """

    network: Network
    eps: np.ndarray
    spikes: dict[str, np.ndarray]
    active: dict[str, np.ndarray]
    potentials: dict[str, np.ndarray]
    currents: dict[str, np.ndarray] = field(default_factory=dict)
    running: dict[str, np.ndarray] = field(default_factory=dict)
    signs: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def counts(self) -> pd.DataFrame:
        """Operations per layer and time step of the model as traced; see `algorithm_counts`."""
        from nsim.simulator.algorithm_counts import algorithm_counts

        return algorithm_counts(self)


def with_relays(call: Call, laid_out: Network) -> Call:
    """The call with what the relay neurons of a laid-out network do: they repeat their origin's spikes."""
    relays = {p.name: p.relay.origin for p in laid_out.neurons if p.relay is not None}
    repeated = {name: call.spikes[origin] for name, origin in relays.items()}
    return replace(call, spikes=call.spikes | repeated, active=call.active | repeated) if relays else call
