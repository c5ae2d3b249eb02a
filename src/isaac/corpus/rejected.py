"""Rejected rows: rows of the input that cannot be used, stored with the reason."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, overload

from .records import dumps


def encode_raw_bytes(raw: bytes) -> dict[str, str]:
    """Encode bytes for JSON without loss: ``raw`` if they are UTF-8, otherwise ``raw_base64``."""
    try:
        return {"raw": raw.decode("utf-8")}
    except UnicodeDecodeError:
        return {"raw_base64": base64.b64encode(raw).decode()}


def _decode_raw_bytes(row: dict[str, Any]) -> bytes:
    if "raw_base64" in row:
        return base64.b64decode(row["raw_base64"])
    return str(row["raw"]).encode()


class Rejected(NamedTuple):
    """A row that cannot be used: where it was, why it was rejected, and its original bytes."""

    file: str
    line: int
    reason: str
    raw: bytes

    def as_json(self) -> str:
        """Format the row as a line of ``rejected.jsonl``, without the line break."""
        place = {"file": self.file, "line": self.line, "reason": self.reason}
        return dumps({**place, **encode_raw_bytes(self.raw)})


class RejectedFile(Sequence[Rejected]):
    """The rows of a ``rejected.jsonl`` file, read from disk at each access."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __len__(self) -> int:
        """The number of rows."""
        with self.path.open("rb") as lines:
            return sum(1 for _ in lines)

    @overload
    def __getitem__(self, index: int) -> Rejected: ...
    @overload
    def __getitem__(self, index: slice) -> list[Rejected]: ...
    def __getitem__(self, index: int | slice) -> Rejected | list[Rejected]:
        """Read one row or a slice of rows; negative indices are not supported."""
        if isinstance(index, slice):
            return list(itertools.islice(self, index.start, index.stop, index.step))
        try:
            return next(itertools.islice(self, index, None))
        except StopIteration:
            raise IndexError(index) from None

    def __iter__(self) -> Iterator[Rejected]:
        """Yield the rows in order."""
        with self.path.open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                yield Rejected(row["file"], row["line"], row["reason"], _decode_raw_bytes(row))


class RejectedSink(Protocol):
    """Anything that collects rejected rows, such as a list."""

    def append(self, rejected: Rejected, /) -> None:
        """Add one row."""
        ...
