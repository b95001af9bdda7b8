"""Tasks in this process, in processes, on Dask: each outcome once, failures alone, deaths survived."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from nsim.errors import SweepError
from nsim.reports.workers import Outcome, Workers, _pool
from tests.tasks import deadly, half_a_result, odd_ones_fail, square


@pytest.mark.parametrize("workers", [Workers(1), Workers(2)])
def test_every_task_has_one_outcome(workers: Workers) -> None:
    outcomes = list(workers.run(square, [3, 4, 5]))
    assert sorted(i for i, _ in outcomes) == [0, 1, 2]
    assert {i: outcome.value for i, outcome in outcomes} == {0: 9, 1: 16, 2: 25}
    assert list(workers.run(square, [])) == []


def test_what_tasks_share_goes_to_every_worker() -> None:
    assert {i: o.value for i, o in Workers(2).run(square, [3, 4, 5], shared=100)} == {0: 109, 1: 116, 2: 125}


def test_a_local_dask_cluster() -> None:
    pytest.importorskip("distributed", reason="dask is not installed: pip install 'nsim[cluster]'")
    outcomes = list(Workers(2, "local").run(odd_ones_fail, range(4), shared=None))
    assert sorted(i for i, _ in outcomes) == [0, 1, 2, 3]
    assert dict(outcomes)[3].error == "ZeroDivisionError: three"
    shared = Workers(1, "local").run(square, [3, 4], shared=100)
    assert {i: outcome.value for i, outcome in shared} == {0: 109, 1: 116}


def test_what_fails_fails_alone_and_says_why() -> None:
    outcomes = dict(Workers(1).run(odd_ones_fail, range(6)))
    assert [outcomes[i].value for i in (0, 2, 4)] == [0, 2, 4]
    assert outcomes[1] == Outcome(error="one is no good; take two")
    assert outcomes[3].error == "ZeroDivisionError: three"
    assert outcomes[3].trace is not None and "tasks.py" in outcomes[3].trace
    assert outcomes[5].error == "out of memory; fewer workers leave more for each"


def test_a_process_that_dies_takes_no_other_task_with_it(tmp_path: Path) -> None:
    before = os.environ.get("OMP_NUM_THREADS")
    tasks = [(1, None), (2, tmp_path / "2"), (3, None), (4, None), (5, None), (6, tmp_path / "6")]
    outcomes = list(Workers(2).run(deadly, tasks))
    assert sorted(i for i, _ in outcomes) == list(range(6))
    by_task = dict(outcomes)
    for i in (0, 1, 2, 4, 5):
        assert by_task[i].value == (tasks[i][0], "1"), "workers compute on one thread"
    assert by_task[3].error == "its process died twice (killed, or out of memory)"
    assert os.environ.get("OMP_NUM_THREADS") == before


def test_processes_end_when_nobody_wants_their_results() -> None:
    import multiprocessing

    results = Workers(2).run(square, list(range(100)))
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []


def test_threads() -> None:
    assert Workers(1).threads is None
    assert Workers(2).threads == Workers(1, "tcp://host:8786").threads == 1


def test_a_scheduler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="dask is not installed: pip install 'nsim[cluster]'")
    monkeypatch.setattr("nsim.reports.workers.START_DASK_S", 0.2)
    with pytest.raises(SweepError, match=r"^--dask tcp://127\.0\.0\.1:1: no scheduler answers there"):
        list(Workers(1, "tcp://127.0.0.1:1").run(square, [1]))
    with pytest.raises(SweepError, match=r"^--dask nonsense://x: no scheduler answers there"):
        list(Workers(1, "nonsense://x").run(square, [1]))


def test_without_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(SweepError) as error:
        list(Workers(2, "local").run(square, [1]))
    assert str(error.value) == "--dask takes the extra 'cluster': pip install 'nsim[cluster]'"


def test_a_process_ended_in_the_middle_of_a_result_holds_nobody_up(tmp_path: Path) -> None:
    begun = tmp_path / "begun"

    def interrupted() -> None:
        with pytest.raises(KeyboardInterrupt), _pool(1) as pool:
            pool.submit(half_a_result, begun)
            while not begun.exists():
                time.sleep(0.01)
            time.sleep(0.1)  # the reader is at it
            raise KeyboardInterrupt

    thread = threading.Thread(target=interrupted, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
