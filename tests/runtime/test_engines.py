"""The engine of this machine: order, errors, and how far it works ahead."""

from __future__ import annotations

import itertools
import time
from collections.abc import Generator, Iterator
from threading import Event, Lock

import pytest

from isaac.runtime.engines import Engine, LocalEngine


def add(shared: int, item: int) -> int:
    return shared + item


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    def slower_first(count: int, item: int) -> int:
        time.sleep((count - item) / 1000)
        return item * item

    engine: Engine = LocalEngine(workers)
    assert list(engine.map(slower_first, range(10), 10)) == [n * n for n in range(10)]


def test_no_items_give_no_results() -> None:
    assert list(LocalEngine(2).map(add, [], 1)) == []


def test_by_default_there_is_a_worker_for_each_core() -> None:
    assert LocalEngine().workers >= 1


def test_an_exception_is_raised_when_it_is_the_items_turn() -> None:
    def fails_at(bad: int, item: int) -> int:
        if item == bad:
            raise ValueError("item 3")
        return item

    results = LocalEngine(2).map(fails_at, range(10), 3)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="item 3"):
        next(results)


def test_results_come_while_items_are_still_being_read() -> None:
    results = LocalEngine(2).map(add, itertools.count(), 1)
    assert isinstance(results, Iterator)
    assert list(itertools.islice(results, 5)) == [1, 2, 3, 4, 5]


def test_only_two_items_per_worker_are_taken_ahead() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(100):
            taken += 1
            yield item

    results = LocalEngine(3).map(add, items(), 1)
    assert taken == 0
    next(results)
    assert taken == 6
    assert isinstance(results, Generator)
    results.close()
    assert taken == 6


def test_workers_work_in_parallel() -> None:
    lock, inside = Lock(), 0

    def waits_for_the_other(both: Event, item: int) -> bool:
        nonlocal inside
        with lock:
            inside += 1
            if inside == 2:
                both.set()
        return both.wait(10)

    assert all(LocalEngine(2).map(waits_for_the_other, range(2), Event()))
