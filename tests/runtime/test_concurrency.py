"""Prefetching, single-threaded linear algebra, and the paused garbage collector."""

import gc
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from isaac.corpus.reading import read_chunks
from isaac.reading_options import ReadingOptions
from isaac.runtime.concurrency import SingleThreadedBLAS, gc_paused, prefetch
from tests.conftest import write_lines


def test_items_come_in_order() -> None:
    assert list(prefetch(iter(range(100)))) == list(range(100))


def test_the_next_item_is_computed_while_one_is_used() -> None:
    computed = [threading.Event() for _ in range(3)]

    def items() -> Iterator[int]:
        for number, event in enumerate(computed):
            event.set()
            yield number

    for number in prefetch(items()):
        assert computed[min(number + 1, 2)].wait(10)


def test_an_error_is_raised_at_its_position() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    results = prefetch(items())
    assert next(results) == 1
    with pytest.raises(ValueError, match="no more"):
        next(results)


def test_only_one_item_is_computed_ahead() -> None:
    source = itertools.count()
    results = prefetch(source)
    assert [next(results), next(results)] == [0, 1]
    del results
    assert next(source) <= 3


def blas_threads(limit: SingleThreadedBLAS) -> set[int]:
    return {library["num_threads"] for library in limit.libraries.info()}


def test_the_last_thread_to_leave_restores_the_blas_threads() -> None:
    limit = SingleThreadedBLAS()
    with limit.libraries.limit(limits=2):
        before = blas_threads(limit)
        inside, leave = threading.Event(), threading.Event()

        def stay() -> None:
            with limit, limit:
                inside.set()
                leave.wait(10)

        other = threading.Thread(target=stay)
        with limit:
            other.start()
            assert inside.wait(10)
        assert blas_threads(limit) == {1}
        leave.set()
        other.join()
        assert blas_threads(limit) == before


def fail_while_gc_is_paused() -> None:
    with gc_paused():
        assert not gc.isenabled()
        with gc_paused():
            pass
        assert not gc.isenabled()
        raise ValueError("stop")


def test_the_collector_is_paused_within_the_context_and_resumes_after_an_error() -> None:
    assert gc.isenabled()
    with pytest.raises(ValueError, match="stop"):
        fail_while_gc_is_paused()
    assert gc.isenabled()


def test_reading_leaves_the_collector_enabled(tmp_path: Path) -> None:
    rows = [{"context": f"c {n}", "response": f"r {n}"} for n in range(30)]
    parts = read_chunks(write_lines(tmp_path / "in.jsonl", rows), ReadingOptions(), [], [])
    assert sum(len(part) for part in parts if gc.isenabled()) == 30
    assert gc.isenabled()
