"""What happens on cores that share chips in rounds (see `nsim.hw_models.mapping.rounds`).

As in `core_counts` within a round. A spike that later rounds need leaves its core once, for the host: a
packet whose way is not known, so no hop, and a value read out. The host sends it to every core that holds a
target of it, in the tick before the one in which it is needed.
"""

from __future__ import annotations

import numpy as np

from nsim.hw_models.mapping.mapping import Mapping
from nsim.hw_models.mapping.rounds import Piece
from nsim.simulator.call import Call, with_relays
from nsim.simulator.core_counts import CORE_EVENTS, SENT_EVENTS, CoreCounter, EventCounts
from nsim.simulator.turns import Turns

ROUND_EVENTS = (*CORE_EVENTS, "host_read", "host_write")
"""What happens on cores where spikes of one round are kept for others."""


def counter_of(mapping: Mapping) -> CoreCounter:
    """What counts the events of calls on a mapping."""
    return RoundCounter(mapping) if mapping.rounds.loads else CoreCounter(mapping)


class RoundCounter(CoreCounter):
    """Counts the events of calls on chips that are shared; ticks as long as the longest round's."""

    def __init__(self, mapping: Mapping) -> None:
        super().__init__(mapping)
        self.rounds = mapping.rounds
        self.ticks = max(mapping.rounds.ticks)

    def count(self, call: Call) -> EventCounts:
        """Events of a call of the traced or the laid-out network; exact integers."""
        call = with_relays(call, self.network)
        shape = (len(call.eps), self.ticks, self.mapping.core_count)
        events = {event: np.zeros(shape, np.int64) for event in ROUND_EVENTS}
        for name, pieces in self.rounds.pieces.items():
            updated = held = self._neurons(name)
            if name in self._senders:
                updated = np.zeros((shape[0], self.network.time_steps, len(held)), np.int64)
                self._senders[name].updated(call.active[name], updated)
                self._sent(name, call.spikes[name], events)
            elif name in self._switched:  # read-out elements take part when they run
                updated = held * call.running[name].T[:, :, None]
            for piece in pieces:
                idle, active = events["update_idle"], events["update_active"]
                idle[:, : self.rounds.ticks[piece.round], piece.cores] = held[piece.own]
                active[:, piece.ticks, piece.cores] += updated[..., piece.own]
                idle[:, piece.ticks, piece.cores] -= updated[..., piece.own]
        return EventCounts(self.mapping, events, self._beside_played(call))

    def _beside(self, turns: Turns) -> dict[tuple[str, str], float]:
        """What happens beside the cores, and what it costs that chips are shared.

        A chip is loaded for each round; cores that keep their places look at their neurons in the ticks of
        the other rounds too. What is loaded is clear, so only chips that keep their cores are reset.
        """
        beside = super()._beside(turns)
        beside["chip", "config_load"] = turns.images * self.rounds.loads
        beside["chip", "state_reset"] = turns.images * (self.mapping.chips - 1)
        elsewhere = sum(self.rounds.ticks[1:])
        for name, grid in self.mapping.grids.items():
            waiting = self._neurons(name) * self.mapping.resident[grid.core_ids.ravel()]
            beside[name, "update_idle"] = turns.images * int(waiting.sum()) * elsewhere
        return {cause: count for cause, count in beside.items() if count}

    def _sent(self, name: str, spikes: np.ndarray, events: dict[str, np.ndarray]) -> None:
        """Everything that the spikes [T, B, C, H, W] of one population set off, round by round."""
        sender = self._senders[name]
        kinds = (*SENT_EVENTS, "host_read")
        sums = np.zeros((len(kinds), spikes.shape[1], spikes.shape[0], sender.grid.size), np.int64)
        counts = sender.fired(spikes, sums).astype(np.float64)
        for piece in self.rounds.pieces[name]:
            for event, own in zip(kinds, sums, strict=True):
                events[event][:, piece.ticks, piece.cores] = own[..., piece.own]
            here = (sender.core >= piece.own.start) & (sender.core < piece.own.stop)
            fired = counts * here.reshape(counts.shape[2:])
            for path in sender.paths:
                heard = {path.event: path.fed.apply(fired)}
                if path.arrived is not None:
                    heard["packet_in"] = path.arrived.apply(fired)
                self._heard(path.grid.population, piece, heard, events)

    def _heard(
        self, name: str, source: Piece, sums: dict[str, np.ndarray], events: dict[str, np.ndarray]
    ) -> None:
        """What spikes of ``source`` are to the cores of a population: at once, or when their round comes."""
        for piece in self.rounds.pieces[name]:
            later = piece.round != source.round
            ticks = slice(piece.ticks.start - 1, piece.ticks.stop - 1) if later else source.ticks
            for event, own in sums.items():
                events[event][:, ticks, piece.cores] += own[..., piece.own]
            if later and "packet_in" in sums:
                events["host_write"][:, ticks, piece.cores] += sums["packet_in"][..., piece.own]
