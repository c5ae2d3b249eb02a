"""The engine that runs work on the machines of a Ray cluster."""

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
"""How many times an item is retried after its worker or machine is lost."""

WORKER_WAIT_SECONDS = 20.0
"""Seconds without an answer from any worker before a warning is logged."""

CONNECT_TIMEOUT_SECONDS = 5.0
"""Seconds within which the address must accept a connection; Ray itself would try for minutes."""


class RayEngine:
    """The workers of a Ray cluster, or of a Ray instance started on this machine.

    ``address`` is the ``host:port`` of the cluster's head node, ``auto`` on a machine of the
    cluster, or ``ray://host:port`` of its client server. Without an address, Ray is started here
    with ``workers`` CPUs. On a cluster, ``workers`` limits the items in progress at a time.

    The connection ends, and a Ray started here stops, when you close the engine (by ``with`` or
    `close`) or it is garbage-collected. If this process is already connected to Ray, the engine
    uses that connection and leaves it open.
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
        """Disconnect from the cluster, or stop the Ray that was started here."""
        if self._shutdown is not None:
            self._shutdown()
            self._shutdown = None

    def map(
        self, work: Callable[[Shared, Item], Result], items: Iterable[Item], shared: Shared
    ) -> Iterator[Result]:
        """Yield ``work(shared, item)`` for each item, in the order of the items.

        ``shared`` is sent once to the object store of each machine, where all workers read the
        same memory. An item whose worker is lost is retried; after `MAX_RETRIES` retries,
        `RunError` is raised. An exception of ``work`` is raised here when it is the item's turn.
        At most two items per CPU are in progress or finished but not yet yielded.
        """
        self._connect()
        pending: deque[Any] = deque()
        try:
            with _ray_errors_as_run_error():
                packed = self.ray.put(pack((work, shared)))
                task = self.ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(_run)
            for item in items:
                with _ray_errors_as_run_error():
                    pending.append(task.remote(__version__, packed, item))
                while len(pending) >= self._max_in_flight():
                    yield self._fetch_result(pending.popleft())
            while pending:
                yield self._fetch_result(pending.popleft())
        finally:
            if self.ray.is_initialized():  # if not, canceling would start another Ray
                for reference in pending:
                    self.ray.cancel(reference)

    def _fetch_result(self, reference: Any) -> Any:
        """Copy a result into this process, so that the object store can release it."""
        with _ray_errors_as_run_error():
            result = pickle.loads(self.ray.get(reference))
        if isinstance(result, WorkerFailure):
            raise result.error from RuntimeError(f"on a worker:\n{result.traceback}")
        return result

    def _max_in_flight(self) -> int:
        """How many items may be in progress now; it changes if the cluster grows or shrinks."""
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
        except Exception as error:  # Ray raises many error types here, not only its own
            raise RunError(_describe_connection_failure(self.address, str(error))) from error
        self._shutdown = weakref.finalize(self, self.ray.shutdown)
        self._check_versions()

    def _check_same_cluster(self) -> None:
        """Raise `RunError` if this process is connected to a cluster with another address."""
        if self._shutdown is not None or self.address in (None, "auto"):
            return
        current = self.ray.get_runtime_context().gcs_address
        if current != self.address:
            raise RunError(
                f"this process already uses the Ray cluster at {current}, not {self.address}; "
                "omit the address to use that cluster, or call ray.shutdown() first"
            )

    def _check_versions(self) -> None:
        """Raise `RunError` if a worker lacks isaac or has a different version."""
        with _ray_errors_as_run_error():
            probe = self.ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(
                _make_version_probe()
            ).remote()
            if not self.ray.wait([probe], timeout=WORKER_WAIT_SECONDS)[0]:
                logging.getLogger(__name__).warning(
                    "isaac: waiting for a free CPU in the Ray cluster; run `ray status` on its "
                    "head node to see what the cluster has"
                )
            check_same_version(__version__, *self.ray.get(probe))


def _make_version_probe() -> Callable[[], tuple[str | None, str]]:
    """A function that returns a worker's version of isaac, if any, and its host name.

    Ray sends a nested function as code, so that it also runs where isaac is missing.
    """

    def probe() -> tuple[str | None, str]:
        import socket

        try:
            from ..._version import __version__ as worker_version
        except ImportError:
            return None, socket.gethostname()
        return worker_version, socket.gethostname()

    return probe


class WorkerFailure(NamedTuple):
    """An exception that the work raised on a worker."""

    error: Exception
    traceback: str


def _run(version: str, packed: list[ByteArray], item: Any) -> bytes:
    """The task of a worker: the pickled result for one item, or its pickled `WorkerFailure`.

    Failures are returned and not raised, because Ray would print a raised one even for items
    whose results are no longer needed.
    """
    try:
        check_same_version(version, __version__, socket.gethostname())
        work, shared = unpack(packed)
        with single_threaded_blas():
            return pickle.dumps(work(shared, item), protocol=5)
    except Exception as error:
        trace = traceback.format_exc()
        try:
            pickle.loads(failure := pickle.dumps(WorkerFailure(error, trace)))
        except Exception:  # the error itself cannot be pickled
            plain = RunError(f"a Ray worker failed: {type(error).__name__}: {error}")
            return pickle.dumps(WorkerFailure(plain, trace))
        return failure


def check_same_version(version: str, worker_version: str | None, host: str) -> None:
    """Raise `RunError` unless a worker has the same version of isaac."""
    if worker_version == version:
        return
    has = "has no isaac" if worker_version is None else f"has isaac {worker_version}"
    raise RunError(
        f"this is isaac {version}, but the Ray worker on {host} {has}; install the same version, "
        "with its extra 'ray', on every machine of the cluster"
    )


class _ArrayPickler(pickle.Pickler):
    """Pickles memory-mapped and strided arrays as plain contiguous ones.

    Only plain contiguous arrays are sent outside the pickle, as memory that workers share. NumPy
    would put all others into the pickle, which is copied for each item.
    """

    def reducer_override(self, value: Any) -> Any:
        if type(value) not in (np.ndarray, np.memmap) or value.dtype.hasobject:
            return NotImplemented
        plain = np.asarray(value)
        if not (plain.flags.c_contiguous or plain.flags.f_contiguous):
            plain = np.ascontiguousarray(plain)
        return plain.__reduce_ex__(5)


def pack(value: Any) -> list[ByteArray]:
    """Split a value into its pickle and, without copying, the memory of its arrays."""
    pickled, buffers = io.BytesIO(), list[pickle.PickleBuffer]()
    _ArrayPickler(pickled, protocol=5, buffer_callback=buffers.append).dump(value)
    return [
        np.frombuffer(part, np.uint8)
        for part in (pickled.getbuffer(), *(buffer.raw() for buffer in buffers))
    ]


def unpack(parts: list[ByteArray]) -> Any:
    """Restore the value that `pack` split; its arrays are read-only views of the parts."""
    return pickle.loads(parts[0].data, buffers=parts[1:])


@contextmanager
def _ray_errors_as_run_error() -> Iterator[None]:
    """Turn Ray's errors into a `RunError` that says what to do."""
    from ray import exceptions

    try:
        yield
    except exceptions.RayError as error:
        full = (exceptions.ObjectStoreFullError, exceptions.OutOfDiskError)
        remedy = "check `ray status` on its head node, and the memory of its machines"
        if isinstance(error, exceptions.OutOfMemoryError):
            remedy = "give its machines more memory, or fewer CPUs so that fewer items run at once"
        elif isinstance(error, full):
            remedy = "start Ray with a larger --object-store-memory, or give it more disk space"
        raise RunError(
            f"the Ray cluster lost work even after {MAX_RETRIES} retries "
            f"({type(error).__name__}: {_first_line(error)}); {remedy}. Finished work is kept: run "
            "the same command again to resume"
        ) from error


def _first_line(error: Exception) -> str:
    return next(
        (line.strip() for line in str(error).splitlines() if line.strip()), "no reason given"
    )


@contextmanager
def _usage_report_disabled() -> Iterator[None]:
    """Keep a Ray started here from sending usage reports, which only this variable prevents."""
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
    """Raise `RunError` if ``host:port`` does not accept a connection."""
    parts = re.fullmatch(r"(?:ray://)?\[?([^/]+?)\]?:(\d+)", address or "")
    if not parts:
        return
    host, port = parts[1], int(parts[2])
    try:
        socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise RunError(_describe_connection_failure(address, str(error))) from None


def _describe_connection_failure(address: str | None, reason: str) -> str:
    if address is None:
        return f"cannot start Ray on this machine: {reason}. Try --engine local"
    return (
        f"cannot connect to a Ray cluster at {address}: {reason}. Expected host:port of its head "
        "node (`ray start --head` prints it), auto on one of its machines, or ray://host:10001, "
        "and the cluster's token in RAY_AUTH_TOKEN if it needs one; without an address, Ray is "
        "started on this machine"
    )
