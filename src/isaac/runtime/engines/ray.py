"""Work on the machines of a Ray cluster, results in order."""

from __future__ import annotations

import io
import logging
import os
import pickle
import re
import socket
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from ..._version import __version__
from ...errors import RunError, require_extra
from ..concurrency import single_threaded_blas

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")

ByteArray = npt.NDArray[np.uint8]

MAX_RETRIES = 8
"""How often an item is begun again after its worker or machine was lost."""

WORKER_WAIT_SECONDS = 20.0
"""Seconds without an answer from any worker after which that is said."""

CONNECT_TIMEOUT_SECONDS = 5.0
"""Seconds in which a cluster's address has to take a connection; Ray itself tries for minutes."""


class RayEngine:
    """The workers of a Ray cluster, or of a Ray that is started on this machine.

    ``address`` is ``host:port`` of a cluster's head, ``auto`` on one of its machines, or
    ``ray://host:port`` of its client server; without one, Ray is started here with ``workers``
    CPUs. On a cluster, ``workers`` bounds the items that are under way at a time. What was
    connected or started ends when the engine is closed, by ``with`` or `close`, or forgotten. A
    Ray that this process already uses is used and left.
    """

    remote = True

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        self.ray = require_extra("ray", "engine ray", "ray")
        self.address, self.workers = address, workers
        self._shutdown: weakref.finalize[[], RayEngine] | None = None

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the cluster, or stop the Ray that was started here."""
        if self._shutdown is not None:
            self._shutdown()
            self._shutdown = None

    def map(
        self, work: Callable[[Shared, Item], Result], items: Iterable[Item], shared: Shared
    ) -> Iterator[Result]:
        """Yield ``work(shared, item)`` for each item, in the order of the items.

        ``shared`` goes once to the object store of each machine, where all workers read the same
        memory. An item whose worker is lost is begun again; if that does not help either,
        `RunError` is raised. What ``work`` raises is raised here in the item's turn. At most two
        items a CPU are under way or waiting to be taken.
        """
        self._connect()
        waiting: deque[Any] = deque()
        try:
            with _ray_errors_as_run_error():
                parcel = self.ray.put(pack((work, shared)))
                task = self.ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(_run)
            for item in items:
                with _ray_errors_as_run_error():
                    waiting.append(task.remote(__version__, parcel, item))
                while len(waiting) >= self._max_in_flight():
                    yield self._fetch_result(waiting.popleft())
            while waiting:
                yield self._fetch_result(waiting.popleft())
        finally:
            if self.ray.is_initialized():  # if not, cancelling would start another Ray
                for reference in waiting:
                    self.ray.cancel(reference)

    def _fetch_result(self, reference: Any) -> Any:
        """Return a result as memory of its own, so that the object store need not keep it."""
        with _ray_errors_as_run_error():
            found = pickle.loads(self.ray.get(reference))
        if isinstance(found, WorkerFailure):
            raise found.error from RuntimeError(f"on a worker:\n{found.traceback}")
        return found

    def _max_in_flight(self) -> int:
        """Return how many items may be under way now: a cluster may grow and shrink."""
        if self.address is not None and self.workers is not None:
            return self.workers
        with _ray_errors_as_run_error():
            return 2 * max(1, int(self.ray.cluster_resources().get("CPU", 1)))

    def _connect(self) -> None:
        if self.ray.is_initialized():
            self._check_same_cluster()
            return
        _check_reachable(self.address)
        try:
            with _usage_report_disabled():
                self.ray.init(
                    address=self.address or "local",
                    num_cpus=None if self.address else self.workers,
                    include_dashboard=None if self.address else False,
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                )
        except Exception as error:  # of many kinds, some of them Ray's own
            raise RunError(_describe_connection_failure(self.address, str(error))) from error
        self._shutdown = weakref.finalize(self, self.ray.shutdown)
        self._check_versions()

    def _check_same_cluster(self) -> None:
        """Raise `RunError` if this process uses another cluster than the one that is asked for."""
        if self._shutdown is not None or self.address in (None, "auto"):
            return
        used = self.ray.get_runtime_context().gcs_address
        if used != self.address:
            raise RunError(
                f"this process already uses the Ray cluster at {used}, not {self.address}; "
                "leave the address out to use it, or call ray.shutdown() first"
            )

    def _check_versions(self) -> None:
        """Raise `RunError` if a worker has no isaac or another version of it."""
        with _ray_errors_as_run_error():
            asked = self.ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(
                _make_version_probe()
            ).remote()
            if not self.ray.wait([asked], timeout=WORKER_WAIT_SECONDS)[0]:
                logging.getLogger(__name__).warning(
                    "isaac: waiting for a free CPU of the Ray cluster; `ray status` on its head "
                    "says what it has"
                )
            check_same_version(__version__, *self.ray.get(asked))


def _make_version_probe() -> Callable[[], tuple[str | None, str]]:
    """Return a function that tells a worker's version of isaac and its host.

    Being nested, it travels as code and so runs where isaac is missing.
    """

    def version_there() -> tuple[str | None, str]:
        import socket

        try:
            from ..._version import __version__ as there
        except ImportError:
            return None, socket.gethostname()
        return there, socket.gethostname()

    return version_there


class WorkerFailure(NamedTuple):
    """What the work raised on a worker."""

    error: Exception
    traceback: str


def _run(wanted: str, parcel: list[ByteArray], item: Any) -> bytes:
    """Return the pickled result of one item, or its `WorkerFailure`; this is what a worker runs.

    Raised, an error would also be printed by Ray for each item that no one asks for any more.
    """
    try:
        check_same_version(wanted, __version__, socket.gethostname())
        work, shared = unpack(parcel)
        with single_threaded_blas():
            return pickle.dumps(work(shared, item), protocol=5)
    except Exception as error:
        told = traceback.format_exc()
        try:
            pickle.loads(failure := pickle.dumps(WorkerFailure(error, told)))
        except Exception:
            plain = RunError(f"a Ray worker failed: {type(error).__name__}: {error}")
            return pickle.dumps(WorkerFailure(plain, told))
        return failure


def check_same_version(wanted: str, there: str | None, host: str) -> None:
    """Raise `RunError` unless a worker's version of isaac is the wanted one."""
    if there == wanted:
        return
    has = "has no isaac" if there is None else f"has isaac {there}"
    raise RunError(
        f"this is isaac {wanted}, but the Ray worker on {host} {has}; install the same on all "
        f"machines of the cluster: pip install 'isaac-align[ray]=={wanted}'"
    )


class _ArrayPickler(pickle.Pickler):
    """Pickles memory-mapped and strided arrays as plain ones.

    Only plain contiguous arrays travel beside the pickle, as memory that workers share. NumPy
    would put all others into it, to be copied for each item.
    """

    def reducer_override(self, value: Any) -> Any:
        if type(value) not in (np.ndarray, np.memmap) or value.dtype.hasobject:
            return NotImplemented
        plain = np.asarray(value)
        if not (plain.flags.c_contiguous or plain.flags.f_contiguous):
            plain = np.ascontiguousarray(plain)
        return plain.__reduce_ex__(5)


def pack(value: Any) -> list[ByteArray]:
    """Return a value as its pickle and, not copied, the memory of its arrays."""
    pickled, beside = io.BytesIO(), list[pickle.PickleBuffer]()
    _ArrayPickler(pickled, protocol=5, buffer_callback=beside.append).dump(value)
    return [
        np.frombuffer(part, np.uint8)
        for part in (pickled.getbuffer(), *(buffer.raw() for buffer in beside))
    ]


def unpack(parts: list[ByteArray]) -> Any:
    """Return a packed value; its arrays are views of the parts, not to be written to."""
    return pickle.loads(parts[0].data, buffers=parts[1:])


@contextmanager
def _ray_errors_as_run_error() -> Iterator[None]:
    """Turn what Ray raises into a `RunError` that says what to do."""
    from ray import exceptions

    try:
        yield
    except exceptions.RayError as error:
        full = (exceptions.ObjectStoreFullError, exceptions.OutOfDiskError)
        remedy = "see `ray status` on its head and the memory of its machines"
        if isinstance(error, exceptions.OutOfMemoryError):
            remedy = "give its machines more memory, or fewer CPUs to work on at a time"
        elif isinstance(error, full):
            remedy = "start Ray with more --object-store-memory or disk"
        raise RunError(
            f"the Ray cluster lost work, also after {MAX_RETRIES} retries "
            f"({type(error).__name__}: {_first_line(error)}); {remedy}. What is finished stays: "
            "the same command goes on from there"
        ) from error


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason")


@contextmanager
def _usage_report_disabled() -> Iterator[None]:
    """Keep a Ray that is started here from reporting to its makers, which only a variable does."""
    name = "RAY_USAGE_STATS_ENABLED"
    before = os.environ.get(name)
    os.environ[name] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _check_reachable(address: str | None) -> None:
    """Raise `RunError` if no one takes a connection at ``host:port``."""
    place = re.fullmatch(r"(?:ray://)?\[?([^/]+?)\]?:(\d+)", address or "")
    if not place:
        return
    try:
        socket.create_connection((place[1], int(place[2])), timeout=CONNECT_TIMEOUT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise RunError(_describe_connection_failure(address, str(error))) from None


def _describe_connection_failure(address: str | None, why: str) -> str:
    if address is None:
        return f"cannot start Ray on this machine: {why}. Try --engine local"
    return (
        f"cannot connect to a Ray cluster at {address}: {why}. Wanted host:port of its head "
        "(`ray start --head` prints it), auto on one of its machines, or ray://host:10001, and its "
        "token in RAY_AUTH_TOKEN if it has one; without an address Ray is started on this machine"
    )
