"""How a long stage tells how far it is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO


class Tick(Protocol):
    """Says that some more items of the stage are done."""

    def __call__(self, items: int, /) -> None:
        """Count the items."""
        ...


class Progress:
    """Reports nothing; what a library call uses unless told otherwise."""

    @contextmanager
    def stage(self, _name: str, _total: int | None = None, /) -> Iterator[Tick]:
        """Yield a function that is called with the number of items just done."""
        yield lambda _: None

    def tell(self, _text: str, /) -> None:
        """Say something that its user should know."""


class TimedProgress(Progress):
    """Reports as another does, and adds up the seconds of each stage by its name."""

    def __init__(self, progress: Progress, seconds: dict[str, float]) -> None:
        self.progress, self.seconds = progress, seconds

    def tell(self, text: str, /) -> None:
        """Say something that its user should know."""
        self.progress.tell(text)

    @contextmanager
    def stage(self, name: str, total: int | None = None, /) -> Iterator[Tick]:
        """Yield a function that is called with the number of items just done."""
        start = time.monotonic()
        with self.progress.stage(name, total) as tick:
            yield tick
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start


class MessageProgress(Progress):
    """What its user should know, on standard error, and nothing of how far a stage is."""

    def tell(self, text: str, /) -> None:
        """Say something that its user should know."""
        print(text, file=sys.stderr, flush=True)


class LineProgress(MessageProgress):
    """Plain lines, at most one every two seconds and one at the end of a stage."""

    def __init__(self, stream: TextIO, every: float = 2.0) -> None:
        self.stream, self.every = stream, every

    def tell(self, text: str, /) -> None:
        """Say something that its user should know."""
        print(text, file=self.stream, flush=True)

    @contextmanager
    def stage(self, name: str, total: int | None = None, /) -> Iterator[Tick]:
        """Yield a function that is called with the number of items just done."""
        start = said = time.monotonic()
        done, told = 0, -1

        def tick(items: int) -> None:
            nonlocal done, said, told
            done += items
            now = time.monotonic()
            if now - said >= self.every:
                said, told = now, done
                self._print_status(name, done, total, now - start)

        yield tick
        if told != done or done != total:
            self._print_status(name, done, total, time.monotonic() - start)

    def _print_status(self, name: str, done: int, total: int | None, seconds: float) -> None:
        if not done and total is None:
            print(f"{name}: {seconds:,.1f} s", file=self.stream, flush=True)
            return
        rate = done / max(seconds, 1e-9)
        of = "" if total is None else f"/{total:,}"
        left = ""
        if total is not None and 0 < done < total:
            left = f", {(total - done) / rate:,.0f} s left"
        pace = f"{rate:,.0f}/s" if rate >= 1 or not done else f"{1 / rate:,.1f} s each"
        print(f"{name}: {done:,}{of} ({pace}{left})", file=self.stream, flush=True)


class BarProgress(MessageProgress):
    """A bar with rate and time left for each stage, on a terminal."""

    @contextmanager
    def stage(self, name: str, total: int | None = None, /) -> Iterator[Tick]:
        """Yield a function that is called with the number of items just done."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description:<24}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=Console(stderr=True)) as bars:
            task = bars.add_task(name, total=total)
            yield lambda items: bars.advance(task, items)


def terminal_progress() -> Progress:
    """Return bars if standard error is a terminal, plain lines otherwise."""
    return BarProgress() if sys.stderr.isatty() else LineProgress(sys.stderr)
