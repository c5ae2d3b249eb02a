"""The `Engine` protocol, and the engine that runs work on the threads of this machine."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

from ..concurrency import single_threaded_blas

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")


class Engine(Protocol):
    """Maps a function over items; it knows nothing about corpora, seeds or files.

    ``remote`` is true if the work runs in other processes, to which all data must be sent.
    """

    remote: bool

    def map(
        self, work: Callable[[Shared, Item], Result], items: Iterable[Item], shared: Shared
    ) -> Iterator[Result]:
        """Yield ``work(shared, item)`` for each item, in the order of the items.

        An engine may send everything to other machines, so ``work`` must be a module-level
        function, and ``shared``, the items and the results must be picklable. ``shared`` is sent
        once to each machine: put large data into it, as arrays. ``work`` must not modify it.
        """
        ...


class LocalEngine:
    """A pool of threads; NumPy does the heavy work without the GIL, so threads run in parallel.

    Linear algebra is limited to one thread per worker, so that workers do not compete for cores.
    ``workers`` defaults to the number of CPUs.
    """

    remote = False

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or os.cpu_count() or 1

    def map(
        self, work: Callable[[Shared, Item], Result], items: Iterable[Item], shared: Shared
    ) -> Iterator[Result]:
        """Yield ``work(shared, item)`` for each item, in the order of the items.

        At most two items per worker are in progress or finished but not yet yielded, so that
        results do not pile up in memory. A single item needs no
        thread of its own.
        """
        upcoming = iter(items)
        first = list(itertools.islice(upcoming, 2))
        if len(first) < 2:
            with single_threaded_blas():
                yield from (work(shared, item) for item in first)
            return
        pending: deque[Future[Result]] = deque()
        with single_threaded_blas(), ThreadPoolExecutor(self.workers) as pool:
            try:
                for item in itertools.chain(first, upcoming):
                    pending.append(pool.submit(work, shared, item))
                    if len(pending) >= 2 * self.workers:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()
