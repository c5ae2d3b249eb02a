"""Files that are there whole or not at all, and what is said where one is damaged."""

from __future__ import annotations

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
from .remote import Mirror

PART_SUFFIX = ".part"
LOCK_FILE = ".lock"


@contextmanager
def exclusive_lock(folder: Path, what: str, doing: str) -> Iterator[None]:
    """Keep other processes from a folder, which is made; raise `RunError` where one is in it.

    ``what`` is what errors call the folder, ``doing`` what they say the other process does.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK_FILE)
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(f"another process {doing}; wait for it, or choose another folder") from None
    except OSError as error:
        why = error.strerror or str(error)
        raise RunError(f"cannot use {folder} as {what}: {why}") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def atomic_write(file: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Yield a file that takes its name only when it is whole and on the disk."""
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


class MirroredFolder:
    """A folder whose finished files are copied to a mirror, if it has one."""

    def __init__(self, path: Path, mirror: Mirror | None = None) -> None:
        self.path, self.mirror = path, mirror

    @contextmanager
    def writing(self, file: Path, mode: str = "w") -> Iterator[IO[Any]]:
        """Yield a file that takes its name only when it is whole and on the disk."""
        with atomic_write(file, mode) as out:
            yield out
        self.changed(file)

    def changed(self, file: Path) -> None:
        """Copy a file to the mirror, if it is of the folder."""
        if self.mirror is not None and file.is_relative_to(self.path):
            self.mirror.send(file)

    def remove(self, name: str) -> None:
        """Remove a file or folder of the folder, whether it is there or not."""
        path = self.path / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        if self.mirror is not None:
            self.mirror.remove(path)


def unwritable_error(file: Path, error: OSError) -> RunError:
    """Return what is said where a file cannot be written."""
    return RunError(
        f"cannot write {file}: {error.strerror or error}. What is finished stays: when it can be "
        "written, the same command goes on from there"
    )


def remove_stale_parts(folder: Path) -> None:
    """Remove what a killed process had half written."""
    for part in folder.rglob(f"*{PART_SUFFIX}"):
        writer = part.name.removesuffix(PART_SUFFIX).rpartition(".")[2]
        if not (writer.isdigit() and _is_running(int(writer))):
            part.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def damaged_as_run_error(file: Path) -> Iterator[Path]:
    """Yield a file to be read; what is wrong with its bytes becomes a `RunError`."""
    try:
        yield file
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise RunError(
            f"{file} is damaged or missing ({shorten(str(error))}); remove it and manifest.json, "
            "and the same isaac curate command makes it again"
        ) from None


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file; raise `RunError` if it cannot be read."""
    try:
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {file}: {error}") from None
    if not isinstance(values, dict):
        raise RunError(f"cannot read {file}: it holds no JSON object")
    return values


def file_sha256(file: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    sha = hashlib.sha256()
    with file.open("rb") as data:
        while block := data.read(2**20):
            sha.update(block)
    return sha.hexdigest()
