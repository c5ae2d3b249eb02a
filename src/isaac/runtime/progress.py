"""Progress of long stages: bars on a terminal, plain lines elsewhere, nothing in library calls."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol, TextIO


class Tick(Protocol):
    """The function that you call within a stage to report progress."""

    def __call__(self, items: int, /) -> None:
        """Report that this many more items are done."""
        ...


def print_quietly(text: str, stream: TextIO, *, end: str = "\n") -> None:
    """Print a message; if nobody reads the stream any more, the work still goes on."""
    try:
        print(text, file=stream, end=end, flush=True)
    except UnicodeError:
        print_quietly(text.encode("ascii", "backslashreplace").decode(), stream, end=end)
    except (OSError, ValueError):  # a closed pipe, a full disk, a closed stream
        _silence(stream)


def _silence(stream: TextIO) -> None:
    """Send what a stream still holds to nowhere, so that flushing it at exit cannot fail."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Progress:
    """Reports nothing: the default of library calls, and the base class of the other reporters."""

    @contextmanager
    def stage(self, _name: str, _total: int | None = None, /) -> Iterator[Tick]:
        """Run a stage of ``total`` items; call the yielded function as items are done."""
        yield lambda _: None

    def notify(self, _text: str, /) -> None:
        """Show a message that the user should see."""


class TimedProgress(Progress):
    """Passes everything on to another `Progress`, and adds up the seconds of each stage."""

    def __init__(self, progress: Progress, seconds: dict[str, float]) -> None:
        self.progress, self.seconds = progress, seconds

    def notify(self, text: str, /) -> None:
        """Pass the message on."""
        self.progress.notify(text)

    @contextmanager
    def stage(self, name: str, total: int | None = None, /) -> Iterator[Tick]:
        """Run the stage, then add its time to ``seconds[name]``."""
        start = time.monotonic()
        with self.progress.stage(name, total) as tick:
            yield tick
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start


class MessageProgress(Progress):
    """Prints messages to standard error, but not the progress of stages."""

    def notify(self, text: str, /) -> None:
        """Print the message to standard error."""
        print_quietly(text, sys.stderr)


class LineProgress(MessageProgress):
    """Prints plain lines: at most one every two seconds, and with ``ends`` one after each stage."""

    def __init__(self, stream: TextIO, every: float = 2.0, *, ends: bool = True) -> None:
        self.stream, self.every, self.ends = stream, every, ends

    def notify(self, text: str, /) -> None:
        """Print the message to the stream."""
        print_quietly(text, self.stream)

    @contextmanager
    def stage(self, name: str, total: int | None = None, /) -> Iterator[Tick]:
        """Print the name, items done, pace and time left, at intervals and at the end."""
        start = print_time = time.monotonic()
        done, printed_count = 0, -1

        def tick(items: int) -> None:
            nonlocal done, print_time, printed_count
            done += items
            now = time.monotonic()
            if now - print_time >= self.every:
                print_time, printed_count = now, done
                self._print_status(name, done, total, now - start)

        yield tick
        if self.ends and (printed_count != done or done != total):
            self._print_status(name, done, total, time.monotonic() - start)

    def _print_status(self, name: str, done: int, total: int | None, seconds: float) -> None:
        if not done and total is None:
            print_quietly(f"{name}: {seconds:,.1f} s", self.stream)
            return
        rate = done / max(seconds, 1e-9)
        of_total = "" if total is None else f"/{total:,}"
        time_left = ""
        if total is not None and 0 < done < total:
            time_left = f", {(total - done) / rate:,.0f} s left"
        pace = f"{rate:,.0f}/s" if rate >= 1 or not done else f"{1 / rate:,.1f} s each"
        print_quietly(f"{name}: {done:,}{of_total} ({pace}{time_left})", self.stream)


class BarProgress(MessageProgress):
    """Shows a bar for each stage on a terminal, with the elapsed time and the time left.

    Without ``stays``, the bar vanishes at the end of its stage.
    """

    def __init__(self, *, stays: bool = True) -> None:
        self.stays = stays

    @contextmanager
    def stage(self, name: str, total: int | None = None, /) -> Iterator[Tick]:
        """Show a bar for the stage."""
        from rich.console import Console
        from rich.markup import escape
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
        with RichProgress(*columns, console=Console(stderr=True), transient=not self.stays) as bars:
            task = bars.add_task(escape(name), total=total)
            yield lambda items: bars.advance(task, items)


def terminal_progress(*, brief: bool = False) -> Progress:
    """Bars if standard error is a terminal, plain lines otherwise.

    With ``brief``, a stage leaves nothing behind when it ends.
    """
    if sys.stderr.isatty():
        return BarProgress(stays=not brief)
    return LineProgress(sys.stderr, ends=not brief)
