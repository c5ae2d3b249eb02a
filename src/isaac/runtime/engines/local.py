"""Work on the threads of this machine, results in order."""

from __future__ import annotations

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
    """Runs one function over items; knows nothing of corpora, seeds or files.

    ``remote`` says that work runs in other processes, to which everything must be sent.
    """

    remote: bool

    def map(
        self, work: Callable[[Shared, Item], Result], items: Iterable[Item], shared: Shared
    ) -> Iterator[Result]:
        """Yield ``work(shared, item)`` for each item, in the order of the items.

        ``work`` is a function of a module and can be pickled, as can ``shared``, ``items`` and
        the results, for they may travel to other machines: ``shared`` once to each, so what is
        large belongs there, as arrays. ``work`` does not write to ``shared``.
        """
        ...


class LocalEngine:
    """A pool of threads: the heavy work is NumPy's, which lets threads run side by side.

    Each thread gets one thread of the linear algebra library, so that workers do not fight
    for cores.
    """

    remote = False

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or os.cpu_count() or 1

    def map(
        self, work: Callable[[Shared, Item], Result], items: Iterable[Item], shared: Shared
    ) -> Iterator[Result]:
        """Yield ``work(shared, item)`` for each item, in the order of the items.

        At most two items a worker are under way or waiting to be taken, so that results do not
        pile up in memory.
        """
        waiting: deque[Future[Result]] = deque()
        with single_threaded_blas(), ThreadPoolExecutor(self.workers) as pool:
            try:
                for item in items:
                    waiting.append(pool.submit(work, shared, item))
                    if len(waiting) >= 2 * self.workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
