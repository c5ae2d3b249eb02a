"""Atomic files: a file exists complete or not at all; locks, checksums and errors for bad files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from filelock import FileLock, Timeout

from ..errors import RunError
from ..text import shorten
from .processes import is_running
from .remote import Mirror

PART_SUFFIX = ".part"
LOCK_FILE = ".lock"


@contextmanager
def exclusive_lock(folder: Path, what: str, doing: str) -> Iterator[None]:
    """Create a folder and lock it; raise `RunError` if another process holds the lock.

    In error messages, ``what`` is the purpose of the folder ("a run folder"), and ``doing`` is what
    the other process does ("works on RUN").
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK_FILE)
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(
            f"another process {doing}; wait until it ends, or choose another folder"
        ) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunError(f"cannot use {folder} as {what}: {reason}") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def atomic_write(file: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file that gets its final name only when it is complete and on disk.

    If the block fails, the temporary file is deleted and an existing ``file`` stays unchanged.
    Raises `RunError` if the file cannot be written.
    """
    part = file.with_name(f"{file.name}.{os.getpid()}{PART_SUFFIX}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with part.open(mode, encoding=None if "b" in mode else "utf-8") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise unwritable_error(file, error) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def is_writable(folder: Path) -> bool:
    """Whether this process may add files to a folder and to the subfolders that it has."""
    folders = [folder, *(path for path in folder.iterdir() if path.is_dir())]
    return all(os.access(path, os.W_OK) for path in folders)


class MirroredFolder:
    """A folder that copies its finished files to a remote mirror, if it has one."""

    def __init__(self, path: Path, mirror: Mirror | None = None) -> None:
        self.path, self.mirror = path, mirror

    @contextmanager
    def writing(self, file: Path, mode: str = "w") -> Iterator[IO[Any]]:
        """Write a file as `atomic_write` does, then copy it to the mirror."""
        with atomic_write(file, mode) as out:
            yield out
        self.changed(file)

    def changed(self, file: Path) -> None:
        """Copy a file to the mirror, if the file is in this folder."""
        if self.mirror is not None and file.is_relative_to(self.path):
            self.mirror.send(file)

    def remove(self, name: str) -> None:
        """Remove a file or subfolder, if it exists, here and on the mirror."""
        path = self.path / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        if self.mirror is not None:
            self.mirror.remove(path)


def unwritable_error(file: Path, error: OSError) -> RunError:
    """The `RunError` for a file that cannot be written, such as on a full disk."""
    return RunError(
        f"cannot write {file}: {error.strerror or error}. Finished work is kept: once the file can "
        "be written, run the same command again to resume"
    )


def remove_stale_parts(folder: Path) -> None:
    """Remove the temporary files of processes that have ended."""
    for part in folder.rglob(f"*{PART_SUFFIX}"):
        # Named "<file>.<process id>.part" by `atomic_write`.
        writer = part.name.removesuffix(PART_SUFFIX).rpartition(".")[2]
        if not (writer.isdigit() and is_running(int(writer))):
            part.unlink(missing_ok=True)


DAMAGE_CODES = (None, errno.ENOENT, errno.EINVAL, errno.EIO)
"""The codes of system errors that a damaged or missing file causes."""


@contextmanager
def damaged_as_run_error(file: Path) -> Iterator[Path]:
    """Turn an error while reading a file of a run into a `RunError` that says how to rebuild it.

    What is no fault of the file, such as too many open files, is told as it is.
    """
    try:
        yield file
    except UnicodeEncodeError:
        raise RunError(
            f"cannot read {str(file)!a}: its path is not valid UTF-8; rename the folder"
        ) from None
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        if isinstance(error, OSError) and error.errno not in DAMAGE_CODES:
            raise RunError(f"cannot read {file}: {os.strerror(error.errno)}") from None
        raise RunError(
            f"{file} is damaged or missing ({shorten(str(error))}); delete it and manifest.json, "
            "then run the same isaac curate command to rebuild it"
        ) from None


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object from a file; raise `RunError` if the file is unreadable or has none."""
    try:
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # the last for thousands of brackets
        raise RunError(f"cannot read {file}: {error}") from None
    if not isinstance(values, dict):
        raise RunError(f"cannot read {file}: expected a JSON object, got {type(values).__name__}")
    return values


def json_sha256(values: Any) -> str:
    """The SHA-256 of JSON values, as hex digits; the order of keys makes no difference."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def file_sha256(file: Path) -> str:
    """The SHA-256 of a file's bytes, as hex digits."""
    sha = hashlib.sha256()
    with file.open("rb") as data:
        while block := data.read(2**20):
            sha.update(block)
    return sha.hexdigest()
