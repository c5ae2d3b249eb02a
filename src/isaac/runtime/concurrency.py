"""Single-threaded linear algebra, prefetching on a thread, and pausing the garbage collector."""

from __future__ import annotations

import functools
import gc
import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")


class SingleThreadedBLAS:
    """A context in which NumPy's linear algebra (BLAS) uses one thread.

    The limit applies to the whole process. Several threads may enter, each several times: the
    first to enter sets the limit, the last to leave restores the previous one.
    """

    def __init__(self) -> None:
        self.libraries = ThreadpoolController().select(user_api="blas")
        self.lock, self.entry_count = threading.Lock(), 0
        self.limit: Any = None

    def __enter__(self) -> None:
        """Set the limit, unless a thread is already inside."""
        with self.lock:
            if not self.entry_count:
                self.limit = self.libraries.limit(limits=1)
            self.entry_count += 1

    def __exit__(self, *_: object) -> None:
        """Restore the previous limit, unless another thread is still inside."""
        with self.lock:
            self.entry_count -= 1
            if not self.entry_count:
                self._release_ownership()
                self.limit.restore_original_limits()
                self._release_ownership()

    def _release_ownership(self) -> None:
        """Let any thread change the limit; from threadpoolctl 3.8 on, only its setter may."""
        for library in self.libraries.lib_controllers:
            getattr(library, "clear_controlling_thread", _do_nothing)(force=True)


def _do_nothing(*, force: bool) -> None:
    """Do nothing, in place of ``clear_controlling_thread``, which threadpoolctl 3.8 added."""


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause Python's cyclic garbage collector.

    Records and words contain no reference cycles, and searching them for cycles takes a fifth of
    the time of reading a corpus.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            # Freezing and unfreezing moves all new objects to the oldest generation, so that the
            # next collection does not scan all of these.
            if not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()
            gc.enable()


@functools.cache
def single_threaded_blas() -> SingleThreadedBLAS:
    """The context in which NumPy's linear algebra uses one thread, shared by the whole process.

    Cached, because finding the libraries takes milliseconds.
    """
    return SingleThreadedBLAS()


def prefetch(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the items; while you use one, a thread computes the next."""
    with ThreadPoolExecutor(1) as pool:
        upcoming = pool.submit(list, itertools.islice(items, 1))
        while batch := upcoming.result():  # one item, or none at the end
            upcoming = pool.submit(list, itertools.islice(items, 1))
            yield from batch
