"""Lent memory is lent again only when no one can see it any more."""

from __future__ import annotations

import numpy as np

from nsim.simulator.memory import Memory

INT = np.dtype(np.int64)


def test_memory_in_use_is_not_lent_twice() -> None:
    memory = Memory(kept=2)
    first, fresh = memory.lend("a", (2, 3), INT)
    assert fresh and not first.any()
    first[:] = 1
    second, fresh = memory.lend("a", (2, 3), INT)
    assert fresh and not second.any()
    assert not np.shares_memory(first, second)


def test_a_view_of_a_view_keeps_memory_from_being_lent() -> None:
    memory = Memory(kept=1)
    view = memory.lend("a", (2, 3), INT)[0][1, :][1:]
    view[:] = 7
    for _ in range(2):  # what is not kept is fresh every time
        other, fresh = memory.lend("a", (2, 3), INT)
        other[:] = 5
        assert fresh and (view == 7).all()


def test_memory_given_back_comes_again_as_it_was_left() -> None:
    memory = Memory(kept=1)
    memory.lend("a", (2, 3), INT)[0][:] = 4
    again, fresh = memory.lend("a", (2, 3), INT)
    assert not fresh and (again == 4).all()
    assert memory.lend("b", (2, 3), INT)[1] and memory.lend("a", (3, 2), INT)[1]
