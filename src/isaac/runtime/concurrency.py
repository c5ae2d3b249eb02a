"""Linear algebra on one thread, work ahead on another, and no search for cycles meanwhile."""

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
    """Holds NumPy's linear algebra to one thread for as long as anyone is inside.

    The limit is the whole process's. Several threads may be inside at once, and the same one more
    than once: the last to leave puts back what the first one found.
    """

    def __init__(self) -> None:
        self.libraries = ThreadpoolController().select(user_api="blas")
        self.lock, self.entry_count = threading.Lock(), 0
        self.limit: Any = None

    def __enter__(self) -> None:
        """Set the limit, if nobody is inside."""
        with self.lock:
            if not self.entry_count:
                self.limit = self.libraries.limit(limits=1)
            self.entry_count += 1

    def __exit__(self, *_: object) -> None:
        """Put back what was, if nobody else is inside."""
        with self.lock:
            self.entry_count -= 1
            if not self.entry_count:
                self._free()
                self.limit.restore_original_limits()
                self._free()

    def _free(self) -> None:
        """Let any thread set the limit: from threadpoolctl 3.8 on, only that which did may."""
        for library in self.libraries.lib_controllers:
            getattr(library, "clear_controlling_thread", _do_nothing)(force=True)


def _do_nothing(*, force: bool) -> None:
    """Stand for what earlier versions do not have."""


@contextmanager
def gc_paused() -> Iterator[None]:
    """Keep Python from looking for cycles of references meanwhile.

    Records and words have none, and to look for them takes a fifth of the time of reading. What
    was made counts as old afterwards, or all of it would be looked through at once.
    """
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            if not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()
            gc.enable()


@functools.cache
def single_threaded_blas() -> SingleThreadedBLAS:
    """Return a context in which NumPy's linear algebra uses one thread.

    The libraries are looked for once: that takes milliseconds.
    """
    return SingleThreadedBLAS()


def prefetch(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the items; while one is used, the next is made on a thread."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(list, itertools.islice(items, 1))
        while found := coming.result():
            coming = pool.submit(list, itertools.islice(items, 1))
            yield from found
