"""A lock in a folder at a URL, where no operation of the file system is atomic."""

from __future__ import annotations

import hashlib
import os
import posixpath
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ..errors import RunError
from ..text import hide_url_secrets
from .processes import is_running

LOCK_NAME = ".lock"

BEAT_SECONDS = 10.0
"""How often the process that holds a lock changes it."""

STALE_SECONDS = 25.0
"""How long a lock must stay unchanged to be that of a process that was killed."""


class RemoteLock:
    """A file that says which process works on a folder; that process keeps changing it.

    A lock that nobody changes for `STALE_SECONDS`, or that was left by a process of this machine
    that has ended, is taken over. If two processes take a lock at the same moment, the last one to
    write gets it, and `check` tells the other. ``system`` is an fsspec file system.
    """

    def __init__(self, system: Any, folder: str, url: str) -> None:
        self.system, self.folder, self.url = system, folder, hide_url_secrets(url)
        self.path = posixpath.join(folder, LOCK_NAME)
        self.token: str | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock. Raises `RunError` if another process holds it."""
        self._wait_until_free()
        self.token = f"{_machine()} {os.getpid()} {uuid.uuid4().hex}"
        ended = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(ended,), daemon=True)
        self._write(0)
        keeper.start()
        try:
            yield
        finally:
            ended.set()
            keeper.join()
            with suppress(Exception):  # the work is done; a lock that is left gets stale
                if self._is_ours():
                    self.system.rm(self.path)
            self.token = None

    def check(self) -> None:
        """Raise `RunError` if the lock was taken over by another process."""
        if self.token is not None and not self._is_ours():
            raise RunError(f"another process works on {self.url} now; choose another folder")

    def _wait_until_free(self) -> None:
        seen = self._read()
        deadline = time.monotonic() + STALE_SECONDS
        while seen and not _has_ended(seen) and time.monotonic() < deadline:
            time.sleep(0.5)
            now = self._read()
            if now and now != seen:
                raise RunError(
                    f"another process works on {self.url}; wait until it ends, or choose another "
                    "folder"
                )
            seen = now

    def _keep(self, ended: threading.Event) -> None:
        """Change the lock until the end, as long as it is ours."""
        beats = 0
        while not ended.wait(BEAT_SECONDS):
            beats += 1
            with suppress(Exception):  # `check` tells what stays wrong
                if self._is_ours():
                    self._write(beats)

    def _is_ours(self) -> bool:
        return self._read().startswith(str(self.token))

    def _write(self, beats: int) -> None:
        try:
            self.system.makedirs(self.folder, exist_ok=True)
            self.system.pipe_file(self.path, f"{self.token} {beats}".encode())
        except Exception as error:  # each file system raises its own error types
            raise RunError(hide_url_secrets(f"cannot write {self.url}: {error}")) from error

    def _read(self) -> str:
        """What the lock says, empty if there is none."""
        try:
            self.system.invalidate_cache()
            text: bytes = self.system.cat_file(self.path)
        except FileNotFoundError:
            return ""
        except Exception as error:
            raise RunError(hide_url_secrets(f"cannot read {self.url}: {error}")) from error
        return text.decode(errors="replace")


def _machine() -> str:
    """A name of this machine that tells nothing about it."""
    return hashlib.sha256(f"{socket.gethostname()} {uuid.getnode()}".encode()).hexdigest()[:16]


def _has_ended(lock: str) -> bool:
    """Whether a process of this machine left a lock, and has ended."""
    machine, _, rest = lock.partition(" ")
    process = rest.partition(" ")[0]
    return machine == _machine() and process.isdigit() and not is_running(int(process))
