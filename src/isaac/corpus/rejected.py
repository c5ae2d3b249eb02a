"""Rows that were read and cannot be used, kept as they were."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, overload

from .records import dumps


def encode_raw_bytes(raw: bytes) -> dict[str, str]:
    """Return bytes as a JSON column that loses none: ``raw``, or ``raw_base64`` if no UTF-8."""
    try:
        return {"raw": raw.decode("utf-8")}
    except UnicodeDecodeError:
        return {"raw_base64": base64.b64encode(raw).decode()}


class Rejected(NamedTuple):
    """A row that was read and cannot be used, kept as it was."""

    file: str
    line: int
    reason: str
    raw: bytes

    def as_json(self) -> str:
        """Return one line for ``rejected.jsonl``; bytes that are no UTF-8 stand in base64."""
        place = {"file": self.file, "line": self.line, "reason": self.reason}
        return dumps({**place, **encode_raw_bytes(self.raw)})


class RejectedFile(Sequence[Rejected]):
    """The rows in a ``rejected.jsonl``, read when they are asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __len__(self) -> int:
        """Return the number of rows."""
        with self.path.open("rb") as lines:
            return sum(1 for _ in lines)

    @overload
    def __getitem__(self, place: int) -> Rejected: ...
    @overload
    def __getitem__(self, place: slice) -> list[Rejected]: ...
    def __getitem__(self, place: int | slice) -> Rejected | list[Rejected]:
        """Return one row, or the first ones as a list."""
        if isinstance(place, slice):
            return list(itertools.islice(self, place.start, place.stop, place.step))
        try:
            return next(itertools.islice(self, place, None))
        except StopIteration:
            raise IndexError(place) from None

    def __iter__(self) -> Iterator[Rejected]:
        """Yield the rows in order."""
        with self.path.open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                raw = base64.b64decode(row["raw_base64"]) if "raw_base64" in row else None
                raw = row["raw"].encode() if raw is None else raw
                yield Rejected(row["file"], row["line"], row["reason"], raw)


class RejectedSink(Protocol):
    """Takes the rows that cannot be used."""

    def append(self, rejected: Rejected, /) -> None:
        """Take one row."""
        ...
