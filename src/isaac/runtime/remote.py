"""Files and run folders at URLs that fsspec supports: s3://, gs://, az://, file:// and others."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import IO, Any, cast

from ..errors import CorpusError, RunError
from ..text import hide_url_secrets
from .remote_lock import RemoteLock

URL_PATTERN = re.compile(r"(?!hf:)[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def is_url(name: str | Path) -> bool:
    """Whether a name is a URL for fsspec; a path is not, nor is a hub dataset (``hf://``)."""
    return URL_PATTERN.match(str(name)) is not None


def resolve_url(url: str) -> tuple[Any, str]:
    """Find the file system of a URL, and the path in that file system.

    Raises `CorpusError` for an unknown protocol, or one whose package is not installed.
    """
    from fsspec.core import url_to_fs  # takes 0.1 s to import, and most inputs are local

    try:
        system, path = url_to_fs(url)
    except (ImportError, ValueError) as error:  # fsspec says which package to install
        raise CorpusError(hide_url_secrets(f"cannot reach {url}: {error}")) from None
    return system, path


def open_url_file(url: str, path: str) -> IO[bytes]:
    """Open a file in the file system of a URL for reading."""
    try:
        return cast(IO[bytes], resolve_url(url)[0].open(path, "rb"))
    except Exception as error:  # each file system raises its own error types
        raise CorpusError(hide_url_secrets(f"cannot read {path} at {url}: {error}")) from error


class Mirror:
    """The remote copy of a local folder; send each file to it as soon as the file is finished.

    Fetch the files that are already at the URL first, so that a run can resume on any machine.
    Raises `RunError` if the remote folder cannot be read or written.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.system, self.root = resolve_url(url)
        self.lock = RemoteLock(self.system, self.root, url)

    def fetch(self) -> None:
        """Copy the remote files into the local folder."""
        try:
            names = self.system.find(self.root) if self.system.exists(self.root) else []
            for name in names:
                if name == self.lock.path:
                    continue
                file = self.folder / posixpath.relpath(name, self.root)
                file.parent.mkdir(parents=True, exist_ok=True)
                self.system.get_file(name, str(file))
        except Exception as error:
            raise RunError(hide_url_secrets(f"cannot read {self.url}: {error}")) from error

    def send(self, file: Path) -> None:
        """Copy a file of the local folder to the same place in the remote folder."""
        self.lock.check()
        target = self._remote_path(file)
        try:
            self.system.makedirs(posixpath.dirname(target), exist_ok=True)
            self.system.put_file(str(file), target)
        except Exception as error:
            raise RunError(
                hide_url_secrets(f"cannot write {target} at {self.url}: {error}")
                + ". Finished files are kept; "
                "run the same command again to resume"
            ) from error

    def remove(self, file: Path) -> None:
        """Remove a file or folder from the remote folder, if it exists."""
        target = self._remote_path(file)
        try:
            if self.system.exists(target):
                self.system.rm(target, recursive=True)
        except Exception as error:
            raise RunError(
                hide_url_secrets(f"cannot remove {target} at {self.url}: {error}")
            ) from error

    def _remote_path(self, file: Path) -> str:
        return posixpath.join(self.root, file.relative_to(self.folder).as_posix())
