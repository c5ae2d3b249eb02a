"""Files and run folders behind a URL that fsspec knows: s3://, gs://, az://, file:// and more."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import IO, Any, cast

from ..errors import CorpusError, RunError, require_extra

URL_PATTERN = re.compile(r"(?!hf:)[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def is_url(name: str | Path) -> bool:
    """Say whether a name is a URL rather than a path; of the hub's data sets it is not."""
    return URL_PATTERN.match(str(name)) is not None


def resolve_url(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it; raise `MissingExtraError` without."""
    fsspec = require_extra("fsspec", url, "remote")
    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:  # no such protocol, or its package is missing
        raise CorpusError(f"cannot reach {url}: {error}") from None
    return system, path


def list_url_files(url: str) -> list[str]:
    """Return the paths of the files that a URL names: one, those that match, or of a folder."""
    system, path = resolve_url(url)
    try:
        if any(mark in path for mark in "*?["):
            return sorted(system.glob(path))
        found = sorted(system.find(path)) if system.isdir(path) else [path]
    except Exception as error:
        raise CorpusError(f"cannot read {url}: {error}") from error
    return [str(name) for name in found]


def open_url_file(url: str, path: str) -> IO[bytes]:
    """Return a file of a URL's file system, open to be read."""
    try:
        return cast(IO[bytes], resolve_url(url)[0].open(path, "rb"))
    except Exception as error:
        raise CorpusError(f"cannot read {path} of {url}: {error}") from error


class Mirror:
    """A folder behind a URL that gets every file of a local one as soon as it is finished.

    What is there already is fetched first, so that a run goes on wherever it was begun.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.system, self.root = resolve_url(url)

    def fetch(self) -> None:
        """Copy what is there into the local folder."""
        try:
            names = self.system.find(self.root) if self.system.exists(self.root) else []
            for name in names:
                file = self.folder / posixpath.relpath(name, self.root)
                file.parent.mkdir(parents=True, exist_ok=True)
                self.system.get_file(name, str(file))
        except Exception as error:
            raise RunError(f"cannot read {self.url}: {error}") from error

    def send(self, file: Path) -> None:
        """Copy a file of the local folder there."""
        there = self._remote_path(file)
        try:
            self.system.makedirs(posixpath.dirname(there), exist_ok=True)
            self.system.put_file(str(file), there)
        except Exception as error:
            raise RunError(
                f"cannot write {there} of {self.url}: {error}. What is finished stays, and the "
                "same command goes on from there"
            ) from error

    def remove(self, file: Path) -> None:
        """Remove a file or folder there, whether it is there or not."""
        there = self._remote_path(file)
        try:
            if self.system.exists(there):
                self.system.rm(there, recursive=True)
        except Exception as error:
            raise RunError(f"cannot remove {there} of {self.url}: {error}") from error

    def _remote_path(self, file: Path) -> str:
        return posixpath.join(self.root, file.relative_to(self.folder).as_posix())
