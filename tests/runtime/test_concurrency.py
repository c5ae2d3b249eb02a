"""One thread for linear algebra, and one that works ahead."""

import gc
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from isaac.corpus.reading import read_chunks
from isaac.recipe import ReadingOptions
from isaac.runtime.concurrency import SingleThreadedBLAS, gc_paused, prefetch
from tests.conftest import write_lines


def test_items_come_in_order() -> None:
    assert list(prefetch(iter(range(100)))) == list(range(100))


def test_the_next_is_made_while_one_is_used() -> None:
    made = [threading.Event() for _ in range(3)]

    def items() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    for number in prefetch(items()):
        assert made[min(number + 1, 2)].wait(10)


def test_an_error_comes_where_it_happened() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    found = prefetch(items())
    assert next(found) == 1
    with pytest.raises(ValueError, match="no more"):
        next(found)


def test_no_more_is_made_than_is_asked_for_and_one() -> None:
    source = itertools.count()
    found = prefetch(source)
    assert [next(found), next(found)] == [0, 1]
    del found
    assert next(source) <= 3


def blas_threads(limit: SingleThreadedBLAS) -> set[int]:
    found = limit.libraries.info()
    return {library["num_threads"] for library in found}


def test_the_last_to_leave_puts_back_the_threads_of_linear_algebra() -> None:
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


def fail_without_cycles() -> None:
    with gc_paused():
        assert not gc.isenabled()
        with gc_paused():
            pass
        assert not gc.isenabled()
        raise ValueError("stop")


def test_no_cycles_are_looked_for_meanwhile_whatever_happens() -> None:
    assert gc.isenabled()
    with pytest.raises(ValueError, match="stop"):
        fail_without_cycles()
    assert gc.isenabled()


def test_reading_leaves_the_search_for_cycles_as_it_was(tmp_path: Path) -> None:
    rows = [{"context": f"c {n}", "response": f"r {n}"} for n in range(30)]
    parts = read_chunks(write_lines(tmp_path / "in.jsonl", rows), ReadingOptions(), [], [])
    assert sum(len(part) for part in parts if gc.isenabled()) == 30
    assert gc.isenabled()
